"""Draws the dashboards from what a Prometheus has, for places without Grafana: ``scripts/draw-dashboards --help``."""

from __future__ import annotations

import argparse
import io
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
from knative.simulator.plot import COLORS, GRID, INK, style_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
POINTS = 180
"""Steps between start and end."""
LINES = 8
"""In a panel's legend, those with the largest values first; the others are drawn without."""
FADED = "#9aa5b1"
LINE_COLORS = (*COLORS, INK, FADED)
SHADES = 8
"""Of each color in a picture, down to white, for smooth edges: a palette makes it a third as large."""
MIB = 2.0**20


def draw(
    prometheus: Prometheus,
    folder: Path,
    *,
    namespace: str,
    start: float,
    end: float,
    window: str,
    only: Collection[str] = (),
    marks: Sequence[float] = (),
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
        marks: Unix times at which something began.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    wanted = [panel for panel in panels() if not only or panel.dashboard in only]
    for uid, group in groupby(wanted, key=lambda panel: panel.dashboard):
        lines = [(panel, _lines(prometheus, panel, namespace, window, start, end)) for panel in group]
        files.append(folder / f"{uid}.png")
        _draw(titles()[uid], lines, (start, *marks, end), files[-1])
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
        return f"{value / MIB:.3g} MiB"
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{number}{ {'reqps': '/s', 'h': ' h'}.get(unit, '') }"


def _draw(
    title: str, lines: Sequence[tuple[Panel, list[tuple[str, Series]]]], times: Sequence[float], path: Path
) -> None:
    """Draw a dashboard.

    Args:
        title: of the dashboard.
        lines: of each panel, with their legends.
        times: start, marks and end.
        path: of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    start, *marks, end = times
    rows = math.ceil(len(lines) / COLUMNS)
    figure, axes = pyplot.subplots(rows, COLUMNS, figsize=(14, 2.6 * rows), squeeze=False)
    for place, (panel, found) in zip(axes.flat, lines, strict=False):
        _draw_panel(place, panel, found, start, (end - start) / POINTS)
        place.set_xlim(0, (end - start) / 60)
        for mark in marks:
            place.axvline((mark - start) / 60, color=FADED, linewidth=0.6, linestyle=":")
    for place in axes.flat[len(lines) :]:
        place.set_visible(False)
    figure.suptitle(f"{title} (minutes)", color=INK, fontsize=12, x=0.01, ha="left")
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    _save(figure, path)
    pyplot.close(figure)


def _save(figure: Figure, path: Path) -> None:
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=75)
    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette())
    with Image.open(drawn) as image:
        # A palette made from the picture would give thin lines each other's colors.
        paletted = image.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
        paletted.save(path, optimize=True)


def _palette() -> list[int]:
    """Red, green and blue of each color that is drawn, in shades down to white."""
    from matplotlib.colors import to_rgb

    return [
        round(255 * (1 - (1 - part) * shade / SHADES))
        for color in (*LINE_COLORS, GRID)
        for shade in range(SHADES, -1, -1)
        for part in to_rgb(color)
    ]


def _draw_panel(
    place: Axes, panel: Panel, found: Sequence[tuple[str, Series]], start: float, step_s: float
) -> None:
    from matplotlib.ticker import FuncFormatter

    style_panel(place, textwrap.fill(panel.question, 52))
    finite = [value for _, series in found for value in series.values if math.isfinite(value)]
    if not finite:
        _draw_no_data(place, panel.note)
        return
    unit = MIB if panel.unit == "bytes" else 1.0
    for number, (legend, series) in enumerate(found):
        minutes, values = gapped(series, start, step_s)
        is_named = number < LINES and (number == 0 or any(value > 0 for value in series.values))
        place.plot(
            minutes, [value / unit for value in values], linewidth=1.1,
            color=LINE_COLORS[number % len(LINE_COLORS)], label=legend if is_named else None,
            marker="." if len(minutes) == 1 else None,
        )  # fmt: skip
    place.yaxis.set_major_formatter(FuncFormatter(lambda value, _: readable(value * unit, panel.unit)))
    place.set_ylim(min(0.0, *finite) / unit, 1.06 * max(finite) / unit if max(finite) > 0 else 1.0)
    if any(legend for legend, _ in found[:LINES]):
        place.legend(fontsize=7, frameon=False, loc="best", labelcolor=INK)


def _draw_no_data(place: Axes, note: str) -> None:
    text = "\n".join(("no data", textwrap.fill(note, 40)))
    place.text(0.5, 0.5, text, transform=place.transAxes, ha="center", va="center", color=FADED, fontsize=8)
    place.set_yticks([])


def gapped(series: Series, start: float, step_s: float) -> tuple[list[float], list[float]]:
    """Minutes since a start and values, with NaN where steps have no value, so that no line crosses them.

    Args:
        series: at some of the steps.
        start: Unix time, seconds.
        step_s: between two steps, seconds.
    """
    minutes: list[float] = []
    values: list[float] = []
    for at, value in zip(series.times, series.values, strict=True):
        minute = (at - start) / 60
        if minutes and minute - minutes[-1] > 1.5 * step_s / 60:
            minutes.append(minute)
            values.append(math.nan)
        minutes.append(minute)
        values.append(value if math.isfinite(value) else math.nan)
    return minutes, values


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
