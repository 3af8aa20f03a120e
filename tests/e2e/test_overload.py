"""The way to the predictor over real processes: a canary, an overload, a predictor that comes and goes."""

from __future__ import annotations

import asyncio
import signal
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.forkserver import ForkedProcess, start_module
from tests.ports import free_ports
from tests.releases import SPECIAL_TOKENS, build_random_release, byte_tokenizer
from tests.transformer.predictor_stand_in import RELEASE, StandIn, serve
from tests.transformer.process import Transformer, environment, running_transformer
from tests.transformer.release import renumber, write_release
from tests.transformer.side import opening
from tests.transformer.splitting_proxy import splitting


@contextmanager
def running_predictor(release: Path, port: int, name: str = "random") -> Iterator[ForkedProcess]:
    """``python -m predictor``, not waited for."""
    arguments = (
        "--release",
        str(release),
        "--model_name",
        name,
        "--http_port",
        str(port),
        "--grpc_port",
        "0",
    )
    settings = environment(YIWEN_THREADS="1", YIWEN_SLOTS="4", YIWEN_LOG_LEVEL="error")
    process = start_module("predictor", *arguments, env=settings)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_until_ready(port: int, name: str) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/v2/models/{name}/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < end
        time.sleep(0.05)


def ask(transformer: Transformer, model: str, text: str, **parameters: object) -> httpx.Response:
    body: dict[str, Any] = {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}],
        "parameters": {"source": "en", "target": "zh", **parameters},
    }
    return httpx.post(f"{transformer.url}/v2/models/{model}/infer", json=body, timeout=60)


def cache_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    status: str = next(each["data"] for each in response.json()["outputs"] if each["name"] == "cache")[0]
    return status


async def test_two_real_releases_behind_a_splitting_proxy_are_never_mixed(
    random_release_dir: Path, tmp_path: Path
) -> None:
    other = renumber(byte_tokenizer(), len(SPECIAL_TOKENS))
    build_random_release(tmp_path, name="other", seed=1, tokenizer=other)
    directories = [random_release_dir, tmp_path / "other"]
    texts = [f"item {number}" for number in range(100)]
    ports = free_ports(2)
    urls = tuple(f"http://127.0.0.1:{port}" for port in ports)
    with ExitStack() as processes:
        for directory, port in zip(directories, ports, strict=True):
            processes.enter_context(running_predictor(directory, port, "tiny"))
        for port in ports:
            await asyncio.to_thread(wait_until_ready, port, "tiny")
        async with splitting(*urls) as proxy, AsyncExitStack() as opened:
            direct, routed = [], []
            for directory, url in zip(directories, urls, strict=True):
                side = await opened.enter_async_context(opening(directory, url))
                direct.append(await asyncio.gather(*map(side.translate, texts)))
                found = opening(directory, proxy.url, tagged=urls, release_check_s=0.05)
                routed.append(await opened.enter_async_context(found))
            again = await asyncio.gather(*(side.translate(text) for text in texts for side in routed))
            assert [again[0::2], again[1::2]] == direct
            assert direct[0] != direct[1]
            assert min(proxy.sent) > 0
            assert min(side.searches("found") for side in routed) >= 1


def test_a_predictor_that_is_killed_and_comes_back_fails_no_miss_and_holds_up_no_hit(
    random_release_dir: Path,
) -> None:
    (port,) = free_ports(1)
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(16))
        # A loaded machine may take its time to start a process.
        settings = {"YIWEN_COLD_START_TIMEOUT_S": "55", "YIWEN_READY_WITHOUT_PREDICTOR": "true"}
        transformer = stack.enter_context(
            running_transformer(random_release_dir, f"127.0.0.1:{port}", settings=settings)
        )
        early = [threads.submit(ask, transformer, "random", f"early {number}") for number in range(8)]
        first = stack.enter_context(running_predictor(random_release_dir, port))
        assert [cache_of(each.result()) for each in early] == ["miss"] * 8
        # A random model's answer may be one that guards object to, and that is not cached.
        texts = [f"early {number}" for number in range(8)]
        cached = [text for text in texts if cache_of(ask(transformer, "random", text)) == "hit"]
        assert cached

        first.send_signal(signal.SIGKILL)
        first.wait()
        late = [threads.submit(ask, transformer, "random", f"late {number}") for number in range(8)]
        started = time.monotonic()
        assert {cache_of(ask(transformer, "random", text)) for text in cached} == {"hit"}
        assert time.monotonic() - started < 5
        refused = ask(transformer, "random", "in a hurry", deadline_ms=300)
        assert (refused.status_code, "did not come up" in refused.json()["error"]) == (503, True)
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert not any(each.done() for each in late)
        stack.enter_context(running_predictor(random_release_dir, port))
        assert [cache_of(each.result()) for each in late] == ["miss"] * 8


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[tuple[Transformer, StandIn]]:
    """A transformer with little room, before a predictor that can be made slow."""
    release = write_release(tmp_path / "tiny", release_id=RELEASE)
    with serve(StandIn()) as predictor:
        settings = {"YIWEN_ADMISSION_TOKENS": "600", "YIWEN_LOG_LEVEL": "error"}
        with running_transformer(release, predictor.url, settings=settings) as transformer:
            yield transformer, predictor


def test_under_overload_hits_keep_their_latency_and_misses_get_retry_after(
    slow: tuple[Transformer, StandIn],
) -> None:
    transformer, predictor = slow
    assert cache_of(ask(transformer, "tiny", "known")) == "miss"
    predictor.delay_s = 0.5

    def latencies(count: int) -> list[float]:
        taken = []
        for _ in range(count):
            started = time.monotonic()
            assert cache_of(ask(transformer, "tiny", "known")) == "hit"
            taken.append(time.monotonic() - started)
        return taken

    before = latencies(30)
    with ThreadPoolExecutor(40) as threads:
        misses = [threads.submit(ask, transformer, "tiny", f"unknown {number}") for number in range(240)]
        during = latencies(30)
        answers = [each.result() for each in misses]
    taken, refused = ([answer for answer in answers if answer.status_code == status] for status in (200, 429))
    assert len(taken) + len(refused) == 240
    assert refused
    assert taken
    assert all("YIWEN_ADMISSION_TOKENS" in answer.json()["error"] for answer in refused)
    assert {int(answer.headers["retry-after"]) for answer in refused} <= set(range(1, 6))
    # The flood of 40 callers and the stand-in share two cores with the hits.
    assert statistics.median(during) < max(5 * statistics.median(before), 0.25)
    assert len(predictor.requests) == len(taken) + 1
