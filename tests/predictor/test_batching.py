"""Random arrivals, cancellations, deadlines and failures: each answer is the one its prompt gets alone."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from predictor.llm_engine import LLMEngine
from predictor.metrics import EngineMetrics
from protocol.deadline import Deadline
from protocol.errors import DeadlineExceeded, InternalFault, NotReady
from protocol.messages import FinishReason, GenerateRequest, GenerateResponse, SamplingParams
from protocol.priority import BULK_URGENCY, DEFAULT_URGENCY
from tests.predictor.conftest import GREEDY, RELEASE, STOP, VOCAB, HashRunner, answer_alone

MOST_STEPS = 600


@dataclass(frozen=True)
class Arrival:
    step: int
    """Steps before it arrives."""
    prompts: list[tuple[int, ...]]
    max_new_tokens: int
    params: SamplingParams = GREEDY
    cancel_after: int | None = None
    """Steps after which its caller cancels."""
    deadline: int | None = None
    """Steps from its arrival."""
    urgency: int = DEFAULT_URGENCY

    @property
    def message(self) -> GenerateRequest:
        limits = (self.max_new_tokens,) * len(self.prompts)
        return GenerateRequest(tuple(self.prompts), limits, self.params, urgency=self.urgency)


@dataclass
class Simulation:
    """An engine stepped by the test, with a clock that counts steps, and in which a row takes a hundredth of one."""

    runner: HashRunner
    stops: tuple[int, ...]
    now: int = 0
    answers: list[tuple[Arrival, Future[GenerateResponse]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = LLMEngine(
            self.runner,
            dataclasses.replace(RELEASE, stop_token_ids=self.stops),
            prefill_tokens=16,
            queue_tokens=10_000,
            metrics=EngineMetrics(CollectorRegistry()),
            clock=self.clock,
        )

    def clock(self) -> float:
        collected = self.runner.batches[: len(self.runner.batches) - len(self.runner.in_flight)]
        return self.now + 0.01 * sum(batch.rows for batch in collected)

    def run(self, arrivals: list[Arrival]) -> None:
        """Step until there is no work left, or the engine is unhealthy."""
        scheduler = self.engine.scheduler
        pending = sorted(arrivals, key=lambda arrival: arrival.step)
        while self.engine.is_healthy and (pending or self.engine.has_work):
            while pending and pending[0].step <= self.now:
                self._submit(pending.pop(0))
            for arrival, future in self.answers:
                if arrival.cancel_after is not None and arrival.step + arrival.cancel_after <= self.now:
                    future.cancel()
            self.engine.step()
            self._recount()
            self.now += 1
            assert self.now < MOST_STEPS
        assert self.engine.steps_in_flight == len(self.runner.in_flight) == 0
        assert scheduler.kv_cache.num_free == self.runner.slots
        assert scheduler.waiting_tokens == 0

    def _submit(self, arrival: Arrival) -> None:
        deadline = None
        if arrival.deadline is not None:
            deadline = Deadline.after(arrival.deadline, self.clock)
        self.answers.append((arrival, self.engine.submit(arrival.message, deadline=deadline)))

    def _recount(self) -> None:
        scheduler = self.engine.scheduler
        scheduler.kv_cache.check_integrity()
        assert scheduler.kv_cache.num_used == len(scheduler.running)
        assert scheduler.waiting_tokens == sum(s.cost_tokens for s in scheduler.waiting)
        for sequence in scheduler.running:
            assert 0 <= sequence.tokens_in_flight <= self.engine.steps_in_flight
            assert sequence.num_generated + sequence.tokens_in_flight <= sequence.max_new_tokens

    def check_answers(self) -> None:
        for arrival, future in self.answers:
            assert future.done(), "a caller waits for ever"
            if future.cancelled():
                assert arrival.cancel_after is not None
            elif isinstance(future.exception(timeout=0), DeadlineExceeded):
                assert arrival.deadline is not None
            elif isinstance(future.exception(timeout=0), InternalFault | NotReady):
                assert self.runner.failures
            else:
                self._check_generations(arrival, future.result(timeout=0))

    def _check_generations(self, arrival: Arrival, response: GenerateResponse) -> None:
        for prompt, generation in zip(arrival.prompts, response.generations, strict=True):
            alone = answer_alone(prompt, arrival.max_new_tokens, params=arrival.params, stops=self.stops)
            if generation.finish_reason is FinishReason.DEADLINE:
                assert arrival.deadline is not None
                assert generation.token_ids == alone[: len(generation.token_ids)]
            else:
                assert generation.token_ids == alone


prompts = st.lists(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=20).map(tuple), min_size=1, max_size=4
)
params = st.just(GREEDY) | st.builds(SamplingParams, temperature=st.just(1.5), seed=st.integers(0, 2**32))
arrivals = st.builds(
    Arrival,
    step=st.integers(0, 6),
    prompts=prompts,
    max_new_tokens=st.integers(1, 12),
    params=params,
    cancel_after=st.none() | st.integers(0, 8),
    deadline=st.none() | st.integers(0, 12),
    urgency=st.sampled_from([DEFAULT_URGENCY, BULK_URGENCY]),
)
stop_tokens = st.lists(st.integers(0, VOCAB - 1), max_size=12, unique=True).map(tuple)
failures = st.dictionaries(st.integers(0, 25), st.sampled_from(["launch", "collect", "output"]), max_size=4)


@pytest.mark.parametrize("runs_ahead", [False, True])
@given(
    slots=st.integers(1, 5),
    arrivals=st.lists(arrivals, min_size=1, max_size=8),
    stops=stop_tokens,
    failures=st.just({}) | failures,
)
@settings(max_examples=150)
def test_batching_changes_no_answer_and_loses_no_slot(
    runs_ahead: bool, slots: int, arrivals: list[Arrival], stops: tuple[int, ...], failures: dict[int, str]
) -> None:
    runner = HashRunner(slots, runs_ahead=runs_ahead)
    runner.failures = failures
    simulation = Simulation(runner, stops)
    simulation.run(arrivals)
    simulation.check_answers()


@given(
    slots=st.integers(1, 5),
    arrivals=st.lists(
        st.builds(
            Arrival,
            step=st.integers(0, 6),
            prompts=prompts,
            max_new_tokens=st.integers(1, 12),
            params=params,
        ),
        min_size=1,
        max_size=8,
    ),
    stops=stop_tokens,
)
@settings(max_examples=100)
def test_running_ahead_changes_no_generation(
    slots: int, arrivals: list[Arrival], stops: tuple[int, ...]
) -> None:
    """Tokens, log-probabilities and reasons."""
    ahead, behind = (Simulation(HashRunner(slots, runs_ahead=runs), stops) for runs in (True, False))
    ahead.run(arrivals)
    behind.run(arrivals)
    for (_, one), (_, other) in zip(ahead.answers, behind.answers, strict=True):
        assert one.result(timeout=0) == other.result(timeout=0)


def prompt_with_answer_of(tokens: int, *, at_least: bool = False) -> tuple[int, ...]:
    """A prompt whose answer stops by itself after ``tokens`` tokens, the stop token not counted."""
    for number in range(10_000):
        prompt = (number % VOCAB, number // VOCAB % VOCAB, number // VOCAB**2)
        length = len(answer_alone(prompt, 60))
        if length == tokens or (at_least and length > tokens):
            return prompt
    raise AssertionError("no such prompt")


@pytest.mark.parametrize("runs_ahead", [False, True])
def test_a_sequence_that_ends_by_length_takes_no_step_more(runs_ahead: bool) -> None:
    simulation = Simulation(HashRunner(1, runs_ahead=runs_ahead), (STOP,))
    simulation.run([Arrival(0, [prompt_with_answer_of(12, at_least=True)], 5)])
    assert len(simulation.runner.batches) == 5
    assert simulation.runner.deepest == 1 + runs_ahead


@pytest.mark.parametrize("runs_ahead", [False, True])
def test_a_stop_token_costs_one_row_when_running_ahead(runs_ahead: bool) -> None:
    simulation = Simulation(HashRunner(1, runs_ahead=runs_ahead), (STOP,))
    simulation.run([Arrival(0, [prompt_with_answer_of(4)], 20)])
    assert len(simulation.runner.batches) == 5 + runs_ahead


def test_a_sampled_token_is_read_before_the_next_step_is_launched() -> None:
    simulation = Simulation(HashRunner(2, runs_ahead=True), ())
    sampled = SamplingParams(temperature=1.0, seed=3)
    simulation.run([Arrival(0, [(1,)], 12), Arrival(3, [(2,)], 4, sampled)])
    beside = [batch for batch in simulation.runner.batches if len(batch.decode_slots) == 2]
    assert len(beside) == 3
    assert all(batch.decode_sources.tolist() == [-1, -1] for batch in beside)
    simulation.check_answers()
