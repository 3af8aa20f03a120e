"""Which requests are traced: the caller's trace context, and the standard variables. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from serving.settings import SettingsError

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_PARENT_BASED = "parentbased_"


@dataclass(frozen=True, slots=True)
class TraceParent:
    """What a caller's ``traceparent`` says (W3C Trace Context)."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 of them."""
    is_sampled: bool

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> TraceParent | None:
        """That of a request; None without a valid one.

        Args:
            headers: HTTP headers or gRPC metadata, names in lower case.
        """
        header = headers.get(TRACEPARENT)
        match = None if header is None else _TRACEPARENT.fullmatch(header)
        return match and cls(match.group(1), match.group(2), bool(int(match.group(3), 16) & 1))


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which requests are traced."""

    share: float = 1.0
    """Of new traces, 0 to 1."""
    is_parent_based: bool = True
    """Whether a caller's decision is followed."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Sampling:
        """What ``OTEL_TRACES_SAMPLER`` and ``OTEL_TRACES_SAMPLER_ARG`` say.

        Raises:
            SettingsError: they name no sampler of ours, or no share.
        """
        name = environ.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on"
        kind = name.removeprefix(_PARENT_BASED)
        if kind not in ("always_on", "always_off", "traceidratio"):
            raise SettingsError(
                f"OTEL_TRACES_SAMPLER: there is no sampler {name} here: take parentbased_always_on, "
                "parentbased_always_off or parentbased_traceidratio"
            )
        share = 1.0 if kind == "always_on" else 0.0
        if kind == "traceidratio":
            share = _share(environ.get("OTEL_TRACES_SAMPLER_ARG", ""))
        return cls(share, name.startswith(_PARENT_BASED))

    def samples(self, parent: TraceParent | None, chance: float) -> bool:
        """Whether a request is traced.

        Args:
            parent: of the caller.
            chance: uniform in [0, 1).
        """
        if parent is None:
            return chance < self.share
        if self.is_parent_based:
            return parent.is_sampled
        # As OpenTelemetry's TraceIdRatioBased does, so that all services decide alike.
        return int(parent.trace_id[16:], 16) < self.share * 2**64


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise SettingsError("OTEL_TRACES_SAMPLER_ARG must be the share to sample, from 0 to 1, such as 0.05")
    return share
