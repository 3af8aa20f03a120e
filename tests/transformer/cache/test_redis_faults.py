"""Redis stopped, paused, filled and restarted under load, through two real transformer processes that share leases.

What is asserted: no request fails, and Redis is used again. The numbers before, during and after are printed
(``-s`` shows them), not asserted: they depend on the machine.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.transformer.predictor_stand_in import StandIn, serve
from tests.transformer.process import Transformer, running_transformer
from tests.transformer.redis_server import RedisServer, running_redis

CLIENTS = 4
LEAST = 40
"""Requests that each client sends however slow the machine is."""
TEXTS = 10
RENEWED = 200
"""Requests after which all texts are new ones."""
PREDICTOR_S = 0.01
PROBE_S = 0.2
PHASE_S = 0.3
"""Long enough for hundreds of requests; each client sends :data:`LEAST` anyhow."""

QUIET = {"YIWEN_LOG_LEVEL": "error"}
"""Nobody reads the process's log here: it must not fill the pipe."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for all faults, each of which mends what it broke."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def replicas(shared: RedisServer, release_directory: Path) -> Iterator[tuple[Transformer, ...]]:
    """Without memories of their own, so that every request needs Redis or the predictor, which takes its time."""
    settings = {
        "YIWEN_REDIS_URL": shared.url,
        "YIWEN_CACHE_BYTES": "0",
        "YIWEN_REDIS_PROBE_S": str(PROBE_S),
        "YIWEN_REDIS_PROBE_MAX_S": str(2 * PROBE_S),
        **QUIET,
    }
    stand_in = StandIn()
    stand_in.delay_s = PREDICTOR_S
    with ExitStack() as stack:
        url = stack.enter_context(serve(stand_in)).url
        yield tuple(
            stack.enter_context(running_transformer(release_directory, url, settings=settings))
            for _ in range(2)
        )


class Load:
    """A few clients, each sending its next request when it has the last one's answer, to one server after another.

    Every so often the texts are new ones, which all clients then miss at about the same time.
    """

    def __init__(self, subject: str, *urls: str) -> None:
        self._subject = subject
        self._urls = [f"{url}/v2/models/tiny/infer" for url in urls]
        self.failures: list[str] = []
        self.statuses: Counter[str] = Counter()
        self._numbers = itertools.count()

    async def run(self, seconds: float) -> list[float]:
        """Seconds that each request took."""
        end = time.monotonic() + seconds
        async with httpx.AsyncClient(timeout=10.0) as client:
            taken = await asyncio.gather(*(self._client(client, end) for _ in range(CLIENTS)))
        return [seconds for each in taken for seconds in each]

    async def _client(self, client: httpx.AsyncClient, end: float) -> list[float]:
        taken: list[float] = []
        while time.monotonic() < end or len(taken) < LEAST:
            number = next(self._numbers)
            text = f"{self._subject} {number // RENEWED} number {number // CLIENTS % TEXTS}"
            started = time.monotonic()
            response = await client.post(self._urls[number % len(self._urls)], json=_body(text))
            taken.append(time.monotonic() - started)
            if response.status_code != 200 or _output(response, "translation") != text:
                self.failures.append(response.text)
            else:
                self.statuses[_output(response, "cache")] += 1
        return taken


def _body(text: str) -> dict[str, object]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
    return {"inputs": [tensor], "parameters": {"target": "zh", "source": "en"}}


def _output(response: httpx.Response, name: str) -> str:
    (found,) = [each["data"][0] for each in response.json()["outputs"] if each["name"] == name]
    return str(found)


def _metric(url: str, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"yiwen_transformer_{name}" and labels.items() <= sample.labels.items()
    )


async def _until_closed(replicas: tuple[Transformer, ...]) -> None:
    """Wait until all transformers use Redis again."""
    end = time.monotonic() + 10.0
    for each in replicas:
        while await asyncio.to_thread(_metric, each.url, "redis_circuit"):
            assert time.monotonic() < end
            await asyncio.sleep(0.05)


def _hits(*replicas: Transformer) -> float:
    return sum(_metric(each.url, "cache_tier_lookups_total", tier="redis", result="hit") for each in replicas)


