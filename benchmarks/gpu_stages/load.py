"""Measures tokens/s with n requests in flight, 64 tokens in and 64 out: the engine alone, and the server over HTTP.

Callers form a closed loop. Prompts differ, decoding is greedy, stop tokens are ignored. Over HTTP the callers run in
several processes, so that they are not the bottleneck.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from benchmarks.engine.service import metric
from benchmarks.gpu_stages import setting
from predictor.llm_engine import LLMEngine
from protocol.codec import (
    decode_rest_response,
    encode_rest_request,
    generate_response_from_infer,
    infer_from_generate_request,
)
from protocol.messages import GenerateRequest
from protocol.release import load_release

TOKENS = 64
CALLERS = (1, 8, 32, 64, 128)
REQUESTS_PER_CALLER = 3
CURVE_SLOTS = (1, 4, 16, 64)
CURVE_CALLERS = 64
CLIENT_PROCESSES = 4

Ask = Callable[[GenerateRequest], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Load:
    """Results of one load."""

    tokens_per_s: float
    p50_s: float
    p99_s: float

    def to_json(self) -> dict[str, float]:
        """The results as JSON values."""
        return {"tokens_per_s": self.tokens_per_s, "p50_s": self.p50_s, "p99_s": self.p99_s}


@dataclass(frozen=True, slots=True)
class GpuShare:
    """The load of one caller process."""

    numbers: Sequence[int]
    callers: int
    """Callers in all processes."""
    turns: int
    """Requests of each caller."""


@dataclass(frozen=True, slots=True)
class Part:
    """Results of one process; ``started`` and ``ended`` on the system's monotonic clock, seconds."""

    started: float
    ended: float
    tokens: int
    latencies: list[float]


def measure(release: Path, precision: str) -> dict[str, Any]:
    """Measure offline and over HTTP in turn for every number of callers, and the seconds to ready."""
    vocabulary = load_release(release).decoder.vocab
    offline = {}
    with setting.open_engine(setting.config(release, precision, slots=max(CALLERS))) as running:
        for callers in CALLERS:
            offline[str(callers)] = asyncio.run(run_offline(running, vocabulary, callers)).to_json()
    with setting.predictor(release, precision, slots=max(CALLERS)) as (url, ready):
        http = {str(callers): run_http(url, vocabulary, callers).to_json() for callers in CALLERS}
        counters = {
            name: metric(url, f"yiwen_predictor_{name}") for name in ("busy_seconds_total", "kv_bytes")
        }
    return {
        "precision": precision,
        "ready_s": ready,
        "offline": offline,
        "http": http,
        "counters": counters,
    }


def curve(release: Path, precision: str) -> dict[str, Any]:
    """Measure 64 callers on servers with few and with many slots."""
    vocabulary = load_release(release).decoder.vocab
    points = {}
    for slots in CURVE_SLOTS:
        with setting.predictor(release, precision, slots=slots) as (url, _):
            load = run_http(url, vocabulary, CURVE_CALLERS, turns=1)
        points[str(slots)] = load.to_json()
    return {"precision": precision, "callers": CURVE_CALLERS, "slots": points}


async def run_offline(running: LLMEngine, vocabulary: int, callers: int) -> Load:
    """Load on the engine in this process."""

    async def ask(request: GenerateRequest) -> int:
        response = await asyncio.wrap_future(running.submit(request))
        return len(response.generations[0].token_ids)

    return summary([await run(ask, GpuShare(range(callers), callers, REQUESTS_PER_CALLER), vocabulary)])


def run_http(url: str, vocabulary: int, callers: int, turns: int = REQUESTS_PER_CALLER) -> Load:
    """Load over HTTP, called as the transformer does (pooled connections, binary tensors), by several processes."""
    processes = min(CLIENT_PROCESSES, callers)
    shares = [GpuShare(range(first, callers, processes), callers, turns) for first in range(processes)]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, initializer=_meet_at, initargs=(barrier,)) as pool:
        parts = [pool.submit(_ask_over_http, url, share, vocabulary) for share in shares]
        return summary([part.result() for part in parts])


_barrier: Barrier | None = None


def _meet_at(barrier: Barrier) -> None:
    global _barrier  # a barrier cannot be pickled, so the pool's processes inherit it
    _barrier = barrier


def _ask_over_http(url: str, share: GpuShare, vocabulary: int) -> Part:
    return asyncio.run(_ask_share(url, share, vocabulary))


async def _ask_share(url: str, share: GpuShare, vocabulary: int) -> Part:
    path = f"{url}/v2/models/{setting.MODEL}/infer"

    async def ask(request: GenerateRequest) -> int:
        body, headers = encode_rest_request(
            infer_from_generate_request(request, model_name=setting.MODEL), binary=True
        )
        async with session.post(path, data=body, headers=headers) as answer:
            answer.raise_for_status()
            response = decode_rest_response(
                await answer.read(), {name.lower(): value for name, value in answer.headers.items()}
            )
        return len(generate_response_from_infer(response).generations[0].token_ids)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return await run(ask, share, vocabulary)


async def run(ask: Ask, share: GpuShare, vocabulary: int) -> Part:
    """Load of one process's callers, after a short warm-up."""
    await asyncio.gather(*(ask(prompt(vocabulary, number, 4)) for number in share.numbers))
    if _barrier is not None:
        await asyncio.to_thread(_barrier.wait)
    latencies: list[float] = []

    async def caller(number: int) -> int:
        tokens = 0
        for turn in range(share.turns):
            request = prompt(vocabulary, number + share.callers * (turn + 1), TOKENS)
            started = time.perf_counter()
            tokens += await ask(request)
            latencies.append(time.perf_counter() - started)
        return tokens

    started = time.monotonic()
    tokens = sum(await asyncio.gather(*map(caller, share.numbers)))
    return Part(started, time.monotonic(), tokens, latencies)


def summary(parts: Sequence[Part]) -> Load:
    """Combine the results of several processes."""
    seconds = max(part.ended for part in parts) - min(part.started for part in parts)
    latencies = [latency for part in parts for latency in part.latencies]
    p50, p99 = np.percentile(latencies, (50, 99)).tolist()
    return Load(sum(part.tokens for part in parts) / seconds, p50, p99)


def prompt(vocabulary: int, seed: int, new_tokens: int) -> GenerateRequest:
    """A prompt of 64 random tokens."""
    ids = np.random.default_rng(seed).integers(4, vocabulary, TOKENS).tolist()
    return GenerateRequest((tuple(ids),), (new_tokens,))
