"""Builds plans where there is no TensorRT: the graph itself stands in for the engine, all else is real."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from predictor.builder.plans.build import PlanRequest, build_plan
from predictor.builder.plans.engines import EngineRequest, GpuInfo, OnStep
from predictor.builder.progress import SilentReporter
from predictor.errors import RunnerError
from predictor.plan import TensorRTPlan, plan_path
from predictor.segment_index import read_segment_index

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)
GPU = GpuInfo("NVIDIA H200", (9, 0), 132, "580.95")


class GraphsAsEngines:
    """Takes what TensorRT would, and returns the graph as the engine; its timings count the builds."""

    version = "8.6.0"

    def __init__(self) -> None:
        self.requests: list[EngineRequest] = []
        self.timed = b""
        self.loads = 0
        self.fail_at: int | None = None

    def load_timings(self, content: bytes) -> bool:
        self.loads += 1
        if content.strip(b"+"):
            return False
        self.timed = content
        return True

    def timings(self) -> bytes:
        return self.timed

    def build(self, request: EngineRequest, *, on_step: OnStep) -> bytes:
        if len(self.requests) == self.fail_at:
            raise RunnerError("out of tactics")
        self.requests.append(request)
        self.timed += b"+"
        for step in range(30):
            on_step("Tactics", step + 1, 30)
        return request.graph


class Spoken(SilentReporter):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bytes = self.total = 0

    def begin(self, stage: str, total_bytes: int) -> None:
        self.total = total_bytes

    def advance(self, count: int, item: str = "") -> None:
        self.bytes += count

    def info(self, text: str) -> None:
        self.lines.append(text)


def build(request: PlanRequest, engines: GraphsAsEngines | None = None, **more: object) -> TensorRTPlan:
    ticks = iter(range(10**6))
    clock: Callable[[], float] = lambda: float(next(ticks))  # noqa: E731
    options = {"built_at": AT, "reporter": SilentReporter(), "clock": clock, **more}
    return build_plan(request, engines or GraphsAsEngines(), GPU, **options)  # type: ignore[arg-type]


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((directory / "plans").iterdir())}


def stored(directory: Path, plan: TensorRTPlan, name: str) -> np.ndarray:
    tensor = plan.find(name)
    assert tensor is not None
    data = plan_path(directory, plan.key).read_bytes()
    return np.frombuffer(
        data, tensor.dtype, tensor.nbytes // np.dtype(tensor.dtype).itemsize, tensor.offset
    ).reshape(tensor.shape)


def original(directory: Path, name: str) -> np.ndarray:
    tensor = read_segment_index(directory).tensors[name]
    count = int(np.prod(tensor.shape))
    return np.fromfile(directory / "weights.bin", tensor.dtype, count, offset=tensor.offset).reshape(
        tensor.shape
    )
