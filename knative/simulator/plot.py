"""Plots runs over time as a PNG: answers, latency, pods and queue. matplotlib comes with the extra ``plot``."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from knative.simulator.errors import SimulationError
from knative.simulator.result import SimulationResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GRID = "#1f2933", "#e4e7eb"
COLORS = ("#b42318", "#0b6e4f", "#175cd3", "#9a6700", "#6941c6")
PANELS = 4
WINDOWS = 150
"""Points over the whole time."""


def check_drawable(path: Path) -> None:
    """Refuse a plot that cannot be drawn, before the simulation.

    Raises:
        SimulationError: the file has another suffix, or matplotlib is not installed.
    """
    if path.suffix.lower() != ".png":
        raise SimulationError(f"{path} would be a PNG: give it a name that ends in .png")
    if importlib.util.find_spec("matplotlib") is None:
        raise SimulationError(
            "a PNG needs matplotlib: pip install '.[plot]' in a checkout of Yiwen, or take --json"
        )


def draw(results: Sequence[SimulationResult], path: Path) -> None:
    """Four panels over one time axis, one colour per run.

    Raises:
        SimulationError: it cannot be drawn, see :func:`check_drawable`.
    """
    check_drawable(path)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(PANELS, 1, figsize=(9, 10), sharex=True)
    for result, color in zip(results, COLORS * len(results), strict=False):
        _draw_run(panels, result, color)
    first = results[0].time_series(max(1.0, results[0].workload.seconds / WINDOWS))
    panels[0].plot(first.times, first.arrivals, color=INK, linestyle=":", label="arrivals")
    objective = results[0].scenario.slo_s
    panels[1].axhline(objective * 1000, color=INK, linestyle=":")
    titles = (
        f"Answers within {objective * 1000:g} ms, per second (dotted: requests)",
        "P99 by time of arrival, ms; what failed counts as the timeout (dotted: the objective)",
        "Ready pods (dashed: wanted)",
        "Waiting requests",
    )
    for panel, title in zip(panels, titles, strict=True):
        style_panel(panel, title)
    _in_decades(panels[1])
    for panel in (panels[0], *panels[2:]):
        panel.set_ylim(bottom=0)
    for panel in panels[2:]:
        _in_whole_numbers(panel)
    panels[0].set_xlim(0, max(result.workload.seconds for result in results))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=len(labels), fontsize=8, frameon=False)
    panels[-1].set_xlabel("seconds", color=INK, fontsize=9)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw_run(panels: Sequence[Axes], result: SimulationResult, color: str) -> None:
    windows = result.time_series(max(1.0, result.workload.seconds / WINDOWS))
    snapshots = [snapshot for snapshot in result.snapshots if snapshot.time <= result.workload.seconds]
    times = [snapshot.time for snapshot in snapshots]
    name = result.scenario.name
    panels[0].plot(windows.times, windows.within_slo, color=color, label=name)
    panels[1].plot(windows.times, windows.p99 * 1000, color=color, label=name)
    panels[2].plot(times, [m.ready for m in snapshots], color=color, drawstyle="steps-post")
    panels[2].plot(
        times,
        [m.desired for m in snapshots],
        color=color,
        linestyle="--",
        linewidth=0.8,
        drawstyle="steps-post",
    )
    panels[3].plot(times, [m.queued for m in snapshots], color=color)


def _in_decades(panel: Axes) -> None:
    """A logarithmic axis with labels such as 1,000."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    panel.set_yscale("log")
    axis = panel.yaxis
    low, high = panel.get_ylim()
    few_decades = high / low < 300
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few_decades else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _in_whole_numbers(panel: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def style_panel(panel: Axes, title: str) -> None:
    """Give a panel its title, a grid, and no frame."""
    panel.set_title(title, color=INK, fontsize=10, loc="left")
    panel.set_axisbelow(True)
    panel.grid(color=GRID)
    panel.tick_params(which="both", colors=INK, length=0, labelsize=8)
    for side in panel.spines.values():
        side.set_visible(False)
