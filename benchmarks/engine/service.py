"""`python -m benchmarks.engine.service --release DIR`: measures the overhead of serving over the engine.

Three questions, on one release:

- What share of the offline engine's tokens/s remains over HTTP, with 16 requests in flight? The engine in this
  process and the predictor in another take turns; the other one is idle.
- What share of a decode step with 16 slots is Python outside of the runner? Read from the predictor's metrics.
- How long do both services take from process start to ready, and how much memory does the predictor hold?
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import numpy as np
import psutil
from prometheus_client import CollectorRegistry

from cli.serve import is_ready
from predictor.config import PredictorConfig
from predictor.llm_engine import LLMEngine
from predictor.metrics import EngineMetrics
from predictor.runners.select import create_runner
from protocol.codec import (
    decode_rest_response,
    encode_rest_request,
    generate_response_from_infer,
    infer_from_generate_request,
)
from protocol.messages import GenerateRequest
from protocol.release import RELEASE_FILE, Release, load_release

CALLERS = 16
"""Requests in flight."""
REQUESTS_PER_CALLER = 4
PROMPT_TOKENS, NEW_TOKENS = 64, 64
MODEL = "bench"


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--release", type=Path, required=True, help="directory of the release")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    release = load_release(options.release)
    figures: dict[str, Any] = {"release": release.name, "precision": release.precision}
    figures["start_to_ready_s"] = [start_pair(options.release) for _ in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        directory = endless(options.release, Path(folder))
        release = load_release(directory)
        requests = make_requests(release)
        with offline_engine(directory, release, options.threads) as engine:
            with predictor(directory, options.threads) as (url, process):
                figures |= compare(engine, url, requests, options.repeats)
                figures |= memory(process, url, directory)
                figures |= python_share(url)
    print(json.dumps(figures, indent=2))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def endless(directory: Path, folder: Path) -> Path:
    """Copy the release without its stop tokens, so that every answer has the requested length."""
    copy = folder / "release"
    copy.mkdir()
    for path in directory.iterdir():
        (copy / path.name).symlink_to(path.resolve())
    document = json.loads((directory / RELEASE_FILE).read_text(encoding="utf-8"))
    (copy / RELEASE_FILE).unlink()
    (copy / RELEASE_FILE).write_text(json.dumps({**document, "stop_token_ids": []}), encoding="utf-8")
    return copy


def make_requests(release: Release) -> list[GenerateRequest]:
    """Random prompts of 64 tokens, each with 64 tokens to generate."""
    rows = CALLERS * REQUESTS_PER_CALLER
    ids = np.random.default_rng(0).integers(0, release.decoder.vocab, (rows, PROMPT_TOKENS))
    return [GenerateRequest((tuple(row),), (NEW_TOKENS,)) for row in ids.tolist()]


def compare(engine: LLMEngine, url: str, requests: list[GenerateRequest], repeats: int) -> dict[str, Any]:
    """Measure tokens/s offline and over HTTP, in turns; the first turn warms up."""
    offline, over_http = [], []
    for turn in range(repeats + 1):
        rates = asyncio.run(run_offline(engine, requests)), asyncio.run(run_http(url, requests))
        if turn:
            offline.append(rates[0])
            over_http.append(rates[1])
    ratio = statistics.median(b / a for a, b in zip(offline, over_http, strict=True))
    return {"offline_tokens_per_s": offline, "http_tokens_per_s": over_http, "http_of_offline": ratio}


async def run_offline(engine: LLMEngine, requests: list[GenerateRequest], callers: int = CALLERS) -> float:
    """Generated tokens/s of the engine in this process."""

    async def ask(request: GenerateRequest) -> int:
        response = await asyncio.wrap_future(engine.submit(request))
        return len(response.generations[0].token_ids)

    return await rate(ask, requests, callers)


async def run_http(url: str, requests: list[GenerateRequest], callers: int = CALLERS) -> float:
    """Generated tokens/s over HTTP, called as the transformer does: pooled connections, binary tensors."""
    path = f"{url}/v2/models/{MODEL}/infer"

    async def ask(request: GenerateRequest) -> int:
        body, headers = encode_rest_request(
            infer_from_generate_request(request, model_name=MODEL), binary=True
        )
        async with session.post(path, data=body, headers=headers) as answer:
            answer.raise_for_status()
            response = decode_rest_response(
                await answer.read(), {name.lower(): value for name, value in answer.headers.items()}
            )
        return len(generate_response_from_infer(response).generations[0].token_ids)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return await rate(ask, requests, callers)


async def rate(
    ask: Callable[[GenerateRequest], Awaitable[int]], requests: list[GenerateRequest], callers: int
) -> float:
    """Tokens/s of ``callers`` closed-loop callers."""

    async def caller(number: int) -> int:
        return sum([await ask(request) for request in requests[number::callers]])

    started = time.perf_counter()
    tokens = sum(await asyncio.gather(*(caller(number) for number in range(callers))))
    return tokens / (time.perf_counter() - started)


def memory(process: psutil.Process, url: str, release: Path) -> dict[str, Any]:
    """Resident MB of the predictor, and the part that is neither weights nor K/V."""
    resident = process.memory_info().rss
    weights = (release / "weights.bin").stat().st_size
    kv = metric(url, "yiwen_predictor_kv_bytes")
    return {
        "resident_mb": resident / 1e6,
        "weights_mb": weights / 1e6,
        "kv_mb": kv / 1e6,
        "beyond_mb": (resident - weights - kv) / 1e6,
    }


def python_share(url: str) -> dict[str, float]:
    """Share of all steps' time spent outside of the runner."""
    steps, runner = (
        metric(url, "yiwen_predictor_step_seconds_sum"),
        metric(url, "yiwen_predictor_runner_seconds_sum"),
    )
    return {"python_share_of_step": (steps - runner) / steps}


