"""Measures the cores' speed over time: a process that repeats the same decode step.

Other virtual machines share the caches and the cores' second hardware threads, so the same work may take 1.5 times as
long from one second to the next. Processor time is counted, not wall time, since waiting for a core is not slowness.

python -m benchmarks.prediction.cpu_probe RELEASE    # until its standard input ends; then writes samples as JSON
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import fmean

import numpy as np

from benchmarks.engine.processes import ROOT, ResourceUsage
from knative.simulator.engine.processors import CoreSpeeds
from predictor.batch import Batch
from predictor.runners.base import execute
from predictor.runners.onnx_runtime import OnnxRuntimeRunner
from protocol.release import load_release

PAUSE_S = 0.05
"""Seconds between two samples, which take 1/40 of a core."""
PAST_TOKENS = 24
BIN_S = 0.5
"""Seconds that a speed is averaged over: ten samples."""


@dataclass(frozen=True, slots=True)
class CpuSample:
    """Measurement of one step."""

    at_s: float
    """Time on the machine's monotonic clock, seconds."""
    work_s: float
    """Processor time of the step, seconds."""
    machine_s: float
    """Processor time of the whole machine so far, seconds."""


@dataclass(slots=True)
class Readings:
    """Samples of the probe; empty until the process has ended."""

    samples: list[CpuSample] = field(default_factory=list)

    def between(self, began_s: float, ended_s: float) -> Readings:
        """Samples of an interval on the machine's monotonic clock."""
        return Readings([sample for sample in self.samples if began_s <= sample.at_s < ended_s])

    @property
    def mean_work_s(self) -> float:
        """Mean processor time of a step, seconds."""
        return fmean(sample.work_s for sample in self.samples)

    @property
    def busy_cores(self) -> float:
        """Mean number of busy cores, this process included."""
        first, last = self.samples[0], self.samples[-1]
        return (last.machine_s - first.machine_s) / (last.at_s - first.at_s)

    def speeds(self, began_s: float, ended_s: float, usual_work_s: float) -> CoreSpeeds:
        """Speed over an interval on the machine's monotonic clock; a step takes ``usual_work_s`` at speed 1."""
        values: list[float] = []
        for number in range(max(1, int((ended_s - began_s) / BIN_S))):
            inside = self.between(began_s + number * BIN_S, began_s + (number + 1) * BIN_S)
            values.append(usual_work_s / inside.mean_work_s if inside.samples else [1.0, *values][-1])
        return CoreSpeeds(tuple(values), BIN_S)


@contextmanager
def running_cpu_probe(release: Path) -> Iterator[Readings]:
    """Run the probe; the readings are complete after the block."""
    readings = Readings()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.prediction.cpu_probe", str(release.resolve())],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it has started
        yield readings
        written, _ = process.communicate("")
        readings.samples.extend(CpuSample(*row) for row in json.loads(written))
    finally:
        process.kill()
        process.wait()


def measure(step: Callable[[], object], cores: Sequence[int]) -> list[CpuSample]:
    """Take samples on all cores in turn, until standard input ends."""
    samples = []
    for core in cycle(cores):
        if select.select([sys.stdin], [], [], PAUSE_S)[0]:
            break
        os.sched_setaffinity(0, {core})
        began = time.thread_time()
        step()
        work_s = time.thread_time() - began
        samples.append(CpuSample(time.perf_counter(), work_s, ResourceUsage.now().machine_s))
    return samples


def main() -> int:
    """Run the probe as a process, see above."""
    directory, cores = Path(sys.argv[1]), sorted(os.sched_getaffinity(0))
    runner = OnnxRuntimeRunner(directory, load_release(directory), slots=1, threads=1, spin=False)
    execute(runner, Batch.of_prompts((0,), ((1,) * PAST_TOKENS,)))
    batch = Batch.of_tokens(np.array([0]), np.array([1]), np.array([PAST_TOKENS]))
    print("begun", flush=True)
    print(json.dumps([astuple(sample) for sample in measure(lambda: execute(runner, batch), cores)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
