"""Draws results.json as bars. A separate program, since matplotlib is installed with the rivals only."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, RIVAL, INK, GRID = "#0b6e4f", "#9aa5b1", "#1f2933", "#e4e7eb"
TITLES = {"stream1": "1 stream", "streams16": "16 streams", "mixed": "mixed lengths"}
FIGURE = "whole_tokens_per_s"


def draw(results: Mapping[str, Any], path: Path) -> None:
    """One panel per workload, one bar per system, whiskers from the slowest to the fastest round."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ran = {name: variant for name, variant in results["variants"].items() if variant.get("figures")}
    works = [work for work in TITLES if work in results["workloads"]]
    size = (1.6 + 3.6 * len(works), 1.4 + 0.34 * len(ran))
    figure, panels = pyplot.subplots(1, len(works), figsize=size, sharey=True, squeeze=False)
    for panel, work in zip(panels[0], works, strict=True):
        _draw_panel(panel, work, ran)
    machine = results["machine"]
    figure.suptitle(
        f"Tokens per second, prefill and decode ({machine['cpu']}, {results['threads']} threads)",
        color=INK,
        fontsize=11,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def _draw_panel(panel: Axes, work: str, ran: Mapping[str, Any]) -> None:
    spreads = {name: (variant["figures"].get(work) or {}).get(FIGURE) for name, variant in ran.items()}
    for row, (name, spread) in enumerate(spreads.items()):
        if not spread:
            continue
        middle = spread["median"]
        whiskers = [[middle - spread["min"]], [spread["max"] - middle]]
        color = OURS if name.startswith("yiwen") else RIVAL
        panel.barh(
            row, middle, xerr=whiskers, color=color, height=0.7, error_kw={"ecolor": INK, "elinewidth": 0.8}
        )
        panel.text(spread["max"], row, f" {middle:.0f}", va="center", fontsize=8, color=INK)
    panel.set_yticks(range(len(spreads)), list(spreads), fontsize=8)
    panel.set_title(TITLES[work], fontsize=10, color=INK)
    panel.set_ylim(len(spreads) - 0.4, -0.6)
    panel.margins(x=0.18)
    panel.set_axisbelow(True)
    panel.grid(axis="x", color=GRID)
    panel.tick_params(colors=INK, length=0, labelsize=8)
    for side in panel.spines.values():
        side.set_visible(False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="draw results.json as a PNG")
    parser.add_argument("results", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    draw(json.loads(arguments.results.read_text(encoding="utf-8")), arguments.picture)
