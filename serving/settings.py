"""Settings from the environment, and from a service's arguments (:mod:`serving.arguments`).

A settings class is a pydantic dataclass with ``config=SETTINGS``; the field ``slots`` is read from ``YIWEN_SLOTS``::

    slots: int = Field(default=8, ge=1)

An unknown ``YIWEN_*`` variable is an error, so that a misspelled name does not silently leave a default in place. All
errors are reported together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasGenerator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from protocol.suggestions import did_you_mean
from protocol.validation import STRICT, field_names, validate_strings

T = TypeVar("T")

PREFIX = "YIWEN_"
FORMER_NAMES = {
    "YIWEN_WARMING_HOLD_S": "YIWEN_COLD_START_TIMEOUT_S",
    "YIWEN_WARMING_WAITERS": "YIWEN_COLD_START_WAITERS",
}
"""Variables of earlier versions and their names today: whoever upgrades is told the new one."""

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
    """Settings of the server of either service."""

    host: str = "0.0.0.0"
    """Address that REST listens on; 127.0.0.1 keeps a laptop to itself. gRPC takes the same."""
    http_port: int = Field(default=8080, ge=1, le=65535)
    """TCP port of REST, probes and metrics. 8080 is what Knative expects."""
    grpc_port: int = Field(default=8081, ge=0, le=65535)
    """TCP port of gRPC; 0 turns gRPC off."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """TCP port of `/metrics`, and of nothing else, so that it need not be public; 0 serves it on the port of REST."""
    cors_origins: CommaSeparated = ()
    """Origins whose pages may call the service (CORS), e.g. `https://shop.example`; `*` for all. Empty: none."""
    model_name: str | None = None
    """Name in the URLs; KServe sets it to the InferenceService's name. None takes the release's name."""
    max_body_bytes: int = Field(default=8 * 2**20, ge=1)
    """Largest request in bytes; more is refused with 413 before it is buffered."""
    max_bodies_bytes: int = Field(default=32 * 2**20, ge=1)
    """Bytes of all request bodies that are held at once; larger ones than 64 KiB are then refused with 429. 32 MiB
    are four of the largest. The memory that a pod needs follows from it (docs/overload.md)."""
    default_deadline_ms: int = Field(default=30_000, ge=1)
    """Milliseconds from its first byte that a request may take when it states no deadline: the time after which many
    clients give up. `YIWEN_MAX_DEADLINE_MS` bounds it."""
    max_deadline_ms: int = Field(default=60_000, ge=1)
    """The longest deadline that a request may ask for, in milliseconds."""
    head_timeout_s: float = Field(default=10.0, gt=0.0)
    """Seconds from a request's first byte to the end of its headers; then 408. Over gRPC: to open a connection."""
    body_timeout_s: float = Field(default=30.0, gt=0.0)
    """Seconds from the end of its headers in which a request's body must arrive; then 408. 8 MiB at 2.3 Mbit/s."""
    write_timeout_s: float = Field(default=30.0, gt=0.0)
    """Seconds in which a client that lags behind must read 16 KiB of its response, or one message of a gRPC stream;
    then the connection or the stream is closed, and its work is cancelled."""
    drain_s: float = Field(default=25.0, ge=0.0)
    """Seconds that running requests get to finish after SIGTERM; below the pod's 30 s of grace. Requests whose body
    has not arrived get 2 s."""
    heartbeat_s: float = Field(default=10.0, ge=0.01)
    """Seconds of silence after which a stream sends a comment; below the idle timeout of every proxy on the way."""
    revision: str = ""
    """Commit that the code is of, for `yiwen_build_info`; the images set it."""
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


def _unknown(environ: Mapping[str, str], known: Collection[str]) -> list[str]:
    links = _service_links(environ)
    return [
        _unknown_message(name, known)
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known and not name.startswith(links)
    ]


def _unknown_message(name: str, known: Collection[str]) -> str:
    if FORMER_NAMES.get(name) in known:
        return f"{name} is now {FORMER_NAMES[name]}: rename it"
    return f"{name} is not a setting{did_you_mean(name, known, cutoff=0.0)}"


def _service_links(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Prefixes of the variables that Kubernetes sets for Services whose name begins with ``yiwen-``."""
    suffix = "_SERVICE_HOST"
    services = [name.removesuffix(suffix) for name in environ if name.endswith(suffix)]
    return tuple(f"{service}_{part}" for service in services for part in ("SERVICE_", "PORT"))
