"""Simulation results for people: a table with a column per run, and a run's timeline as text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from rich.table import Table

from knative.simulator.result import RevisionSummary, SimulationResult, Snapshot, Summary

BARS = " ▁▂▃▄▅▆▇█"
IN_TIME = "in time"
REVISIONS = ("stable", "canary")
"""Row labels of the statuses."""


def summary_table(results: Sequence[SimulationResult]) -> Table:
    """Figures of several runs, a column each."""
    table = Table()
    table.add_column("")
    summaries = [result.summary() for result in results]
    for summary in summaries:
        table.add_column(summary.name, justify="right", overflow="fold")
    objectives = {result.scenario.slo_s for result in results}
    in_time = f"within {_objective(objectives.pop())}" if len(objectives) == 1 else IN_TIME
    rows = [_cells(summary, result, in_time) for summary, result in zip(summaries, results, strict=True)]
    for label in dict.fromkeys(itertools.chain(*rows)):
        table.add_row(label, *(row.get(label, "-") for row in rows))
    return table


def timeline(result: SimulationResult, width: int = 60) -> list[str]:
    """A run over time as bar charts: requests per second, pods and queue."""
    windows = result.time_series(max(1.0, result.workload.seconds / width))
    snapshots = result.snapshots
    step = windows.times[1] if len(windows.times) > 1 else result.workload.seconds
    in_window = [[m for m in snapshots if start < m.time <= start + step] for start in windows.times.tolist()]
    rows = {
        "requests/s": windows.arrivals.tolist(),
        "in time/s": windows.within_slo.tolist(),
        "failed/s": windows.failed.tolist(),
        "pods ready": [max((m.ready for m in inside), default=0) for inside in in_window],
        "queue": [max((m.queued for m in inside), default=0) for inside in in_window],
    }
    return [f"{name:>10} {_bars(values)} max {max(values):,.0f}" for name, values in rows.items()]


def so_far(name: str, snapshots: Sequence[Snapshot], width: int = 60) -> str:
    """The last minute of a running simulation as bar charts.

    Args:
        name: of the predictor service.
        snapshots: one a second, at least one.
        width: bars in a chart, one a second.
    """
    last = snapshots[-width:]
    rows = {
        "pods wanted": [m.desired for m in last],
        "pods ready": [m.ready for m in last],
        "in flight": [m.in_flight for m in last],
        "queue": [m.queued for m in last],
    }
    lines = [f"{label:>11} {_bars(values):<{width}} {values[-1]:,}" for label, values in rows.items()]
    return "\n".join([f"{name}, second {last[-1].time:,.0f}", *lines])


def _cells(summary: Summary, result: SimulationResult, in_time: str) -> dict[str, str]:
    """Cells of a run's column, by label of the row.

    Args:
        summary: figures of the run.
        result: the run.
        in_time: label of the objective's row; :data:`IN_TIME` if the runs have different ones.
    """
    goodput = f"{summary.goodput:.1%}"
    cells = {
        "requests": f"{summary.requests:,}",
        "served": f"{summary.served:,}",
        "from the cache": _share(summary.hits, summary.requests),
        "shared": _share(summary.shared, summary.requests),
        "413": f"{summary.errors_413:,}",
        "429": f"{summary.errors_429:,}",
        "503": f"{summary.errors_503:,}",
        "504": f"{summary.errors_504:,}",
        "P50": _ms(summary.p50),
        "P95": _ms(summary.p95),
        "P99": _ms(summary.p99),
        "P99 of misses": _ms(summary.p99_miss),
        in_time: f"{goodput} ({_objective(result.scenario.slo_s)})" if in_time == IN_TIME else goodput,
        "peak queue": f"{summary.peak_queue:,}",
        "peak slices": f"{summary.peak_slices}",
        "slice-hours": f"{summary.slice_hours:.2f}",
    }
    cells["cost per million characters"] = _cost(summary, result.scenario.price_per_slice_hour)
    profiles = dict.fromkeys(f"{p.profile.name} ({p.profile.kind})" for p in result.scenario.predictors)
    cells["profile"] = ", ".join(profiles)
    for role, revision in zip(REVISIONS, summary.revisions, strict=False):
        cells |= {f"{role}: {label}": text for label, text in _revision_cells(revision).items()}
    return cells


def _revision_cells(revision: RevisionSummary) -> dict[str, str]:
    return {
        "requests": f"{revision.requests:,}",
        "served": f"{revision.served:,}",
        "errors": f"{revision.errors:,} ({_share(revision.errors, revision.requests)})",
        "P50": _ms(revision.p50),
        "P99": _ms(revision.p99),
    }


def _cost(summary: Summary, price: float) -> str:
    if not price:
        return "- (give --price)"
    return "-" if summary.cost_per_million_chars is None else f"{summary.cost_per_million_chars:.4f}"


def _objective(seconds: float) -> str:
    return f"{seconds * 1000:g} ms"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.0f} ms"


def _bars(values: Sequence[float]) -> str:
    most = max(values) or 1.0
    return "".join(BARS[min(8, round(8 * max(0.0, value) / most))] for value in values)
