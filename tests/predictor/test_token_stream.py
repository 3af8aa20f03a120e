from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from predictor.llm_engine import LLMEngine
from predictor.metrics import EngineMetrics
from predictor.token_stream import TokenStream, merge_deltas
from protocol.deadline import Deadline
from protocol.errors import DeadlineExceeded, InternalFault, TooLong
from protocol.messages import (
    FinishReason,
    GenerateRequest,
    GenerateResponse,
    GenerationEnd,
    SamplingParams,
    TokenDelta,
)
from protocol.release import Release
from tests.predictor.conftest import RELEASE, HashRunner, answer_alone

LONG_PROMPT = next(
    p for p in ((i, j) for i in range(50) for j in range(50)) if len(answer_alone(p, 60)) == 60
)


class SlowRunner(HashRunner):
    """Takes a while for each step, so that a test can act between two."""

    def launch(self, batch: object) -> None:
        time.sleep(0.005)
        super().launch(batch)  # type: ignore[arg-type]  # the engine passes batches only


EngineFactory = Callable[[HashRunner], LLMEngine]


@pytest.fixture
def make_engine(release: Release, registry: CollectorRegistry) -> Iterator[EngineFactory]:
    engines: list[LLMEngine] = []

    def make(runner: HashRunner) -> LLMEngine:
        metrics = EngineMetrics(registry)
        engines.append(LLMEngine(runner, release, prefill_tokens=64, queue_tokens=100_000, metrics=metrics))
        engines[-1].start()
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()


def ask(prompts: list[tuple[int, ...]], bound: int = 30, temperature: float = 0.0) -> GenerateRequest:
    return GenerateRequest(tuple(prompts), (bound,) * len(prompts), SamplingParams(temperature, seed=5))


async def follow(
    engine: LLMEngine, request: GenerateRequest, deadline: Deadline | None = None
) -> list[TokenDelta]:
    stream = TokenStream()
    future = engine.submit(request, deadline=deadline, subscriber=stream)
    return [delta async for delta in stream.follow(future)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("runs_ahead", [False, True], ids=["behind", "ahead"])
async def test_deltas_add_up_to_the_answer_in_one_piece(
    make_engine: EngineFactory, runs_ahead: bool, temperature: float
) -> None:
    engine = make_engine(HashRunner(slots=3, runs_ahead=runs_ahead))
    requests = [ask([(i, 1), (i, 2), (i, 3)], temperature=temperature) for i in range(20)]
    streams = await asyncio.gather(*(follow(engine, request) for request in requests))
    for request, deltas in zip(requests, streams, strict=True):
        whole = engine.submit(request).result(timeout=5)
        last = {delta.index: delta for delta in merge_deltas(deltas)}
        assert [last[i].token_ids for i in range(3)] == [g.token_ids for g in whole.generations]
        for index, generation in enumerate(whole.generations):
            assert len(last[index].logprobs) == len(generation.token_ids)
            end = last[index].end
            assert end == GenerationEnd(generation.logprob, generation.finish_reason, RELEASE.id)
        assert sum(delta.end is not None for delta in deltas) == 3


async def test_tokens_come_before_the_answer_is_whole(make_engine: EngineFactory) -> None:
    engine = make_engine(SlowRunner(slots=1))
    stream = TokenStream()
    future = engine.submit(ask([LONG_PROMPT], bound=60), subscriber=stream)
    deltas = stream.follow(future)
    first = await anext(deltas)
    assert first.end is None
    assert first.token_ids == answer_alone(LONG_PROMPT, 60)[: len(first.token_ids)]
    assert not future.done()
    await deltas.aclose()
    assert future.cancelled()


async def test_leaving_frees_the_slot(make_engine: EngineFactory, registry: CollectorRegistry) -> None:
    engine = make_engine(SlowRunner(slots=1, runs_ahead=True))
    leaving = asyncio.create_task(follow(engine, ask([LONG_PROMPT], bound=60)))
    await asyncio.sleep(0.05)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    [delta, *_] = merge_deltas(await follow(engine, ask([(1,)])))
    assert delta.token_ids == answer_alone((1,), 30)
    labels = {"end": "cancelled"}
    assert registry.get_sample_value("yiwen_predictor_sequences_total", labels) == 1


async def test_a_deadline_ends_the_stream_with_the_error_after_its_tokens(make_engine: EngineFactory) -> None:
    engine = make_engine(SlowRunner(slots=1))
    stream = TokenStream()
    future = engine.submit(ask([LONG_PROMPT], bound=60), deadline=Deadline.after(0.1), subscriber=stream)
    deltas = []

    async def read() -> None:
        async for delta in stream.follow(future):
            deltas.append(delta)  # what came before the error counts

    with pytest.raises(DeadlineExceeded):
        await read()
    [delta] = merge_deltas(deltas)
    tokens = delta.token_ids
    assert delta.end is None
    assert 0 < len(tokens) < 60
    assert tokens == answer_alone(LONG_PROMPT, 60)[: len(tokens)]


async def test_a_deadline_that_cuts_some_ends_those_with_its_reason(make_engine: EngineFactory) -> None:
    engine = make_engine(SlowRunner(slots=2))
    short = (1,)
    request = GenerateRequest((short, LONG_PROMPT), (1, 60))
    deltas = merge_deltas(await follow(engine, request, Deadline.after(0.1)))
    reasons = {delta.index: delta.end.finish_reason for delta in deltas if delta.end}
    assert reasons[1] is FinishReason.DEADLINE
    assert reasons[0] in (FinishReason.LENGTH, FinishReason.STOP)


async def test_a_failed_step_ends_the_stream_with_the_error(make_engine: EngineFactory) -> None:
    runner = HashRunner(slots=1, runs_ahead=True)
    runner.failures = {5: "collect"}
    with pytest.raises(InternalFault):
        await follow(make_engine(runner), ask([LONG_PROMPT], bound=60))


async def test_what_is_refused_at_the_door_raises_at_once(make_engine: EngineFactory) -> None:
    with pytest.raises(TooLong):
        await follow(make_engine(HashRunner(slots=1)), ask([(1,) * 60], bound=60))


def test_publishing_to_a_closed_event_loop_is_ignored() -> None:
    async def make() -> TokenStream:
        return TokenStream()

    asyncio.run(make()).publish(TokenDelta(0, (1,), (-0.5,)))


async def test_a_future_that_is_done_already_still_gives_what_was_published() -> None:
    stream = TokenStream()
    future: Future[GenerateResponse] = Future()
    stream.publish(TokenDelta(0, (1,), (-0.5,)))
    stream.publish(TokenDelta(0, (2,), (-0.5,), GenerationEnd(-0.5, FinishReason.LENGTH, "r")))
    future.set_result(GenerateResponse((), "r"))
    assert [delta.token_ids async for delta in stream.follow(future)] == [(1, 2)]


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 99), max_size=3)), max_size=30))
def test_merging_keeps_every_token_of_every_prompt_in_order(parts: list[tuple[int, list[int]]]) -> None:
    deltas = [TokenDelta(index, tuple(ids), (-0.1,) * len(ids)) for index, ids in parts]
    merged = merge_deltas(deltas)
    assert len({delta.index for delta in merged}) == len(merged)
    for delta in merged:
        assert delta.token_ids == tuple(t for index, ids in parts if index == delta.index for t in ids)
        assert len(delta.logprobs) == len(delta.token_ids)
