"""How often `yiwen rollout run` is right, over simulated traffic.

Each run draws the requests of one step of 10 % (nine of the stable release for each of the canary) for up to five
looks and judges as the command does. Durations are log-normal and confidences logit-normal, put into the metrics' own
buckets. The stable release answers 60 % of the texts from its cache, the canary 30 %, since its cache begins empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from inferenceservices.canary.counters import (
    CONFIDENCE,
    PREDICTOR_SECONDS,
    REQUEST_SECONDS,
    release_counts,
)
from inferenceservices.canary.judgement import Verdict, judge
from serving.metrics import LATENCY_BUCKETS
from transformer.metrics.series import PROBABILITIES, SECONDS

LOOKS: Final = 5
SIZES: Final = (200, 1000, 5000)
"""Requests of the canary between two looks."""
OVERHEAD_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class SimulatedRelease:
    """How a release answers."""

    hits: float = 0.3
    """Share of the texts that the cache answers."""
    slowdown: float = 1.0
    """Factor on the predictor's duration."""
    stalls: float = 0.0
    """Share of the requests to the predictor that take ten times as long."""
    errors: float = 0.002
    flags: float = 0.02
    """Share of the generated answers that are flagged; half of them are flagged in the second attempt too."""
    certainty: float = 2.5
    """Mean of the logit of the confidence of a generated text, whose standard deviation is 1.2."""


STABLE: Final = SimulatedRelease(hits=0.6)
CANARIES: Final[Mapping[str, SimulatedRelease]] = {
    "equal": SimulatedRelease(),
    "slow: +30 %": SimulatedRelease(slowdown=1.3),
    "stalling: 5 % take ten times as long": SimulatedRelease(stalls=0.05),
    "wrong: 6 % flagged in place of 2 %": SimulatedRelease(flags=0.06),
    "unsure: mean confidence 0.77 in place of 0.88": SimulatedRelease(certainty=1.5),
    "failing: 3 % in place of 0.2 %": SimulatedRelease(errors=0.03),
    "dead: all requests fail": SimulatedRelease(errors=1.0),
}


def draw(release: SimulatedRelease, requests: int, rng: np.random.Generator) -> dict[str, float]:
    """Counters of a release that answered some requests of one text each."""
    errors = int(rng.binomial(requests, release.errors))
    answered = requests - errors
    generated = int(rng.binomial(answered, 1 - release.hits))
    seconds = release.slowdown * rng.lognormal(np.log(0.4), 0.6, generated)
    seconds[rng.random(generated) < release.stalls] *= 10
    flagged = int(rng.binomial(generated, release.flags))
    flags = flagged + int(rng.binomial(flagged, 0.5))
    confidence = 1 / (1 + np.exp(-rng.normal(release.certainty, 1.2, generated)))
    whole = np.concatenate((seconds, np.zeros(answered - generated))) + OVERHEAD_S
    counters = {
        "requests": requests, "errors": errors, "texts": answered, "generated": generated, "flags": flags,
        **_buckets(PREDICTOR_SECONDS, SECONDS, seconds), **_buckets(REQUEST_SECONDS, LATENCY_BUCKETS, whole),
        **_buckets(CONFIDENCE, PROBABILITIES, confidence),
    }  # fmt: skip
    return {name: float(value) for name, value in counters.items()}


def run_step(canary: SimulatedRelease, requests: int, rng: np.random.Generator) -> tuple[Verdict, int]:
    """Look until the canary is promoted or rolled back; returns the last verdict and the number of looks.

    Args:
        canary: how it answers.
        requests: of the canary between two looks.
        rng: where chance comes from.
    """
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    for look in range(1, LOOKS + 1):
        _add(ours, draw(canary, requests, rng))
        _add(theirs, draw(STABLE, 9 * requests, rng))
        verdict = judge(release_counts(theirs), release_counts(ours), look).verdict
        if verdict is not Verdict.HOLD:
            break
    return verdict, look


def outcomes(
    canary: SimulatedRelease, requests: int, runs: int, seed: int
) -> tuple[dict[Verdict, int], float]:
    """Runs by their last verdict, and the mean number of looks.

    Args:
        canary: how it answers.
        requests: of the canary between two looks.
        runs: how many.
        seed: of all runs together.
    """
    rng = np.random.default_rng(seed)
    ended = [run_step(canary, requests, rng) for _ in range(runs)]
    found = {verdict: sum(each is verdict for each, _ in ended) for verdict in Verdict}
    return found, sum(look for _, look in ended) / runs


def table(runs: int, seed: int) -> str:
    """The shares of all canaries and sizes, as Markdown."""
    lines = [
        "| canary | its requests per look | rolled back | promoted | still held | looks |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, canary in CANARIES.items():
        for size in SIZES:
            found, looks = outcomes(canary, size, runs, seed)
            back, promoted, held = (
                found[each] / runs for each in (Verdict.ROLL_BACK, Verdict.PROMOTE, Verdict.HOLD)
            )
            lines.append(f"| {name} | {size:,} | {back:.1%} | {promoted:.1%} | {held:.1%} | {looks:.1f} |")
    return "\n".join(lines)


def _buckets(name: str, bounds: Sequence[float], values: np.ndarray) -> dict[str, float]:
    edges = np.array([*bounds, np.inf])
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges))
    cumulative = zip(edges, np.cumsum(counts), strict=True)
    return {f"{name}_bucket {float(le)}": float(count) for le, count in cumulative} | {
        f"{name}_sum": float(values.sum())
    }


def _add(total: dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0.0) + value
