"""Measures a decode step of the runner, and its lower bound: bytes of weights and K/V over the copy bandwidth."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_stages import setting
from predictor.batch import Batch
from predictor.plan import TensorRTPlan
from predictor.runners.base import MAX_IN_FLIGHT, Runner, execute
from predictor.runners.tensorrt import cuda_api

PAST = 256
SLOTS = (1, 8, 32, 64, 128)
STEPS = 60
ROUNDS = 5
_COPY_BYTES = 4 << 30


def measure(release: Path, precision: str) -> dict[str, Any]:
    """Milliseconds per step by number of slots, with 256 past tokens in each, and the lower bounds."""
    bandwidth = copy_bandwidth()
    config = setting.config(release, precision, slots=max(SLOTS))
    with setting.open_runner(config) as (runner, plan):
        fill(runner, plan)
        rows = {str(slots): step_seconds(runner, slots) for slots in SLOTS if slots <= runner.slots}
        weights = read_bytes(plan)
        kv = PAST * runner.kv_bytes_per_token
    return {
        "precision": precision,
        "copy_bytes_per_s": bandwidth,
        "weight_bytes": weights,
        "kv_bytes_per_slot": kv,
        "steps": {
            slots: {"seconds": seconds, "floor_seconds": (weights + int(slots) * kv) / bandwidth}
            for slots, seconds in rows.items()
        },
    }


def copy_bandwidth() -> float:
    """Bandwidth of a large copy on the device in bytes/s, reads and writes counted."""
    cuda_api.set_device()
    runtime = cuda_api.load_runtime()
    source, target = (cuda_api.malloc(_COPY_BYTES, "the copy test") for _ in range(2))
    stream = cuda_api.create_stream()
    start, end = (cuda_api.create_event(timing=True) for _ in range(2))
    kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice
    best = 0.0
    for _ in range(5):
        cuda_api.record_event(start, stream)
        cuda_api.check(runtime.cudaMemcpyAsync(target, source, _COPY_BYTES, kind, stream), "copying")
        cuda_api.record_event(end, stream)
        cuda_api.synchronize_stream(stream)
        best = max(best, 2 * _COPY_BYTES / cuda_api.elapsed_seconds(start, end))
    cuda_api.free(source)
    cuda_api.free(target)
    return best


def read_bytes(plan: TensorRTPlan) -> int:
    """Bytes of weights that a decode step reads: all but tables of which it reads single rows."""
    tied = "vocabulary" not in plan.tensors
    tables = {"rotary.cos", "rotary.sin"} | (set() if tied else {"embedding"})
    return sum(tensor.nbytes for name, tensor in plan.tensors.items() if name not in tables)


def fill(runner: Runner, plan: TensorRTPlan) -> None:
    """Prefill a random prompt of 256 tokens in every slot."""
    rng = np.random.default_rng(1)
    vocabulary = plan.tensors["embedding"].shape[0]
    for first in range(0, runner.slots, 8):
        slots = range(first, min(first + 8, runner.slots))
        prompts = [tuple(rng.integers(0, vocabulary, PAST).tolist()) for _ in slots]
        held = np.arange(first)
        batch = Batch.of_tokens(held, np.full(first, 7), np.full(first, PAST))
        execute(
            runner,
            Batch(
                tuple(slots),
                tuple(prompts),
                batch.decode_slots,
                batch.decode_tokens,
                batch.decode_lengths,
                batch.decode_sources,
            ),
        )


def step_seconds(runner: Runner, slots: int) -> float:
    """Median of the rounds' mean step time; steps are launched ahead as the engine does, all with the same past."""
    rows = np.arange(slots)
    first = Batch.of_tokens(rows, np.full(slots, 7), np.full(slots, PAST))
    following = Batch((), (), rows, first.decode_tokens, first.decode_lengths, rows)
    ahead = MAX_IN_FLIGHT if runner.runs_ahead else 1
    rounds = []
    for _ in range(ROUNDS):
        runner.launch(first)
        in_flight = 1
        started = time.perf_counter()
        for _ in range(STEPS):
            if in_flight == ahead:
                runner.collect()
                in_flight -= 1
            runner.launch(following if runner.runs_ahead else first)
            in_flight += 1
        for _ in range(in_flight):
            runner.collect()
        rounds.append((time.perf_counter() - started) / (STEPS + 1))
    return statistics.median(rounds)
