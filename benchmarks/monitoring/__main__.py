"""``python -m benchmarks.monitoring``: the questions of on-call, asked while a fault lasts.

Runs two releases under load with a real Prometheus (Debian's package), causes one fault after the other, and prints
for each question the panel that answers it, its value before all faults, and its value at the end of the fault. With
``--out`` it draws the dashboards, too.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.monitoring.component import filled, panels, rule_groups
from benchmarks.monitoring.phases import PHASES
from benchmarks.monitoring.pictures import draw, legend_of, readable
from benchmarks.monitoring.prometheus import Prometheus, running_prometheus
from benchmarks.monitoring.stack import NAMESPACE, Stack, running_stack

INTERVAL_S = 1.0
WINDOW = "20s"
LINES = 4
"""Of a panel, in the table."""


def main() -> int:
    """Run the phases, print the table and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitoring", description=__doc__)
    parser.add_argument("--release", type=Path, required=True, help="the demo release")
    parser.add_argument("--canary", type=Path, required=True, help="another release of the demo model")
    parser.add_argument("--seconds", type=float, default=40.0, help="of each of the eight phases")
    parser.add_argument("--out", type=Path, help="folder for the pictures of the dashboards")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as data:
        with (
            running_stack(options.release, options.canary, Path(name)) as stack,
            running_prometheus(
                Path(data), rule_groups(), interval_s=INTERVAL_S, targets=stack.targets
            ) as prometheus,
        ):
            start = _when_read(prometheus, len(stack.targets))
            began = _run(stack, prometheus, options.seconds)
            if options.out:
                draw(
                    prometheus,
                    options.out,
                    namespace=NAMESPACE,
                    start=start,
                    end=time.time(),
                    window=WINDOW,
                    marks=began,
                )
    return 0


def _when_read(prometheus: Prometheus, targets: int) -> float:
    """Wait until all targets are read; the Unix time."""
    while prometheus.value("sum(up)") != targets:
        time.sleep(INTERVAL_S / 4)
    return time.time()


def _run(stack: Stack, prometheus: Prometheus, seconds: float) -> list[float]:
    """Cause each fault and print a row for each of its questions; Unix times at which they began."""
    before = math.nan
    began = []
    print("| question | fault | panel | before | then |\n|---|---|---|---|---|")
    for phase in PHASES:
        began.append(time.time())
        phase.run(stack, seconds)
        now = time.time()
        before = now if math.isnan(before) else before
        for question, panel in phase.questions:
            values = " | ".join(answer(prometheus, panel, at) for at in (before, now))
            print(f"| {question} | {phase.fault} | *{panel}* | {values} |", flush=True)
        stack.load.wait_for_answers()
    return began


def answer(prometheus: Prometheus, question: str, at: float) -> str:
    """The lines of a panel at a Unix time, the largest first; a dash where it has none."""
    (panel,) = {panel for panel in panels() if panel.question == question}
    found = [
        (sample.value, legend_of(legend, sample.labels))
        for legend, query in panel.queries
        for sample in prometheus.query(filled(query, namespace=NAMESPACE, window=WINDOW), at)
        if math.isfinite(sample.value)
    ]
    lines = sorted(found, reverse=True)[:LINES]
    return ", ".join(f"{legend}: {readable(value, panel.unit)}" for value, legend in lines) or "—"


if __name__ == "__main__":
    sys.exit(main())
