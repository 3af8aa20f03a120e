"""The engine over segments: it decides who runs, and what runs ahead, while slots come free and are given away."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from predictor.batch import Batch
from predictor.llm_engine import LLMEngine
from predictor.metrics import EngineMetrics
from predictor.runners.base import Runner, execute
from predictor.runners.onnx_runtime import OnnxRuntimeRunner
from predictor.runners.reference import open_reference_runner
from predictor.runners.segmented import SegmentedRunner
from protocol.messages import GenerateRequest, Generation
from protocol.priority import BULK_URGENCY
from protocol.release import load_release
from tests.predictor.builder.checkpoints import Variant, build, variant_checkpoint
from tests.predictor.runners.steps import TIE_MARGIN

Ask = tuple[tuple[int, ...], int]


@pytest.fixture(scope="module", params=[Variant(biased=True), Variant("Qwen2"), Variant("Qwen3")], ids=str)
def release_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("engine")
    build(variant_checkpoint(directory / "checkpoint", request.param), directory / "release", "float16")
    return directory / "release"


def onnx_runtime(directory: Path) -> OnnxRuntimeRunner:
    return OnnxRuntimeRunner(directory, load_release(directory), slots=4, threads=1, spin=False)


@contextmanager
def engine_over(runner: Runner, directory: Path) -> Iterator[LLMEngine]:
    # A vocabulary of 260 random logits would end most answers early; without stop tokens lengths are as asked.
    endless = dataclasses.replace(load_release(directory), stop_token_ids=())
    metrics = EngineMetrics(CollectorRegistry())
    engine = LLMEngine(runner, endless, prefill_tokens=64, queue_tokens=10**6, metrics=metrics)
    engine.start()
    yield engine
    engine.stop()


def random_asks(seed: int, count: int) -> list[Ask]:
    rng = np.random.default_rng(seed)
    return [
        (tuple(rng.integers(0, 256, rng.integers(1, 60)).tolist()), int(rng.integers(1, 30)))
        for _ in range(count)
    ]


def answers(runner: Runner, directory: Path, asks: list[Ask]) -> list[Generation]:
    with engine_over(runner, directory) as engine:
        futures = [
            engine.submit(GenerateRequest((prompt,), (tokens,), urgency=BULK_URGENCY - 2 * (index % 2)))
            for index, (prompt, tokens) in enumerate(asks)
        ]
        return [future.result(timeout=60).generations[0] for future in futures]


def segmented(directory: Path, max_tokens: int = 512) -> SegmentedRunner:
    return open_reference_runner(
        directory, load_release(directory), slots=4, threads=1, max_tokens=max_tokens
    )


def assert_same(directory: Path, asks: list[Ask], found: list[Generation], wanted: list[Generation]) -> None:
    """Most answers are equal; any other one parts from its twin where two tokens are as good within a margin."""
    judge, equal = onnx_runtime(directory), 0
    for (prompt, tokens), one, other in zip(asks, found, wanted, strict=True):
        assert len(one.token_ids) == tokens
        parted = np.flatnonzero(np.not_equal(one.token_ids, other.token_ids))
        if not len(parted):
            equal += 1
            assert one.logprob == pytest.approx(other.logprob, abs=0.02 * tokens)
            continue
        choices = {one.token_ids[parted[0]], other.token_ids[parted[0]]}
        best = execute(judge, Batch.of_prompts([0], [(*prompt, *one.token_ids[: parted[0]])]))
        assert choices == set(best.candidate_ids[0, :2].tolist())
        assert best.candidate_logprobs[0, 0] - best.candidate_logprobs[0, 1] < TIE_MARGIN
    assert equal > len(asks) / 2


@pytest.mark.parametrize("max_tokens", [512, 16])
def test_answers_are_those_of_onnx_runtime(release_dir: Path, max_tokens: int) -> None:
    asks = random_asks(0, 16)
    found = answers(segmented(release_dir, max_tokens), release_dir, asks)
    assert_same(release_dir, asks, found, answers(onnx_runtime(release_dir), release_dir, asks))


def test_requests_that_are_gone_change_no_other_answer(release_dir: Path) -> None:
    asks = random_asks(1, 20)
    with engine_over(segmented(release_dir), release_dir) as engine:
        futures = [engine.submit(GenerateRequest((prompt,), (tokens,))) for prompt, tokens in asks]
        futures[0].add_done_callback(lambda _: [future.cancel() for future in futures[1::4]])
        kept = [index for index in range(len(asks)) if index % 4 != 1]
        together = [futures[index].result(timeout=60).generations[0] for index in kept]
    assert any(future.cancelled() for future in futures)
    stayed = [asks[index] for index in kept]
    alone = [answers(segmented(release_dir), release_dir, [ask])[0] for ask in stayed]
    assert_same(release_dir, stayed, together, alone)
