"""Settings from the environment, and from the arguments that KServe's controller appends to a container's command.

A settings class is a pydantic dataclass with ``config=SETTINGS``; the field ``slots`` is read from ``YIWEN_SLOTS``::

    slots: int = Field(default=8, ge=1)

An unknown ``YIWEN_*`` variable is an error, so that a misspelled name does not silently leave a default in place. All
errors are reported together.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn, TypeVar, cast

from pydantic import AliasGenerator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from protocol.suggestions import did_you_mean
from protocol.validation import STRICT, field_names, validate_strings

T = TypeVar("T")

PREFIX = "YIWEN_"

SETTINGS: ConfigDict = {
    **STRICT,
    "allow_inf_nan": True,
    "alias_generator": AliasGenerator(validation_alias=lambda name: PREFIX + name.upper()),
}
"""Configuration of every settings class: ``@dataclass(frozen=True, slots=True, config=SETTINGS)``."""

CommaSeparated = Annotated[
    tuple[str, ...],
    BeforeValidator(
        lambda value: (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )
    ),
]
"""Strings that are separated by commas in the environment."""


class SettingsError(Exception):
    """The process cannot start with these settings; one line says what to change."""


@dataclass(frozen=True, slots=True, config=SETTINGS)
class ServerSettings:
    """What both services' servers need to know."""

    host: str = "0.0.0.0"
    """Address that REST listens on; 127.0.0.1 keeps a laptop to itself. gRPC takes the same."""
    http_port: int = Field(default=8080, ge=1, le=65535)
    """TCP port of REST, probes and metrics. 8080 is what Knative expects."""
    grpc_port: int = Field(default=8081, ge=0, le=65535)
    """TCP port of gRPC; 0 turns gRPC off."""
    model_name: str | None = None
    """Name in the URLs; KServe sets it to the InferenceService's name. None takes the release's name."""
    max_body_bytes: int = Field(default=8 * 2**20, ge=1)
    """Largest request in bytes; more is refused with 413 before it is buffered."""
    max_deadline_ms: int = Field(default=60_000, ge=1)
    """Milliseconds a request may take when it states no deadline, and the longest it may ask for."""
    drain_s: float = Field(default=25.0, ge=0.0)
    """Seconds that running requests get to finish after SIGTERM; below the pod's 30 s of grace."""
    heartbeat_s: float = Field(default=10.0, ge=0.01)
    """Seconds of silence after which a stream sends a comment; below the idle timeout of every proxy on the way."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""
    log_format: Literal["json", "text"] = "json"
    """json for log collectors, text for people."""


def environment_names(cls: type[Any]) -> tuple[str, ...]:
    """Environment variables that ``cls`` reads, in the order of its fields."""
    return tuple(field_names(cls))


def settings_from_environment(cls: type[T], environ: Mapping[str, str], *, known: Collection[str] = ()) -> T:
    """Build ``cls`` from ``environ``; a variable that is missing or empty takes the field's default.

    Args:
        cls: a settings class.
        environ: the environment.
        known: further ``YIWEN_*`` names that are allowed.

    Raises:
        SettingsError: names every variable that is unknown, malformed, out of range or missing.
    """
    names = environment_names(cls)
    faults = _unknown(environ, {*names, *known})
    try:
        settings = validate_strings(
            cls, {name: environ[name] for name in names if environ.get(name)}, error=SettingsError
        )
    except SettingsError as error:
        raise SettingsError("; ".join([*faults, str(error)])) from error
    if faults:
        raise SettingsError("; ".join(faults))
    return settings


def read_settings(cls: type[T], argv: Sequence[str], environ: Mapping[str, str]) -> tuple[T, ServerSettings]:
    """A service's own settings and those of its server, from KServe's arguments and the environment.

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
    return cast("tuple[T, ServerSettings]", tuple(halves))


def parse_kserve_arguments(argv: Sequence[str]) -> dict[str, str]:
    """The arguments that KServe's controller appends, as environment variables.

    Args:
        argv: the arguments, without the program's name.

    Raises:
        SettingsError: an argument is unknown or wrong, or asks for more than one worker.
    """
    parser = _Parser(prog="yiwen serve", allow_abbrev=False)
    parser.add_argument("--model_name", metavar="NAME", help="as YIWEN_MODEL_NAME")
    parser.add_argument("--predictor_host", metavar="HOST[:PORT]", help="sets YIWEN_PREDICTOR_URL")
    parser.add_argument("--http_port", metavar="PORT", help="as YIWEN_HTTP_PORT")
    parser.add_argument("--grpc_port", metavar="PORT", help="as YIWEN_GRPC_PORT; 0 turns gRPC off")
    parser.add_argument("--release", metavar="DIRECTORY", help="as YIWEN_RELEASE")
    parser.add_argument("--workers", metavar="1", default="1", help="1 only: a pod is the unit of scale")
    given = parser.parse_args(list(argv))
    if given.workers != "1":
        raise SettingsError(
            "--workers must be 1: worker processes would each load the model, share no queue and split the metrics; "
            "scale with minReplicas and maxReplicas"
        )
    host = given.predictor_host
    overrides = {
        "YIWEN_MODEL_NAME": given.model_name,
        "YIWEN_PREDICTOR_URL": host if host is None or "://" in host else f"http://{host}",
        "YIWEN_HTTP_PORT": given.http_port,
        "YIWEN_GRPC_PORT": given.grpc_port,
        "YIWEN_RELEASE": given.release,
    }
    return {name: value for name, value in overrides.items() if value is not None}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; --help lists what is known")


def _unknown(environ: Mapping[str, str], known: Collection[str]) -> list[str]:
    links = _service_links(environ)
    return [
        f"{name} is not a setting{did_you_mean(name, known, cutoff=0.0)}"
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known and not name.startswith(links)
    ]


def _service_links(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Prefixes of the variables that Kubernetes sets for Services whose name begins with ``yiwen-``."""
    suffix = "_SERVICE_HOST"
    services = [name.removesuffix(suffix) for name in environ if name.endswith(suffix)]
    return tuple(f"{service}_{part}" for service in services for part in ("SERVICE_", "PORT"))
