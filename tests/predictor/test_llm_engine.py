from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from predictor.llm_engine import MAX_FAILURES_IN_A_ROW, LLMEngine
from predictor.metrics import PredictorMetrics
from protocol.errors import DeadlineExceeded, InternalFault, NotReady
from protocol.messages import FinishReason, GenerateRequest
from protocol.release import Release
from tests.predictor.conftest import RELEASE, VOCAB, HashRunner, answer_alone

EngineFactory = Callable[..., LLMEngine]


@pytest.fixture
def make_engine(release: Release, registry: CollectorRegistry) -> Iterator[EngineFactory]:
    engines: list[LLMEngine] = []

    def make(runner: HashRunner, *, start: bool = True, queue_tokens: int = 10_000) -> LLMEngine:
        metrics = PredictorMetrics(release.id, registry)
        engine = LLMEngine(runner, release, prefill_tokens=16, queue_tokens=queue_tokens, metrics=metrics)
        engines.append(engine)
        if start:
            engine.start()
        return engine

    yield make
    for engine in engines:
        engine.stop()


def ask(prompts: list[tuple[int, ...]], max_new_tokens: int = 8) -> GenerateRequest:
    return GenerateRequest(tuple(prompts), (max_new_tokens,) * len(prompts))


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.001)


prompt_lists = st.lists(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=20).map(tuple), min_size=1, max_size=4
)


@given(
    slots=st.integers(1, 5),
    arrivals=st.lists(
        st.tuples(
            st.integers(0, 6),  # steps before it arrives
            prompt_lists,
            st.integers(1, 12),  # max_new_tokens
            st.none() | st.integers(0, 8),  # steps after which its caller leaves
        ),
        min_size=1,
        max_size=8,
    ),
)
@settings(max_examples=150, deadline=None)
def test_batching_changes_no_answer_and_loses_no_slot(
    slots: int, arrivals: list[tuple[int, list[tuple[int, ...]], int, int | None]]
) -> None:
    runner = HashRunner(slots)
    metrics = PredictorMetrics("r", CollectorRegistry())
    engine = LLMEngine(runner, RELEASE, prefill_tokens=16, queue_tokens=10_000, metrics=metrics)
    engine._thread = threading.current_thread()  # stepped by hand: the test is the loop
    futures = []
    leaving: dict[int, list[int]] = {}
    step = 0
    pending = sorted(arrivals, key=lambda arrival: arrival[0])
    while pending or engine._scheduler.has_work:
        while pending and pending[0][0] <= step:
            _, prompts, max_new_tokens, patience = pending.pop(0)
            futures.append((engine.submit(ask(prompts, max_new_tokens)), prompts, max_new_tokens))
            if patience is not None:
                leaving.setdefault(step + patience, []).append(len(futures) - 1)
        for index in leaving.pop(step, []):
            futures[index][0].cancel()
        engine.step()
        engine._scheduler.kv_cache.check_integrity()
        step += 1
        assert step < 500
    for future, prompts, max_new_tokens in futures:
        if not future.cancelled():
            answers = [g.token_ids for g in future.result(timeout=0).generations]
            assert answers == [answer_alone(prompt, max_new_tokens) for prompt in prompts]
    assert engine._scheduler.kv_cache.num_free == slots
    assert engine._scheduler.waiting_tokens == 0


def test_a_request_resolves_with_generations_in_the_order_of_its_prompts(make_engine: EngineFactory) -> None:
    engine = make_engine(HashRunner(slots=2))
    prompts: list[tuple[int, ...]] = [(1, 2, 3), (4,), (5, 6)]
    response = engine.submit(ask(prompts)).result(timeout=5)
    assert [g.token_ids for g in response.generations] == [answer_alone(p, 8) for p in prompts]
    assert response.release == "0123456789abcdef"
    assert all(g.logprob == pytest.approx(-0.5) for g in response.generations)


