"""Equal texts at once through two transformer processes, one Redis and the real predictor: generated once."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import httpx
import pytest

from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from tests.e2e.conftest import Service, running_service
from tests.metric_samples import sample_sum
from tests.releases import TRANSLATION, write_checkpoint
from tests.transformer.process import Transformer, running_transformer
from tests.transformer.redis_server import RedisServer, running_redis

REQUESTS = 1_000
LEASE_S = 2.0
SLACK_S = 3.0
"""For a machine whose two cores also run two transformers, a predictor and this test."""


@dataclass
class Pair:
    """Two transformers before one predictor."""

    predictor: Service
    transformers: tuple[Transformer, Transformer]
    redis: RedisServer

    @property
    def sequences(self) -> float:
        """How many generations the predictor has ended."""
        return self.predictor.metric("yiwen_predictor_sequences_total")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes some milliseconds a step, hardly ever stops by itself, and is never objected to."""
    directory = tmp_path_factory.mktemp("release")
    checkpoint = write_checkpoint(directory / "checkpoint", layers=6, hidden=384)
    translation = {
        **TRANSLATION,
        "stop_tokens": TRANSLATION["stop_tokens"][:1],
        "guards": {"checks": [], "retries": 0},
        "limits": {
            "max_source_tokens": 40,
            "max_new_tokens": 200,
            "new_tokens_per_source_token": 1.0,
            "extra_new_tokens": 180,
        },
    }
    (checkpoint / "translation.json").write_text(json.dumps(translation))
    request = BuildRequest(checkpoint=checkpoint, out=directory / "random", name="random")
    build_release(request, built_at=datetime(2026, 1, 1, tzinfo=timezone.utc), reporter=SilentReporter())
    return directory / "random"


@pytest.fixture(scope="module")
def pair(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """For all tests; the last one kills a part of it."""
    tmp_path = tmp_path_factory.mktemp("pair")
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis(tmp_path))
        predictor = stack.enter_context(running_service(release, tmp_path / "log"))
        settings = {
            "YIWEN_REDIS_URL": redis.url,
            "YIWEN_LEASE_S": str(LEASE_S),
            # The time-outs are the defaults: a thousand requests at once hold up a process for longer than one
            # command may take, which is no failure of Redis.
            "YIWEN_LOG_LEVEL": "error",
        }
        first, second = (
            stack.enter_context(running_transformer(release, predictor.predictor_url, settings=settings))
            for _ in range(2)
        )
        yield Pair(predictor, (first, second), redis)


@dataclass
class Callers:
    """Equal requests at once, one half to each transformer."""

    pair: Pair
    text: str
    count: int
    answered: list[Counter[str]] = field(default_factory=lambda: [Counter(), Counter()])
    """Per transformer: how many answers of each cache status, or without one."""
    texts: set[str] = field(default_factory=set)

    async def run(self) -> None:
        limits = httpx.Limits(max_connections=self.count, max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=60.0, limits=limits) as client:
            await asyncio.gather(*(self._ask(client, number % 2) for number in range(self.count)))

    async def _ask(self, client: httpx.AsyncClient, side: int) -> None:
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [self.text]}
        body = {"inputs": [tensor], "parameters": {"source": "en", "target": "zh"}}
        url = f"{self.pair.transformers[side].url}/v2/models/random/infer"
        try:
            answer = await client.post(url, json=body)
        except httpx.TransportError:
            self.answered[side]["lost"] += 1
            return
        if answer.status_code != 200:
            self.answered[side][answer.text] += 1
            return
        outputs = {each["name"]: each["data"][0] for each in answer.json()["outputs"]}
        self.answered[side][outputs["cache"]] += 1
        self.texts.add(outputs["translation"])


@contextmanager
def paused(service: Service) -> Iterator[None]:
    """The predictor of a service, standing still: whatever it is asked is in flight until the end of the block."""
    process = service.processes()["predictor"]
    process.suspend()
    try:
        yield
    finally:
        process.resume()


async def metric(transformer: Transformer, name: str) -> float:
    """Value of a series, by its name and labels as they stand on the page."""
    async with httpx.AsyncClient(timeout=30.0) as client:
        return sample_sum((await client.get(f"{transformer.url}/metrics")).text, name)


async def single_flight_of(transformer: Transformer) -> dict[str, float]:
    series = {
        **{role: f'single_flight_total{{role="{role}"}}' for role in ("leader", "follower", "remote")},
        **{event: f'single_flight_events_total{{event="{event}"}}' for event in ("taken_over", "lease_lost")},
    }
    return {kind: await metric(transformer, f"yiwen_transformer_{name}") for kind, name in series.items()}


async def followers(pair: Pair) -> float:
    """How many requests have waited for another one's generation in their own process."""
    name = 'yiwen_transformer_single_flight_total{role="follower"}'
    return sum([await metric(each, name) for each in pair.transformers])


async def leader_of(pair: Pair, waiting: int, followers_before: float) -> int:
    """Which transformer holds the lease, once all callers wait."""
    end = time.monotonic() + 30.0
    while time.monotonic() < end:
        held = [await metric(each, "yiwen_transformer_leases_held") for each in pair.transformers]
        if sorted(held) == [0, 1] and await followers(pair) == followers_before + waiting - 2:
            return held.index(1)
    raise AssertionError("nobody leads")


async def test_a_thousand_equal_requests_are_one_generation(pair: Pair) -> None:
    callers = Callers(pair, "One and the same title", REQUESTS)
    before = pair.sequences
    await callers.run()
    total = callers.answered[0] + callers.answered[1]
    counts = [await single_flight_of(each) for each in pair.transformers]
    print(f"{dict(total)} {counts}")
    assert pair.sequences - before == 1, counts
    assert set(total) <= {"miss", "shared", "hit"}
    assert total["miss"] == 1
    assert total.total() == REQUESTS
    assert len(callers.texts) == 1


async def test_when_the_leader_is_killed_the_others_are_answered_within_its_lease_and_one_generation(
    pair: Pair,
) -> None:
    started = time.monotonic()
    await Callers(pair, "How long does one take", 1).run()
    generation_s = time.monotonic() - started
    callers = Callers(pair, "Another title", 100)
    before = await followers(pair)
    with paused(pair.predictor):
        asking = asyncio.create_task(callers.run())
        leader = await leader_of(pair, 100, before)
        killed = time.monotonic()
        pair.transformers[leader].process.kill()
    await asking
    taken = time.monotonic() - killed
    lost, others = callers.answered[leader], callers.answered[1 - leader]
    print(f"one generation {generation_s:.2f} s; all answered {taken:.2f} s after the kill; {others} {lost}")
    assert lost == Counter(lost=50)
    assert others == Counter(miss=1, shared=49)
    assert len(callers.texts) == 1
    assert taken < LEASE_S + generation_s + SLACK_S
