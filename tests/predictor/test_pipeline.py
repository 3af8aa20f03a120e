from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from predictor.errors import RunnerError
from predictor.metrics import EngineMetrics
from predictor.pipeline import StepFailed, StepPipeline
from predictor.scheduler import Scheduler, Step
from tests.predictor.conftest import HashRunner, make_request, next_token


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runner() -> HashRunner:
    return HashRunner(2, runs_ahead=True)


@pytest.fixture
def pipeline(runner: HashRunner, registry: CollectorRegistry, clock: Clock) -> StepPipeline:
    return StepPipeline(runner, EngineMetrics(registry), clock)


def make_steps(count: int) -> list[Step]:
    """Consecutive steps over one prompt, none of them collected."""
    scheduler = Scheduler(slots=2, max_sequence_tokens=32, prefill_tokens=8, queue_tokens=64)
    scheduler.admit(make_request([(1,)]), tokens_per_s=0)
    return [scheduler.schedule(now=0.0) for _ in range(count)]


def busy(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("yiwen_predictor_busy_seconds_total")


def test_steps_are_collected_in_the_order_of_their_launches(pipeline: StepPipeline) -> None:
    first, second = make_steps(2)
    pipeline.launch(first)
    pipeline.launch(second)
    token = next_token((1,))
    assert (pipeline.collect().token_ids, len(pipeline)) == ([token], 1)
    completed = pipeline.collect()
    assert completed.step is second
    assert completed.token_ids == [next_token((1, token))]
    assert len(pipeline) == 0


def test_time_with_two_steps_in_flight_counts_once_and_idle_time_not_at_all(
    pipeline: StepPipeline, registry: CollectorRegistry, clock: Clock
) -> None:
    first, second, third = make_steps(3)
    pipeline.launch(first)
    clock.now = 1.0
    pipeline.launch(second)
    clock.now = 3.0
    pipeline.collect()
    assert busy(registry) == 3.0
    clock.now = 4.0
    pipeline.collect()
    assert busy(registry) == 4.0
    clock.now = 10.0
    pipeline.launch(third)
    clock.now = 10.5
    pipeline.collect()
    assert busy(registry) == 4.5
    seconds = registry.get_sample_value("yiwen_predictor_runner_seconds_sum")
    assert seconds == 4.5


@pytest.mark.parametrize(("number", "where"), [(1, "launch"), (0, "collect"), (0, "output")])
def test_a_failure_leaves_nothing_in_flight_and_names_its_cause(
    pipeline: StepPipeline,
    runner: HashRunner,
    registry: CollectorRegistry,
    clock: Clock,
    number: int,
    where: str,
) -> None:
    runner.failures = {number: where}
    first, second = make_steps(2)
    pipeline.launch(first)
    clock.now = 2.0

    def go_on() -> None:
        pipeline.launch(second)
        pipeline.collect()

    with pytest.raises(StepFailed) as error:
        go_on()
    assert isinstance(error.value.__cause__, RunnerError)
    assert len(pipeline) == len(runner.in_flight) == 0
    assert busy(registry) == 2.0, "a failed step kept the runner busy too"