def test_a_failing_step_fails_its_batch_with_500_and_the_server_goes_on(make_engine: EngineFactory) -> None:
    runner = HashRunner(slots=2)
    engine = make_engine(runner)
    runner.fail_next = 1
    with pytest.raises(InternalFault, match="retry"):
        engine.submit(ask([(1,)])).result(timeout=5)
    assert engine.is_healthy
    assert engine.submit(ask([(1,)])).result(timeout=5).generations[0].token_ids == answer_alone((1,), 8)


def test_three_failures_in_a_row_make_it_unhealthy_and_leave_nobody_waiting(
    make_engine: EngineFactory,
) -> None:
    runner = HashRunner(slots=1)
    engine = make_engine(runner, start=False)
    engine._thread = threading.current_thread()
    futures = [engine.submit(ask([(1,)])) for _ in range(5)]
    runner.fail_next = MAX_FAILURES_IN_A_ROW
    for _ in range(MAX_FAILURES_IN_A_ROW):
        engine._step_or_fail()
    assert not engine.is_healthy
    assert [type(f.exception(timeout=0)) for f in futures] == [InternalFault] * 3 + [NotReady] * 2
    with pytest.raises(NotReady):
        engine.submit(ask([(1,)]))
    engine._thread = threading.Thread()


def test_a_loop_that_breaks_leaves_nobody_waiting(
    make_engine: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(HashRunner(slots=1), start=False)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    monkeypatch.setattr(engine._scheduler, "schedule", lambda now: 1 / 0)
    engine._thread.start()
    with pytest.raises(NotReady):
        engine.submit(ask([(1,)])).result(timeout=5)
    wait_until(lambda: not engine.is_healthy)


def test_a_late_request_is_504_and_a_partly_complete_one_says_which_part(
    release: Release, registry: CollectorRegistry
) -> None:
    now = 0.0
    metrics = PredictorMetrics(release.id, registry)
    engine = LLMEngine(
        HashRunner(1), release, prefill_tokens=16, queue_tokens=1000, metrics=metrics, clock=lambda: now
    )
    engine._thread = threading.current_thread()
    both = engine.submit(ask([(1,), (2,)], max_new_tokens=1), deadline=10.0)
    none = engine.submit(ask([(3,)], max_new_tokens=1), deadline=10.0)
    engine.step()
    now = 10.0
    engine.step()
    reasons = [g.finish_reason for g in both.result(timeout=0).generations]
    assert reasons == [FinishReason.LENGTH, FinishReason.DEADLINE]
    assert isinstance(none.exception(timeout=0), DeadlineExceeded)


def test_a_cancelled_request_frees_its_slot_and_is_counted(
    make_engine: EngineFactory, registry: CollectorRegistry
) -> None:
    class SlowRunner(HashRunner):
        def execute(self, batch):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            time.sleep(0.002)
            return super().execute(batch)

    engine = make_engine(SlowRunner(slots=1))
    prompt = next(p for p in ((i, j) for i in range(50) for j in range(50)) if len(answer_alone(p, 60)) == 60)
    future = engine.submit(ask([prompt], max_new_tokens=60))

    def used() -> float | None:
        return registry.get_sample_value("yiwen_predictor_slots_used", {"release": "0123456789abcdef"})

    wait_until(lambda: used() == 1)
    future.cancel()
    wait_until(lambda: used() == 0)
    labels = {"release": "0123456789abcdef", "end": "cancelled"}
    assert registry.get_sample_value("yiwen_predictor_sequences_total", labels) == 1


def test_stopping_answers_whoever_still_waits(make_engine: EngineFactory) -> None:
    engine = make_engine(HashRunner(slots=1), start=False)
    engine._thread = threading.current_thread()
    future = engine.submit(ask([(1,)]))
    engine._thread = threading.Thread()
    engine.stop()
    assert isinstance(future.exception(timeout=0), NotReady)
