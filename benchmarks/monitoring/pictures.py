"""Draws the dashboards from what a Prometheus has, for places without Grafana: ``scripts/draw-dashboards --help``."""

from __future__ import annotations

import argparse
import math
import re
import textwrap
import time
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.monitoring.component import Panel, filled, panels, titles
from benchmarks.monitoring.prometheus import Prometheus, Series
from knative.simulator.plot import COLORS, INK, style_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
POINTS = 180
"""Steps between start and end."""
LINES = 8
"""In a panel's legend, those with the largest values first; the others are drawn without."""
FADED = "#9aa5b1"


def draw(
    prometheus: Prometheus,
    folder: Path,
    *,
    namespace: str,
    start: float,
    end: float,
    window: str,
    only: Collection[str] = (),
) -> list[Path]:
    """Write one PNG for each dashboard; the files.

    Args:
        prometheus: to ask.
        folder: of the files.
        namespace: of the installation.
        start: Unix time, seconds.
        end: Unix time, seconds.
        window: of rates, such as ``1m``.
        only: the dashboards' uids; empty for all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    wanted = [panel for panel in panels() if not only or panel.dashboard in only]
    for uid, group in groupby(wanted, key=lambda panel: panel.dashboard):
        lines = [(panel, _lines(prometheus, panel, namespace, window, start, end)) for panel in group]
        files.append(folder / f"{uid}.png")
        _draw(titles()[uid], lines, start, end, files[-1])
    return files


def _lines(
    prometheus: Prometheus, panel: Panel, namespace: str, window: str, start: float, end: float
) -> list[tuple[str, Series]]:
    """The lines of a panel and their legends, the largest first."""
    step = (end - start) / POINTS
    found = [
        (legend_of(legend, series.labels), series)
        for legend, query in panel.queries
        for series in prometheus.query_range(
            filled(query, namespace=namespace, window=window), start, end, step
        )
    ]
    return sorted(found, key=lambda line: -max((v for v in line[1].values if math.isfinite(v)), default=0.0))


def legend_of(legend: str, labels: Mapping[str, str]) -> str:
    """A legend as Grafana shows it: ``{{label}}`` is the label's value."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), legend).strip()


def readable(value: float, unit: str) -> str:
    """A value with Grafana's unit, as people write it."""
    if unit == "percentunit":
        return f"{value:.3g}" if not math.isfinite(value) else f"{100 * value:.3g} %"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 or value == 0 else f"{1000 * value:.3g} ms"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    return f"{value:.3g}{ {'reqps': '/s', 'h': ' h'}.get(unit, '') }"


def _draw(
    title: str, lines: Sequence[tuple[Panel, list[tuple[str, Series]]]], start: float, end: float, path: Path
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = math.ceil(len(lines) / COLUMNS)
    figure, axes = pyplot.subplots(rows, COLUMNS, figsize=(14, 2.6 * rows), squeeze=False)
    for place, (panel, found) in zip(axes.flat, lines, strict=False):
        _draw_panel(place, panel, found, start)
        place.set_xlim(0, (end - start) / 60)
    for place in axes.flat[len(lines) :]:
        place.set_visible(False)
    figure.suptitle(f"{title} (minutes)", color=INK, fontsize=12, x=0.01, ha="left")
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    figure.savefig(path, dpi=75, pil_kwargs={"optimize": True})
    pyplot.close(figure)


def _draw_panel(place: Axes, panel: Panel, found: Sequence[tuple[str, Series]], start: float) -> None:
    from matplotlib.ticker import FuncFormatter

    style_panel(place, textwrap.fill(panel.question, 52))
    if not found:
        place.text(0.5, 0.5, "no data", transform=place.transAxes, ha="center", color=FADED)
        place.set_yticks([])
        return
    for number, (legend, series) in enumerate(found):
        minutes = [(at - start) / 60 for at in series.times]
        values = [value if math.isfinite(value) else math.nan for value in series.values]
        color = (*COLORS, INK, FADED)[number % (len(COLORS) + 2)]
        place.plot(
            minutes, values, color=color, linewidth=1.1, label=legend if number < LINES else None,
            marker="." if len(minutes) == 1 else None,
        )  # fmt: skip
    place.yaxis.set_major_formatter(FuncFormatter(lambda value, _: readable(value, panel.unit)))
    place.set_ylim(bottom=min(0.0, place.get_ylim()[0]))
    if any(legend for legend, _ in found[:LINES]):
        place.legend(fontsize=6, frameon=False, loc="best", labelcolor=INK)


def main() -> int:
    """Draw what a Prometheus has of the last minutes."""
    parser = argparse.ArgumentParser(prog="scripts/draw-dashboards", description=__doc__)
    parser.add_argument("--prometheus", metavar="URL", default="http://localhost:9090")
    parser.add_argument("--namespace", default="yiwen", help="of the installation")
    parser.add_argument("--minutes", type=float, default=60.0, help="until now")
    parser.add_argument("--window", default="5m", help="of rates: four times the scrape interval, at least")
    parser.add_argument("--only", nargs="+", metavar="UID", choices=list(titles()), default=[])
    parser.add_argument("--out", type=Path, default=Path("dashboards"), help="folder for the pictures")
    options = parser.parse_args()
    end = time.time()
    files = draw(
        Prometheus(options.prometheus.rstrip("/")),
        options.out,
        namespace=options.namespace,
        start=end - 60 * options.minutes,
        end=end,
        window=options.window,
        only=options.only,
    )
    print("\n".join(map(str, files)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
