from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry

from predictor.batch import StepOutput
from predictor.engine_thread import MAX_FAILURES_IN_A_ROW
from predictor.llm_engine import LLMEngine
from predictor.metrics import EngineMetrics
from predictor.scheduler import Scheduler
from protocol.deadline import Deadline
from protocol.errors import DeadlineExceeded, InternalFault, NotReady
from protocol.messages import FinishReason, GenerateRequest
from protocol.release import Release
from tests.predictor.conftest import HashRunner, answer_alone

EngineFactory = Callable[..., LLMEngine]

LONG_PROMPT = next(
    p for p in ((i, j) for i in range(50) for j in range(50)) if len(answer_alone(p, 60)) == 60
)
"""Its answer has no stop token among the first 60."""


@pytest.fixture
def make_engine(release: Release, registry: CollectorRegistry) -> Iterator[EngineFactory]:
    engines: list[LLMEngine] = []

    def make(runner: HashRunner, *, start: bool = True, queue_tokens: int = 10_000) -> LLMEngine:
        metrics = EngineMetrics(registry)
        engine = LLMEngine(runner, release, prefill_tokens=16, queue_tokens=queue_tokens, metrics=metrics)
        engines.append(engine)
        if start:
            engine.start()
        return engine

    yield make
    for engine in engines:
        engine.stop()


@pytest.fixture(params=[False, True], ids=["behind", "ahead"])
def runs_ahead(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def ask(prompts: list[tuple[int, ...]], max_new_tokens: int = 8) -> GenerateRequest:
    return GenerateRequest(tuple(prompts), (max_new_tokens,) * len(prompts))


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.001)


def test_a_request_resolves_with_generations_in_the_order_of_its_prompts(
    make_engine: EngineFactory, runs_ahead: bool
) -> None:
    engine = make_engine(HashRunner(slots=2, runs_ahead=runs_ahead))
    prompts: list[tuple[int, ...]] = [(1, 2, 3), (4,), (5, 6)]
    response = engine.submit(ask(prompts)).result(timeout=5)
    assert [g.token_ids for g in response.generations] == [answer_alone(p, 8) for p in prompts]
    assert response.release == "0123456789abcdef"
    assert all(g.logprob == pytest.approx(-0.5) for g in response.generations)


@pytest.mark.parametrize("where", ["launch", "collect", "output"])
def test_a_failing_step_fails_its_batch_with_500_and_the_server_goes_on(
    make_engine: EngineFactory, registry: CollectorRegistry, runs_ahead: bool, where: str
) -> None:
    runner = HashRunner(slots=2, runs_ahead=runs_ahead)
    engine = make_engine(runner)
    runner.failures = {1: where}
    with pytest.raises(InternalFault, match="retry"):
        engine.submit(ask([LONG_PROMPT])).result(timeout=5)
    assert engine.is_healthy
    assert engine.submit(ask([(1,)])).result(timeout=5).generations[0].token_ids == answer_alone((1,), 8)
    assert registry.get_sample_value("yiwen_predictor_step_failures_total") == 1


@pytest.mark.parametrize("where", ["launch", "collect"])
def test_three_failures_in_a_row_make_it_unhealthy_and_leave_no_caller_waiting(
    make_engine: EngineFactory, runs_ahead: bool, where: str
) -> None:
    runner = HashRunner(slots=1, runs_ahead=runs_ahead)
    engine = make_engine(runner, start=False)
    futures = [engine.submit(ask([LONG_PROMPT])) for _ in range(5)]
    runner.failures = dict.fromkeys(range(2 * MAX_FAILURES_IN_A_ROW), where)
    while engine.is_healthy:
        engine.step()
    assert [type(f.exception(timeout=0)) for f in futures] == [InternalFault] * 3 + [NotReady] * 2
    with pytest.raises(NotReady):
        engine.submit(ask([(1,)]))


