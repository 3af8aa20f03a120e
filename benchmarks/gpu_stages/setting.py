"""Shared by the stages: a release's runner on TensorRT, and the predictor as a process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from prometheus_client import CollectorRegistry

from benchmarks.engine.service import free_port, wait_until_ready
from predictor.config import PlanPrecision, PredictorConfig
from predictor.llm_engine import LLMEngine
from predictor.metrics import EngineMetrics
from predictor.plan import TensorRTPlan, find_plans
from predictor.runners.base import Runner
from predictor.runners.select import create_runner
from protocol.release import load_release

MODEL = "bench"
PREFILL_TOKENS = 2048
"""Prefill tokens per step; the GPU computes such a step in well under a second."""


def config(release: Path, precision: str, *, slots: int) -> PredictorConfig:
    """The predictor's settings for all stages."""
    return PredictorConfig(
        release=release,
        backend="tensorrt",
        slots=slots,
        plan_precision=cast(PlanPrecision, precision),  # checked by PredictorConfig
        prefill_tokens=PREFILL_TOKENS,
    )


def plan_of(release: Path, precision: str) -> TensorRTPlan:
    """The release's plan of one precision."""
    plans = [plan for plan in find_plans(release) if plan.key.precision == precision]
    if not plans:
        raise SystemExit(f"{release} has no {precision} plan: run `yiwen release plan` first")
    return plans[0]


@contextmanager
def open_runner(config: PredictorConfig) -> Iterator[tuple[Runner, TensorRTPlan]]:
    """Open the runner; returns it and its plan."""
    release = load_release(config.release)
    runner = create_runner(config, config.release, release).runner
    try:
        yield runner, plan_of(config.release, config.plan_precision)
    finally:
        runner.close()


@contextmanager
def open_engine(config: PredictorConfig) -> Iterator[LLMEngine]:
    """Run the engine in this process with a server's settings, on any backend."""
    release = load_release(config.release)
    runner = create_runner(config, config.release, release).runner
    engine = LLMEngine(
        runner,
        release,
        prefill_tokens=config.prefill_tokens,
        queue_tokens=config.queue_tokens,
        metrics=EngineMetrics(CollectorRegistry()),
    )
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
        runner.close()


def start_module(
    module: str, *, env: Mapping[str, str], stdout: IO[bytes], stderr: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start ``python -m module``."""
    return subprocess.Popen([sys.executable, "-m", module], env=env, stdout=stdout, stderr=stderr)


def predictor_log(release: Path, precision: str, slots: int) -> Path:
    """Log of the process that :func:`predictor` started last."""
    return release.parent / f"predictor-{precision}-{slots}.log"


@contextmanager
def predictor(
    release: Path, precision: str, *, slots: int, backend: str = "tensorrt"
) -> Iterator[tuple[str, float]]:
    """Run the predictor as a process; gives its URL and the seconds from start to ready."""
    port = free_port()
    environment = {
        **os.environ,
        "YIWEN_RELEASE": str(release),
        "YIWEN_BACKEND": backend,
        "YIWEN_PLAN_PRECISION": precision,
        "YIWEN_SLOTS": str(slots),
        "YIWEN_PREFILL_TOKENS": str(PREFILL_TOKENS),
        "YIWEN_HOST": "127.0.0.1",
        "YIWEN_HTTP_PORT": str(port),
        "YIWEN_GRPC_PORT": "0",
        "YIWEN_MODEL_NAME": MODEL,
        "YIWEN_LOG_LEVEL": "info",
    }
    started = time.perf_counter()
    with predictor_log(release, precision, slots).open("wb") as file:
        process = start_module("predictor", env=environment, stdout=file, stderr=file)
        try:
            wait_until_ready(process, port)
            yield f"http://127.0.0.1:{port}", time.perf_counter() - started
        finally:
            process.terminate()
            process.wait()