def _held(*replicas: Transformer) -> float:
    return sum(_metric(each.url, "lease_acquisitions_total", result="held") for each in replicas)


def _fill(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.command("CONFIG", "SET", "maxmemory", "1")


def _restart(redis: RedisServer) -> None:
    redis.stop()
    redis.start()


def _garbage(redis: RedisServer) -> None:
    redis.command(
        "EVAL",
        "for _, k in ipairs(redis.call('KEYS', 'yiwen:*')) do redis.call('SET', k, 'garbage') end",
        "0",
    )


FAULTS: dict[str, tuple[Callable[[RedisServer], object], Callable[[RedisServer], object]]] = {
    "stopped": (RedisServer.stop, RedisServer.start),
    "paused": (RedisServer.pause, RedisServer.resume),
    "full": (_fill, lambda redis: redis.command("CONFIG", "SET", "maxmemory", "0")),
    "restarted": (_restart, lambda redis: None),
    "garbage": (_garbage, lambda redis: None),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_request_fails_and_redis_is_used_again(
    shared: RedisServer, replicas: tuple[Transformer, ...], fault: str
) -> None:
    begin, end = FAULTS[fault]
    load = Load(fault, *(each.url for each in replicas))
    held = _held(*replicas)
    phases = {"before": await load.run(PHASE_S)}
    assert _hits(*replicas) > 0
    assert _held(*replicas) > held, "leases are on"
    under_way = asyncio.create_task(load.run(2 * PHASE_S))
    await asyncio.sleep(0.2)
    await asyncio.to_thread(begin, shared)
    phases["fault begins"] = await under_way
    phases["goes on"] = await load.run(PHASE_S)
    await asyncio.to_thread(end, shared)
    await _until_closed(replicas)
    hits, held = _hits(*replicas), _held(*replicas)
    phases["after"] = await load.run(PHASE_S)
    assert load.failures == []
    assert _hits(*replicas) - hits > 0.3 * len(phases["after"]), "Redis is used again"
    assert _held(*replicas) > held, "and so are leases"
    for phase, taken in phases.items():
        print(f"{fault:9} {phase:12} {_report(taken)}")
    print(f"{fault:9} {dict(load.statuses)}")


async def test_a_wrong_password_costs_hits_and_no_request(
    redis: RedisServer, stand_in: StandIn, release_directory: Path, tmp_path: Path
) -> None:
    redis.command("CONFIG", "SET", "requirepass", "right")
    (tmp_path / "password").write_text("wrong", encoding="utf-8")
    settings = {
        **QUIET,
        "YIWEN_REDIS_URL": redis.url,
        "YIWEN_REDIS_PASSWORD_FILE": str(tmp_path / "password"),
    }
    with running_transformer(release_directory, stand_in.url, settings=settings) as transformer:
        load = Load("title", transformer.url)
        assert await load.run(0.5)
        assert load.failures == []
        assert _metric(transformer.url, "redis_errors_total", kind="auth") >= 3


async def test_without_a_redis_from_the_start_requests_are_answered(
    redis: RedisServer, stand_in: StandIn, release_directory: Path
) -> None:
    redis.stop()
    settings = {
        **QUIET,
        "YIWEN_REDIS_URL": redis.url,
        "YIWEN_CACHE_BYTES": "0",
        "YIWEN_REDIS_PROBE_S": str(PROBE_S),
    }
    with running_transformer(release_directory, stand_in.url, settings=settings) as transformer:
        load = Load("title", transformer.url)
        await load.run(0.5)
        await asyncio.to_thread(redis.start)
        await asyncio.sleep(3 * PROBE_S)
        await load.run(PHASE_S)
        assert load.failures == []
        assert _hits(transformer) > 0


def _report(taken: list[float]) -> str:
    ordered = sorted(taken)
    p99 = ordered[int(0.99 * (len(ordered) - 1))]
    return (
        f"{len(taken):5} requests, median {1e3 * statistics.median(taken):6.2f} ms, P99 {1e3 * p99:6.2f} ms, "
        f"longest {1e3 * ordered[-1]:6.2f} ms"
    )
