"""Settings from the environment, and from the arguments KServe's controller appends to a container's command.

A settings class is a frozen dataclass whose fields say in their metadata where they come from::

    slots: int = field(default=8, metadata={"env": "YIWEN_SLOTS", "min": 1})

An unknown ``YIWEN_*`` variable is an error, so a typing mistake cannot silently take a default. All that is wrong is
reported at once. Reading files and starting things is elsewhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

T = TypeVar("T")

PREFIX = "YIWEN_"


class SettingsError(Exception):
    """The process cannot start with these settings; one line says what to change."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What both services' servers need to know."""

    host: str = field(default="0.0.0.0", metadata={"env": "YIWEN_HOST"})
    """Address that REST listens on; 127.0.0.1 keeps a laptop to itself. gRPC takes the same."""
    http_port: int = field(default=8080, metadata={"env": "YIWEN_HTTP_PORT", "min": 1, "max": 65535})
    """TCP port of REST, probes and metrics. 8080 is what Knative expects."""
    grpc_port: int = field(default=8081, metadata={"env": "YIWEN_GRPC_PORT", "min": 0, "max": 65535})
    """TCP port of gRPC; 0 turns gRPC off."""
    model_name: str | None = field(default=None, metadata={"env": "YIWEN_MODEL_NAME"})
    """Name in the URLs; KServe sets it to the InferenceService's name. None takes the release's name."""
    max_body_bytes: int = field(default=8 * 2**20, metadata={"env": "YIWEN_MAX_BODY_BYTES", "min": 1})
    """Largest request in bytes; more is refused with 413 before it is buffered."""
    max_deadline_ms: int = field(default=60_000, metadata={"env": "YIWEN_MAX_DEADLINE_MS", "min": 1})
    """Milliseconds a request may take when it states no deadline, and the longest it may ask for."""
    drain_s: float = field(default=25.0, metadata={"env": "YIWEN_DRAIN_S", "min": 0.0})
    """Seconds that running requests get to finish after SIGTERM; below the pod's 30 s of grace."""
    heartbeat_s: float = field(default=10.0, metadata={"env": "YIWEN_HEARTBEAT_S", "min": 0.01})
    """Seconds of silence after which a stream sends a comment; below the idle timeout of every proxy on the way."""
    log_level: str = field(
        default="info",
        metadata={"env": "YIWEN_LOG_LEVEL", "choices": ("debug", "info", "warning", "error")},
    )
    """Least severe level that is logged."""
    log_format: str = field(default="json", metadata={"env": "YIWEN_LOG_FORMAT", "choices": ("json", "text")})
    """json for log collectors, text for people."""


def environment_names(cls: type[Any]) -> tuple[str, ...]:
    """Environment variables that ``cls`` reads, in the order of its fields."""
    return tuple(entry.metadata["env"] for entry in dataclasses.fields(cls) if "env" in entry.metadata)


def settings_from_environment(cls: type[T], environ: Mapping[str, str], *, known: Collection[str] = ()) -> T:
    """Build ``cls`` from ``environ``; a variable that is missing or empty takes the field's default.

    Args:
        cls: frozen dataclass. Annotations may be int, float, bool, str, Path, ``tuple[str, ...]`` (separated by
            commas) and ``X | None`` of these; metadata may have ``min``, ``max`` and ``choices`` beside ``env``.
        environ: the environment.
        known: further ``YIWEN_*`` names that are no mistake.

    Raises:
        SettingsError: names every variable that is unknown, unreadable, out of range or missing.
    """
    hints = typing.get_type_hints(cls)
    names = environment_names(cls)
    faults = [*_unknown(environ, {*names, *known})]
    values: dict[str, object] = {}
    for entry in dataclasses.fields(cast(Any, cls)):
        name = entry.metadata.get("env")
        if name is None:
            continue
        text = environ.get(name, "")
        if text == "":
            if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
                faults.append(f"{name} is missing")
            continue
        try:
            values[entry.name] = _check(_parse(hints[entry.name], text), entry.metadata)
        except ValueError as error:
            faults.append(f"{name} must be {error}")
    if faults:
        raise SettingsError("; ".join(faults))
    return cls(**values)


def read_settings(cls: type[T], argv: Sequence[str], environ: Mapping[str, str]) -> tuple[T, ServerSettings]:
    """A service's own settings and its server's, from KServe's arguments and the environment.

    Raises:
        SettingsError: names every variable of either half that is wrong.
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
    """Environment variables that override others, from the arguments KServe's controller appends.

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
    faults = []
    links = _service_links(environ)
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known and not name.startswith(links):
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
            faults.append(f"{name} is not a setting" + (f", did you mean {near[0]}?" if near else ""))
    return faults


def _service_links(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Beginnings of the variables that Kubernetes sets for a Service whose name begins with ``yiwen-``."""
    suffix = "_SERVICE_HOST"
    services = [name.removesuffix(suffix) for name in environ if name.endswith(suffix)]
    return tuple(f"{service}_{part}" for service in services for part in ("SERVICE_", "PORT"))


def _parse(hint: object, text: str) -> object:
    """``text`` as a value of type ``hint``; ValueError says what it must be."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (hint,) = (argument for argument in arguments if argument is not types.NoneType)
        return _parse(hint, text)
    if origin is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    parse, what = _PARSERS[cast("type[Any]", hint)]
    try:
        return parse(text)
    except (ValueError, KeyError):
        raise ValueError(f"{what}, not {text!r}") from None


def _check(value: object, metadata: Mapping[str, Any]) -> object:
    low, high, choices = metadata.get("min"), metadata.get("max"), metadata.get("choices")
    parts = value if isinstance(value, tuple) else (value,)
    if choices is not None and not set(parts) <= set(choices):
        raise ValueError(f"one of {', '.join(map(str, choices))}, not {value!r}")
    if low is not None and not cast(Any, value) >= low:
        raise ValueError(f"at least {low}, not {value}")
    if high is not None and not cast(Any, value) <= high:
        raise ValueError(f"at most {high}, not {value}")
    return value


_TRUTH = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}

_PARSERS: dict[type[Any], tuple[Callable[[str], object], str]] = {
    bool: (lambda text: _TRUTH[text.lower()], "true or false"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    str: (str, "text"),
    Path: (Path, "a path"),
}
