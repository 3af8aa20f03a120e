"""The model's life around its engine; what it answers is checked through whole servers."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import CollectorRegistry

from predictor.errors import RunnerError
from predictor.llm_engine import LLMEngine
from predictor.metrics import EngineMetrics
from predictor.model import PredictorModel
from protocol.messages import GenerateRequest
from protocol.release import Release
from tests.predictor.conftest import HashRunner, answer_alone


class ClosingRunner(HashRunner):
    """Remembers whether anything could still be launched when it was closed."""

    def __init__(self) -> None:
        super().__init__(slots=2)
        self.engine: LLMEngine | None = None
        self.engine_ran: list[bool] = []
        self.refuses = False

    def close(self) -> None:
        assert self.engine is not None
        self.engine_ran.append(self.engine.is_ready)
        if self.refuses:
            raise RunnerError("the GPU fell off the bus")


@pytest.fixture
def runner() -> ClosingRunner:
    return ClosingRunner()


@pytest.fixture
def model(runner: ClosingRunner, release: Release, registry: CollectorRegistry) -> PredictorModel:
    metrics = EngineMetrics(registry)
    runner.engine = LLMEngine(runner, release, prefill_tokens=16, queue_tokens=100, metrics=metrics)
    return PredictorModel("demo", release, runner.engine, runner, max_deadline_ms=10_000)


async def test_the_runner_is_closed_once_the_engine_has_stopped(
    model: PredictorModel, runner: ClosingRunner
) -> None:
    await model.open()
    assert model.is_healthy()
    assert runner.engine is not None
    answer = runner.engine.submit(GenerateRequest(((1, 2),), (3,))).result(timeout=5)
    assert answer.generations[0].token_ids == answer_alone((1, 2), 3)
    assert runner.engine_ran == []
    await model.close()
    assert runner.engine_ran == [False]


async def test_a_runner_that_cannot_be_closed_does_not_fail_the_shutdown(
    model: PredictorModel, runner: ClosingRunner, caplog: pytest.LogCaptureFixture
) -> None:
    runner.refuses = True
    await model.open()
    await model.close()
    (record,) = [one for one in caplog.records if one.name == "predictor.model"]
    assert record.levelno == logging.WARNING
    assert record.fields == {"error": "the GPU fell off the bus"}  # type: ignore[attr-defined]
