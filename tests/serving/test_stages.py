from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from serving import stages
from serving.stages import RequestStages, Stage


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that stages see, in a list of one."""
    now = [100.0]
    monkeypatch.setattr(stages, "_clock", lambda: now[0])
    return now


@pytest.fixture
def request_stages() -> Iterator[RequestStages]:
    """Those of a request that the test handles."""
    of_request = RequestStages({}, None)
    token = stages.begin(of_request)
    yield of_request
    stages.end(token)


def test_outside_of_a_request_nothing_is_measured() -> None:
    with Stage("cache") as stage:
        stages.count("prompt_tokens", 3)
        stages.annotate("pair", "en-zh")
        stages.past_stage("queue", 1.0, 2.0)
    assert (stage.trace_headers(), stage.exemplar()) == ({}, None)


def test_the_times_of_a_stage_add_up(clock: list[float], request_stages: RequestStages) -> None:
    for _ in range(2):
        with Stage("cache"):
            clock[0] += 0.25
        clock[0] += 10.0
    stages.past_stage("queue", 1.0, 1.5)
    assert request_stages.milliseconds() == {"cache_ms": 500.0, "queue_ms": 500.0}


def test_tasks_that_are_in_a_stage_together_count_once(
    clock: list[float], request_stages: RequestStages
) -> None:
    async def work() -> None:
        inner = asyncio.Event()

        async def other() -> None:
            with Stage("predict"):
                await inner.wait()
                clock[0] += 1.0

        with Stage("predict"):
            task = asyncio.create_task(other())
            await asyncio.sleep(0)
            clock[0] += 2.0
            inner.set()
        await task

    asyncio.run(work())
    assert request_stages.milliseconds() == {"predict_ms": 3000.0}


def test_a_stage_that_fails_is_measured(clock: list[float], request_stages: RequestStages) -> None:
    def fail() -> None:
        with Stage("predict"):
            clock[0] += 1.0
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert request_stages.milliseconds() == {"predict_ms": 1000.0}


def test_counts_add_up_and_facts_stand(request_stages: RequestStages) -> None:
    for tokens in (3, 4):
        stages.count("prompt_tokens", tokens)
    stages.annotate("pair", "en-zh")
    assert request_stages.fields == {"prompt_tokens": 7, "pair": "en-zh"}