def metric(url: str, name: str) -> float:
    """One sample of the predictor's metrics."""
    match = re.search(rf"^{name}{{[^}}]*}} (\S+)$", httpx.get(f"{url}/metrics").text, re.MULTILINE)
    if match is None:
        raise SystemExit(f"the predictor has no metric {name}")
    return float(match.group(1))


@contextmanager
def offline_engine(directory: Path, release: Release, threads: int) -> Iterator[LLMEngine]:
    """The engine in this process, with the predictor's own settings."""
    config = PredictorConfig(release=directory, threads=threads)
    runner = create_runner(config, directory, release).runner
    metrics = EngineMetrics(CollectorRegistry())
    engine = LLMEngine(
        runner,
        release,
        prefill_tokens=config.prefill_tokens,
        queue_tokens=config.queue_tokens,
        metrics=metrics,
    )
    engine.start()
    yield engine
    engine.stop()


@contextmanager
def predictor(directory: Path, threads: int) -> Iterator[tuple[str, psutil.Process]]:
    """Run the predictor as a process; gives its URL."""
    port = free_port()
    environment = {
        **os.environ,
        "YIWEN_RELEASE": str(directory),
        "YIWEN_THREADS": str(threads),
        "YIWEN_HOST": "127.0.0.1",
        "YIWEN_HTTP_PORT": str(port),
        "YIWEN_GRPC_PORT": "0",
        "YIWEN_MODEL_NAME": MODEL,
        "YIWEN_LOG_LEVEL": "warning",
    }
    process = subprocess.Popen([sys.executable, "-m", "predictor"], env=environment)
    try:
        wait_until_ready(process, port)
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def start_pair(directory: Path) -> float:
    """Seconds from the start of `yiwen serve` until both services are ready."""
    ports = [free_port() for _ in range(3)]
    command = [sys.executable, "-m", "cli", "serve", "--release", str(directory)]
    for option, port in zip(("--http-port", "--grpc-port", "--predictor-http-port"), ports, strict=True):
        command += [option, str(port)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(process, ports[0])
        wait_until_ready(process, ports[2])
        return time.perf_counter() - started
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    """Return when the service on ``port`` is ready."""
    while not is_ready(port):
        if process.poll() is not None:
            raise SystemExit(f"the service ended with code {process.returncode}")
        time.sleep(0.01)


def free_port() -> int:
    """A free TCP port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
