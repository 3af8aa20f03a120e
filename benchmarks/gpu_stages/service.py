"""Tests both services on the GPU: titles over HTTP, refilled slots, a killed caller, draining after SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.engine.service import free_port, metric
from cli.serve import is_ready

TITLES = 400
CALLERS = 96


def measure(release: Path, heldout: Path) -> dict[str, Any]:
    """Run the tests; returns figures, and raises if a test fails."""
    rows = [line.split("\t") for line in heldout.read_text(encoding="utf-8").splitlines()[1:]]
    http, grpc, predictor = free_port(), free_port(), free_port()
    ports = ("--http-port", str(http), "--grpc-port", str(grpc), "--predictor-http-port", str(predictor))
    environment = {
        "YIWEN_BACKEND": "tensorrt",
        **os.environ,
        "YIWEN_SLOTS": "64",
        "YIWEN_CACHE_BYTES": "0",
        "YIWEN_LOG_LEVEL": "warning",
    }
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "serve", "--release", str(release), *ports], env=environment
    )
    try:
        while not (is_ready(http) and is_ready(predictor)):
            if process.poll() is not None:
                raise SystemExit(f"the service ended with code {process.returncode}")
            time.sleep(0.02)
        ready = time.perf_counter() - started
        url, behind = f"http://127.0.0.1:{http}", f"http://127.0.0.1:{predictor}"
        figures = asyncio.run(translate_all(url, rows[:TITLES]))
        figures |= {"ready_s": ready, "after_kill": killed_caller(url, behind, rows)}
        figures |= asyncio.run(drain(process, url, rows))
        return figures
    finally:
        process.terminate()  # not kill: on SIGTERM the supervisor stops both services
        process.wait()


async def ask(session: aiohttp.ClientSession, url: str, text: str) -> tuple[int, str]:
    """Translate one English title; returns status and translation."""
    body = {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}],
        "parameters": {"source": "en", "target": "zh"},
    }
    async with session.post(f"{url}/v2/models/{await model(session, url)}/infer", json=body) as answer:
        document = await answer.json()
        if answer.status != 200:
            return answer.status, ""
        outputs = {output["name"]: output["data"] for output in document["outputs"]}
        return answer.status, str(outputs["translation"][0])


async def model(session: aiohttp.ClientSession, url: str) -> str:
    """The model's name, from the service."""
    if url not in _NAMES:
        async with session.get(f"{url}/v2/models") as answer:
            _NAMES[url] = (await answer.json())["models"][0]
    return _NAMES[url]


_NAMES: dict[str, str] = {}


async def translate_all(url: str, rows: list[list[str]]) -> dict[str, Any]:
    """Translate titles with 96 requests in flight on 64 slots, so that every freed slot is refilled."""
    limit = asyncio.Semaphore(CALLERS)

    async def one(row: list[str]) -> bool:
        async with limit:
            status, translation = await ask(session, url, row[0])
        return status == 200 and translation == row[1]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        started = time.perf_counter()
        exact = sum(await asyncio.gather(*(one(row) for row in rows)))
        seconds = time.perf_counter() - started
    return {"titles": len(rows), "exact": exact, "titles_per_s": len(rows) / seconds}


def killed_caller(url: str, behind: str, rows: list[list[str]]) -> dict[str, float]:
    """Kill a caller with requests in flight; returns active slots and queue length shortly after."""
    script = (
        "import asyncio, sys; from benchmarks.gpu_stages import service as s; from pathlib import Path;"
        "rows = [line.split('\\t') for line in Path(sys.argv[2]).read_text('utf-8').splitlines()[1:]];"
        "asyncio.run(s.translate_all(sys.argv[1], rows * 20))"
    )
    heldout = Path(__file__).parents[2] / "examples" / "demo_model" / "heldout.tsv"
    caller = subprocess.Popen([sys.executable, "-c", script, url, str(heldout)])
    deadline = time.monotonic() + 20
    while metric(behind, "yiwen_predictor_slots_used") < 8:
        if time.monotonic() > deadline:
            raise SystemExit("the caller never kept 8 slots busy")
        time.sleep(0.005)
    caller.kill()
    killed = time.perf_counter()
    caller.wait()
    while metric(behind, "yiwen_predictor_slots_used") or metric(behind, "yiwen_predictor_waiting_sequences"):
        if time.monotonic() > deadline + 20:
            raise SystemExit("slots of a killed caller were not freed")
        time.sleep(0.005)
    return {"slots_free_after_s": time.perf_counter() - killed}


async def drain(process: subprocess.Popen[bytes], url: str, rows: list[list[str]]) -> dict[str, Any]:
    """Send SIGTERM with requests in flight; they must be answered, and the exit code must be 0."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await model(session, url)
        flying = [asyncio.ensure_future(ask(session, url, row[0])) for row in rows[:48]]
        await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(*flying, return_exceptions=True)
    statuses = [answer[0] if isinstance(answer, tuple) else repr(answer) for answer in answers]
    code = await asyncio.to_thread(process.wait, 60)
    return {
        "drained": {str(status): statuses.count(status) for status in set(statuses)},
        "exit_code": code,
    }
