"""``reports/quality.json``: how close a quantized plan's answers are to float16's, and whether they pass the gate.

The figures are measured by :mod:`predictor.builder.int8.quality`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

QUALITY_FILE = "quality.json"
QUALITY_SCHEMA = 1

GATE_CHRF = 80.0
"""Lower bound of the interval's lower end. Most answers that differ are worded differently, not worse."""
GATE_LOGPROB = 0.1
"""Upper bound of the mean |log-probability error|, in nats: 0.1 turns a probability of 1 into 0.90."""
CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class QualityGate:
    """Bounds that every language pair must keep."""

    chrf: float = GATE_CHRF
    logprob: float = GATE_LOGPROB


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over texts with its 95 % confidence interval."""

    mean: float
    low: float
    high: float
    """Ends of the interval."""


@dataclass(frozen=True, slots=True)
class PairQuality:
    """Figures of one language pair."""

    source: str
    target: str
    texts: int
    tokens: int
    """Number of tokens of float16's answers; each has a log-probability error."""
    chrf: Estimate
    """Of the plan's answers against float16's own, 0 to 100."""
    exact_match: Estimate
    """Share of answers that are the same to the letter."""
    logprob_error: Estimate
    """Mean |difference| of the log-probabilities of float16's answers, token by token, in nats."""

    @property
    def name(self) -> str:
        """For messages, e.g. ``en to zh``."""
        return f"{self.source} to {self.target}"


@dataclass(frozen=True, slots=True)
class QualityReport:
    """The result of one measurement."""

    release: str
    precision: str
    gate: QualityGate
    pairs: tuple[PairQuality, ...]
    without_texts: tuple[tuple[str, str], ...]
    """Pairs that were not measured."""
    measured_at: str
    versions: Mapping[str, str]
    runners: Mapping[str, str]
    """What ran float16 and the precision, e.g. ``tensorrt``."""

    @property
    def failures(self) -> tuple[str, ...]:
        """The failures, one line each, with the pair and the figure."""
        return tuple(line for pair in self.pairs for line in _failures(pair, self.gate))

    @property
    def passed(self) -> bool:
        """Whether all measured pairs keep the bounds."""
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        """The JSON document; its top level summarizes the pairs."""
        return {
            "schema": QUALITY_SCHEMA,
            **dataclasses.asdict(self),
            "passed": self.passed,
            "failures": list(self.failures),
            "texts": sum(pair.texts for pair in self.pairs),
            "lowest_chrf": min(pair.chrf.mean for pair in self.pairs),
            "lowest_exact_match": min(pair.exact_match.mean for pair in self.pairs),
            "largest_logprob_error": max(pair.logprob_error.mean for pair in self.pairs),
        }


def bootstrap(values: Sequence[float], *, seed: int) -> Estimate:
    """Mean and percentile bootstrap interval (Efron, 1979) over texts.

    Args:
        values: one per text, at least one.
        seed: of the resampling.
    """
    array = np.asarray(values, np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(array), (RESAMPLES, len(array)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(array[drawn].mean(axis=1), (tail, 1 - tail))
    return Estimate(float(array.mean()), float(low), float(high))


def summary(report: QualityReport) -> list[str]:
    """A line per pair."""
    return [
        f"{pair.name}: chrF {pair.chrf.mean:.1f} ({pair.chrf.low:.1f} to {pair.chrf.high:.1f}) against float16, "
        f"{pair.exact_match.mean:.1%} of {pair.texts} answers the same, "
        f"mean |log-probability error| {pair.logprob_error.mean:.4f}"
        for pair in report.pairs
    ]


def _failures(pair: PairQuality, gate: QualityGate) -> list[str]:
    lines = []
    # With `not`, so that NaN fails.
    if not pair.chrf.low >= gate.chrf:
        lines.append(
            f"{pair.name}: chrF against float16 is {pair.chrf.mean:.1f}, and its 95 % interval begins at "
            f"{pair.chrf.low:.1f}, below {gate.chrf:g}"
        )
    if not pair.logprob_error.mean <= gate.logprob:
        lines.append(
            f"{pair.name}: mean |log-probability error| is {pair.logprob_error.mean:.4f}, above {gate.logprob:g}"
        )
    return lines
