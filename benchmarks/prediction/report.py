"""Figures of measured and simulated loads, and the table that compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Figures:
    """Results of one or more repetitions of a load. Latencies are seconds."""

    per_s: float
    """Answers per second over the duration of the load."""
    p50: float
    p99: float
    failed: int


def figures(latencies: Sequence[float], failed: int, seconds: float) -> Figures:
    """Compute figures from all latencies and the seconds from the first request to the last answer."""
    p50, p99 = np.percentile(latencies, (50, 99)) if latencies else (0.0, 0.0)
    return Figures(len(latencies) / seconds, float(p50), float(p99), failed)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the rows as a Markdown table."""
    names: tuple[str, ...] = ("predictors", "load", "answers/s", "predicted")
    names += ("P50, ms", "predicted", "P99, ms", "predicted", "failed", "predicted", "speed", "others' cores")
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for row in rows:
        real, told = row["real"], row["predicted"]
        cells = [row["predictors"], row["load"], f"{real['per_s']:.1f}", _off(told["per_s"], real["per_s"])]
        for name in ("p50", "p99"):
            cells += [f"{real[name] * 1000:.1f}", _off(told[name], real[name])]
        speeds = row["speeds"]
        cells += [real["failed"], told["failed"], f"{min(speeds):.2f} to {max(speeds):.2f}"]
        cells.append(row["others_busy_cores"])
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _off(told: float, real: float) -> str:
    return f"{told / real - 1:+.0%}" if real else "-"
