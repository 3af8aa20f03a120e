"""The table and the plots that compare measured and simulated loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.cluster.loads import ClusterLoad
from benchmarks.cluster.prediction import Course, ReplicaAgreement
from knative.simulator.plot import INK, style_panel

REAL, SIMULATED = "#175cd3", "#b42318"
Compared = tuple[ClusterLoad, Course, Course, ReplicaAgreement]
"""A load, its measured and its simulated course, and how their replicas agree."""


def markdown(rows: Sequence[Compared]) -> str:
    """Format the comparison as a Markdown table."""
    head: tuple[str, ...] = (
        "load",
        "requests",
        "failed",
        "answers/s",
        "simulated",
        "P50, ms",
        "simulated",
        "P99, ms",
        "simulated",
    )
    head += ("most predictors", "simulated", "desired within one", "ready within one")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for load, real, simulated, agreement in rows:
        one, other = real.figures, simulated.figures
        cells = [load.name, len(real.latencies), one.failed, f"{one.per_s:.1f}", _off(other.per_s, one.per_s)]
        cells += [
            f"{one.p50 * 1000:.0f}",
            _off(other.p50, one.p50),
            f"{one.p99 * 1000:.0f}",
            _off(other.p99, one.p99),
        ]
        cells += [max(value for _, value in each.ready.points) for each in (real, simulated)]
        of = agreement.decisions
        cells += [f"{agreement.desired_within_one} of {of}", f"{agreement.ready_within_one} of {of}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def draw(row: Compared, path: Path) -> None:
    """Three panels over one time axis: ready predictors, sequences in flight, latency; two lines each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    load, real, simulated, _ = row
    figure, panels = pyplot.subplots(3, 1, figsize=(8, 7), sharex=True)
    titles = ("Ready predictors", "Sequences in flight, mean of five seconds", "P99 of five seconds, ms")
    for panel, title in zip(panels, titles, strict=True):
        style_panel(panel, title)
    for course, color, name in ((real, REAL, "cluster"), (simulated, SIMULATED, "simulation")):
        times = np.arange(0.0, load.seconds, 0.25)
        middles, flight, slow = course.windows(load.seconds)
        panels[0].plot(
            times, [course.ready.at(time) for time in times], color=color, label=name, drawstyle="steps-post"
        )
        panels[1].plot(middles, flight, color=color)
        panels[2].plot(middles, slow * 1000, color=color)
    for panel in panels:
        panel.set_ylim(bottom=0)
    panels[0].set_xlim(0, load.seconds)
    panels[0].legend(fontsize=8, frameon=False)
    panels[-1].set_xlabel(f"seconds; {load.arrivals}", color=INK, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _off(told: float, real: float) -> str:
    return f"{told / real - 1:+.0%}" if real else "-"