def test_a_step_that_succeeds_between_failures_keeps_it_healthy(
    make_engine: EngineFactory, runs_ahead: bool
) -> None:
    runner = HashRunner(slots=1, runs_ahead=runs_ahead)
    engine = make_engine(runner, start=False)
    runner.failures = dict.fromkeys(range(0, 40, 3), "launch")
    futures = [engine.submit(ask([(1,)], max_new_tokens=1)) for _ in range(12)]
    while engine.has_work:
        engine.step()
    assert engine.is_healthy
    assert sum(isinstance(f.exception(timeout=0), InternalFault) for f in futures) >= 4


def test_a_thread_that_crashes_leaves_no_caller_waiting(
    make_engine: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(HashRunner(slots=1), start=False)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    monkeypatch.setattr(Scheduler, "schedule", lambda self, now: 1 / 0)
    engine.start()
    with pytest.raises(NotReady):
        engine.submit(ask([(1,)])).result(timeout=5)
    wait_until(lambda: not engine.is_healthy)


def test_a_late_request_is_504_and_a_partly_complete_one_says_which_part(
    release: Release, registry: CollectorRegistry
) -> None:
    now = 0.0
    metrics = EngineMetrics(registry)
    engine = LLMEngine(
        HashRunner(1), release, prefill_tokens=16, queue_tokens=1000, metrics=metrics, clock=lambda: now
    )
    deadline = Deadline.after(10.0, lambda: now)
    both = engine.submit(ask([(1,), (2,)], max_new_tokens=1), deadline=deadline)
    none = engine.submit(ask([(3,)], max_new_tokens=1), deadline=deadline)
    engine.step()
    now = 10.0
    engine.step()
    reasons = [g.finish_reason for g in both.result(timeout=0).generations]
    assert reasons == [FinishReason.LENGTH, FinishReason.DEADLINE]
    assert isinstance(none.exception(timeout=0), DeadlineExceeded)


class SlowRunner(HashRunner):
    """Takes its time, or as long as it is told to."""

    def __init__(self, slots: int, *, runs_ahead: bool) -> None:
        super().__init__(slots, runs_ahead=runs_ahead)
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def collect(self) -> StepOutput:
        time.sleep(0.002)
        assert self.may_go_on.wait(timeout=5)
        return super().collect()


def test_a_cancelled_request_frees_its_slot_and_is_counted(
    make_engine: EngineFactory, registry: CollectorRegistry, runs_ahead: bool
) -> None:
    engine = make_engine(SlowRunner(slots=1, runs_ahead=runs_ahead))
    future = engine.submit(ask([LONG_PROMPT], max_new_tokens=60))

    def used() -> float | None:
        return registry.get_sample_value("yiwen_predictor_slots_used")

    wait_until(lambda: used() == 1)
    future.cancel()
    wait_until(lambda: used() == 0)
    labels = {"end": "cancelled"}
    assert registry.get_sample_value("yiwen_predictor_sequences_total", labels) == 1


def test_requests_are_admitted_while_the_runner_works(make_engine: EngineFactory, runs_ahead: bool) -> None:
    runner = SlowRunner(slots=1, runs_ahead=runs_ahead)
    engine = make_engine(runner)
    runner.may_go_on.clear()
    futures = [engine.submit(ask([(number,)])) for number in range(3)]  # would block if a step held the lock
    runner.may_go_on.set()
    for number, future in enumerate(futures):
        assert future.result(timeout=5).generations[0].token_ids == answer_alone((number,), 8)


def test_metrics_count_what_callers_get_and_what_the_runner_holds(
    make_engine: EngineFactory, registry: CollectorRegistry, runs_ahead: bool
) -> None:
    runner = SlowRunner(slots=4, runs_ahead=runs_ahead)
    engine = make_engine(runner)
    started = time.monotonic()
    prompts: list[tuple[int, ...]] = [(1, 2, 3), (4,), (5, 6), *((n,) for n in range(20))]
    generations = engine.submit(ask(prompts)).result(timeout=5).generations
    wait_until(lambda: not engine.has_work)

    def value(name: str, **labels: str) -> float:
        found = registry.get_sample_value(f"yiwen_predictor_{name}", labels)
        assert found is not None
        return found

    stopped = sum(g.finish_reason is FinishReason.STOP for g in generations)
    assert stopped, "no sequence stopped: nothing shows that rows behind a stop token are not counted"
    expected = sum(len(g.token_ids) for g in generations) + stopped
    assert value("tokens_total", kind="generated") == expected
    assert value("tokens_total", kind="prompt") == sum(map(len, prompts))
    assert 0.002 * len(runner.batches) <= value("busy_seconds_total") <= time.monotonic() - started
    assert value("runner_seconds_count") == len(runner.batches)
    wait_until(lambda: value("kv_bytes_used") == 0)
    assert value("graph_launches_total", kind="graph") == len(runner.batches)
    assert value("kv_bytes") == runner.kv_bytes


def test_the_cache_in_use_is_the_tokens_of_running_sequences(
    make_engine: EngineFactory, registry: CollectorRegistry, runs_ahead: bool
) -> None:
    runner = HashRunner(slots=2, runs_ahead=runs_ahead)
    engine = make_engine(runner, start=False)
    engine.submit(ask([LONG_PROMPT, LONG_PROMPT]))
    for _ in range(3):
        engine.step()
    used = registry.get_sample_value("yiwen_predictor_kv_bytes_used")
    assert used == 2 * (len(LONG_PROMPT) + 2)  # the third step's token is not in the cache yet


def test_stopping_fails_the_waiting_requests(make_engine: EngineFactory) -> None:
    engine = make_engine(HashRunner(slots=1), start=False)
    future = engine.submit(ask([(1,)]))
    engine.stop()
    assert isinstance(future.exception(timeout=0), NotReady)


@pytest.mark.parametrize(("runs_ahead", "tokens"), [(False, 1), (True, 1), (True, 2)])
def test_stopping_resolves_requests_whose_last_step_is_in_flight(
    make_engine: EngineFactory, runs_ahead: bool, tokens: int
) -> None:
    runner = SlowRunner(slots=2, runs_ahead=runs_ahead)
    engine = make_engine(runner)
    runner.may_go_on.clear()
    last = engine.submit(ask([LONG_PROMPT], max_new_tokens=tokens))
    wait_until(lambda: len(runner.batches) == tokens)
    waiting = engine.submit(ask([(1,)]))
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    wait_until(lambda: engine.is_stopping)
    runner.may_go_on.set()
    stopping.join(timeout=5)
    assert last.result(timeout=0).generations[0].token_ids == answer_alone(LONG_PROMPT, tokens)
    assert isinstance(waiting.exception(timeout=0), NotReady)
    assert not runner.in_flight


def test_times_to_the_first_token_and_between_tokens_are_those_of_each_sequence(
    registry: CollectorRegistry, release: Release, runs_ahead: bool
) -> None:
    now = 0.0
    runner = HashRunner(slots=1, runs_ahead=runs_ahead)
    engine = LLMEngine(
        runner,
        release,
        prefill_tokens=16,
        queue_tokens=1000,
        metrics=EngineMetrics(registry),
        clock=lambda: now,
    )
    futures = [engine.submit(ask([LONG_PROMPT], max_new_tokens=3)) for _ in range(2)]
    usage = []
    while engine.has_work:
        now += 1.0
        engine.step()
        usage.append(registry.get_sample_value("yiwen_predictor_kv_cache_usage"))
    assert all(future.done() for future in futures)

    def value(name: str) -> float | None:
        return registry.get_sample_value(f"yiwen_predictor_{name}")

    # Three tokens a second apart; running ahead, the host knows each a step later.
    late = 1.0 if runs_ahead else 0.0
    first, second = 1.0 + late, 4.0 + 2 * late if runs_ahead else 4.0
    assert value("time_to_first_token_seconds_sum") == pytest.approx(first + second, abs=late)
    assert value("time_to_first_token_seconds_count") == 2
    assert value("time_per_output_token_seconds_sum") == 2.0
    assert value("time_per_output_token_seconds_count") == 2
    assert value("sequence_prompt_tokens_sum") == 2 * len(LONG_PROMPT)
    assert value("sequence_generated_tokens_sum") == 6
    assert (usage[0], usage[-1]) == (1.0, 0.0)
