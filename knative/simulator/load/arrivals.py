"""Generates arrival times from a specification such as ``step:from=200,to=1500,at=60,seconds=300``.

All kinds are Poisson processes with a rate that changes over time, except ``steady``, whose requests are evenly
spaced. Rates are in requests per second, times in seconds from the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knative.simulator.errors import SimulationError
from knative.simulator.load.trace import Trace, check_seconds

MAX_BURSTS = 1_000_000
MAX_REQUESTS = 20_000_000
"""Limit for the memory of the simulation."""
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class RateSegment:
    """An interval with a constant rate."""

    start: float
    end: float
    rate: float
    """Requests per second."""


Parameters = Mapping[str, float]


def generate_arrivals(spec: str, seed: int) -> Trace:
    """Generate a trace.

    Args:
        spec: kind and parameters, e.g. ``poisson:rate=200,seconds=60``; see :data:`KINDS`.
        seed: the same seed gives the same trace.

    Raises:
        SimulationError: the specification is not valid.
    """
    kind, given = _parse(spec)
    names, segments_of = KINDS[kind]
    parameters = _complete(kind, names, given)
    check_seconds(parameters["seconds"], kind)
    segments = segments_of(parameters)
    expected = sum((s.end - s.start) * s.rate for s in segments)
    if expected > MAX_REQUESTS:
        raise SimulationError(
            f"{kind} comes to {expected:,.0f} requests, {MAX_REQUESTS:,} are the most: lower the rate or the seconds"
        )
    rng = np.random.default_rng([seed, 1])
    times = _evenly(segments) if kind == "steady" else _poisson(segments, rng)
    return Trace(times=times, seconds=segments[-1].end)


def _steady(p: Parameters) -> list[RateSegment]:
    return [RateSegment(0.0, p["seconds"], p["rate"])]


def _step(p: Parameters) -> list[RateSegment]:
    at = _within(p, "at", p["seconds"])
    return [RateSegment(0.0, at, p["from"]), RateSegment(at, p["seconds"], p["to"])]


def _bursts(p: Parameters) -> list[RateSegment]:
    """``burst`` requests per second for ``for`` seconds, every ``every`` seconds, from ``every`` on."""
    every, length = p["every"], p["for"]
    if not 0 < length < every:
        raise SimulationError(
            "bursts: for must be above 0 and below every, or there is no time between bursts"
        )
    if p["seconds"] / every > MAX_BURSTS:
        raise SimulationError(f"bursts: {MAX_BURSTS:,} bursts are the most: raise every, or lower seconds")
    segments, start = [], 0.0
    for number in range(1, math.ceil(p["seconds"] / every)):
        begin = number * every
        end = min(begin + length, p["seconds"])
        segments += [RateSegment(start, begin, p["rate"]), RateSegment(begin, end, p["burst"])]
        start = end
    if start < p["seconds"]:
        segments.append(RateSegment(start, p["seconds"], p["rate"]))
    return segments


def _diurnal(p: Parameters) -> list[RateSegment]:
    """A day's cosine between ``low`` (at the start) and ``high`` (half a ``period`` later), a rate per second."""
    edges = np.minimum(np.arange(math.ceil(p["seconds"]) + 1, dtype=float), p["seconds"])
    middles = (edges[:-1] + edges[1:]) / 2
    rates = p["low"] + (p["high"] - p["low"]) * (1 - np.cos(2 * np.pi * middles / p["period"])) / 2
    return [RateSegment(*map(float, row)) for row in zip(edges[:-1], edges[1:], rates, strict=True)]


KINDS: Mapping[str, tuple[Mapping[str, float | None], Callable[[Parameters], list[RateSegment]]]] = {
    "poisson": ({"rate": None, "seconds": None}, _steady),
    "steady": ({"rate": None, "seconds": None}, _steady),
    "step": ({"from": None, "to": None, "at": None, "seconds": None}, _step),
    "bursts": ({"rate": None, "burst": None, "every": None, "for": None, "seconds": None}, _bursts),
    "diurnal": ({"low": None, "high": None, "period": DAY_S, "seconds": DAY_S}, _diurnal),
}
"""By kind: its parameters with their defaults (None: required), and the function that makes segments of them."""


def is_spec(text: str) -> bool:
    """Whether ``text`` names a kind of arrivals, and not a file."""
    return text.partition(":")[0] in KINDS


def _parse(spec: str) -> tuple[str, dict[str, float]]:
    kind, _, rest = spec.partition(":")
    if kind not in KINDS:
        raise SimulationError(f"{kind!r} is neither a file nor a kind of arrivals: {', '.join(KINDS)}")
    given: dict[str, float] = {}
    for part in filter(None, rest.split(",")):
        name, _, value = (word.strip() for word in part.partition("="))
        if name in given:
            raise SimulationError(f"{kind}: {name} is given twice: take one of them out")
        try:
            given[name] = float(value)
        except ValueError as error:
            raise SimulationError(f"{kind}: {name} must be a number, as in rate=200") from error
    return kind, given


def _complete(kind: str, names: Mapping[str, float | None], given: Mapping[str, float]) -> dict[str, float]:
    usage = f"{kind}:{','.join(f'{name}=N' for name in names)}"
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise SimulationError(f"{kind} has no parameter {unknown[0]}: write {usage}")
    parameters: dict[str, float] = {}
    for name, default in names.items():
        value = given.get(name, default)
        if value is None:
            raise SimulationError(f"{kind} needs {name}: write {usage}")
        if not math.isfinite(value) or value < 0:
            raise SimulationError(f"{kind}: {name} must be a finite number of at least 0")
        parameters[name] = value
    for name in ("seconds", "every", "period"):
        if parameters.get(name) == 0:
            raise SimulationError(f"{kind}: {name} must be above 0")
    return parameters


def _within(p: Parameters, name: str, most: float) -> float:
    if p[name] > most:
        raise SimulationError(f"{name}={p[name]:g} must not be after the end, seconds={most:g}")
    return p[name]


def _poisson(segments: list[RateSegment], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    starts = np.array([s.start for s in segments])
    lengths = np.array([s.end - s.start for s in segments])
    counts = rng.poisson(lengths * np.array([s.rate for s in segments]))
    times: npt.NDArray[np.float64] = np.repeat(starts, counts) + rng.random(int(counts.sum())) * np.repeat(
        lengths, counts
    )
    times.sort()
    return times


def _evenly(segments: list[RateSegment]) -> npt.NDArray[np.float64]:
    (segment,) = segments
    count = int(segment.rate * (segment.end - segment.start))
    return np.asarray((np.arange(count) + 0.5) / max(segment.rate, 1e-9), dtype=np.float64)
