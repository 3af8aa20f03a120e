"""The command-line arguments of a service: those that KServe's controller and its guides give to a model server.

KServe appends arguments to a container's command, and a later version may append others. Unknown arguments are
therefore logged and ignored.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeVar, cast

from protocol.suggestions import did_you_mean
from serving.logs import configure_logging
from serving.settings import ServerSettings, SettingsError, environment_names, settings_from_environment

T = TypeVar("T")

_log = logging.getLogger("yiwen.settings")


_ENVIRONMENT = {
    "model_name": "YIWEN_MODEL_NAME",
    "predictor_host": "YIWEN_PREDICTOR_URL",
    "http_port": "YIWEN_HTTP_PORT",
    "grpc_port": "YIWEN_GRPC_PORT",
    "release": "YIWEN_RELEASE",
}
"""Arguments and the environment variables that they override."""
_SWITCHES = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def read_settings(cls: type[T], argv: Sequence[str], environ: Mapping[str, str]) -> tuple[T, ServerSettings]:
    """A service's own settings and those of its server, from its arguments and the environment.

    Arguments that have no effect are logged.

    Args:
        cls: settings class of the service.
        argv: the command line's arguments; they override the environment.
        environ: the environment.

    Raises:
        SettingsError: names every variable that is wrong.
    """
    environ = {**environ, **parse_kserve_arguments(argv)}
    halves: list[object] = []
    faults: list[str] = []
    for half, other in ((cls, ServerSettings), (ServerSettings, cls)):
        try:
            halves.append(settings_from_environment(half, environ, known=environment_names(other)))
        except SettingsError as error:
            faults += [fault for fault in str(error).split("; ") if fault not in faults]
    if faults:
        raise SettingsError("; ".join(faults))
    config, server = cast("tuple[T, ServerSettings]", tuple(halves))
    ignored = ignored_arguments(argv)
    if ignored:
        configure_logging(server.log_level, server.log_format)
        _log.warning("arguments without effect", extra={"fields": {"arguments": ignored}})
    return config, server


def parse_kserve_arguments(argv: Sequence[str]) -> dict[str, str]:
    """The arguments as environment variables.

    Args:
        argv: the arguments, without the program's name.

    Raises:
        SettingsError: an argument has no value or a wrong one, or asks for more than one worker.
    """
    given, _ = _parser().parse_known_args(list(argv))
    if given.workers != "1":
        raise SettingsError(
            "--workers must be 1: worker processes would each load the model, share no queue and split the metrics; "
            "scale with minReplicas and maxReplicas"
        )
    variables = {
        variable: getattr(given, name)
        for name, variable in _ENVIRONMENT.items()
        if getattr(given, name) is not None
    }
    host = given.predictor_host
    if host is not None and "://" not in host:
        scheme = "https" if _switch("predictor_use_ssl", given.predictor_use_ssl) else "http"
        variables["YIWEN_PREDICTOR_URL"] = f"{scheme}://{host}"
    if not _switch("enable_grpc", given.enable_grpc):
        variables["YIWEN_GRPC_PORT"] = "0"
    return variables


def ignored_arguments(argv: Sequence[str]) -> list[str]:
    """The arguments that have no effect here, each with the name that may have been meant.

    Args:
        argv: as for :func:`parse_kserve_arguments`, which refuses wrong values.
    """
    parser = _parser()
    given, others = parser.parse_known_args(list(argv))
    known = [action.option_strings[0] for action in parser._actions if action.option_strings]
    names = [other.partition("=")[0] for other in others if other.startswith("-")]
    ignored = [f"{name}{did_you_mean(name, known, cutoff=0.8)}" for name in names]
    if given.predictor_protocol not in (None, "v2"):
        ignored.append("--predictor_protocol (the predictor is called over v2)")
    return ignored


def _switch(name: str, value: str) -> bool:
    if value.lower() not in _SWITCHES:
        raise SettingsError(f"--{name} must be true or false")
    return _SWITCHES[value.lower()]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; --help lists what is known")


def _parser() -> _Parser:
    parser = _Parser(prog="yiwen serve", allow_abbrev=False)
    parser.add_argument("--model_name", metavar="NAME", help="as YIWEN_MODEL_NAME")
    parser.add_argument("--predictor_host", metavar="HOST[:PORT]", help="sets YIWEN_PREDICTOR_URL")
    parser.add_argument("--predictor_use_ssl", metavar="BOOL", default="false", help="call it over https")
    parser.add_argument("--predictor_protocol", metavar="v2", help="v2 is spoken whatever is given")
    parser.add_argument("--http_port", metavar="PORT", help="as YIWEN_HTTP_PORT")
    parser.add_argument("--grpc_port", metavar="PORT", help="as YIWEN_GRPC_PORT; 0 turns gRPC off")
    parser.add_argument("--enable_grpc", metavar="BOOL", default="true", help="false is YIWEN_GRPC_PORT=0")
    parser.add_argument("--release", metavar="DIRECTORY", help="as YIWEN_RELEASE")
    parser.add_argument("--workers", metavar="1", default="1", help="1 only: a pod is the unit of scale")
    return parser
