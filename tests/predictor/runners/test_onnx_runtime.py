from __future__ import annotations

import dataclasses
import logging
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from predictor.batch import Batch
from predictor.errors import RunnerError, StartupError
from predictor.llm_engine import LLMEngine
from predictor.metrics import EngineMetrics
from predictor.runners import onnx_runtime
from predictor.runners.base import execute
from predictor.runners.onnx_runtime import (
    MAX_GROUP_TOKENS,
    OnnxRuntimeRunner,
    bucket_capacity,
    group_prompts,
)
from protocol.messages import GenerateRequest, Generation
from protocol.priority import BULK_URGENCY, DEFAULT_URGENCY
from protocol.release import Release, load_release

Prompt = tuple[int, ...]


@pytest.fixture(scope="module")
def release(random_release_dir: Path) -> Release:
    return load_release(random_release_dir)


@pytest.fixture(scope="module")
def runner(random_release_dir: Path, release: Release) -> Iterator[OnnxRuntimeRunner]:
    runner = OnnxRuntimeRunner(random_release_dir, release, slots=4, threads=1, spin=False)
    yield runner
    runner.close()


@pytest.fixture
def engine(runner: OnnxRuntimeRunner, release: Release) -> Iterator[LLMEngine]:
    metrics = EngineMetrics(CollectorRegistry())
    # A vocabulary of 260 random logits would end most answers early; without stop tokens lengths are as asked.
    endless = dataclasses.replace(release, stop_token_ids=())
    engine = LLMEngine(runner, endless, prefill_tokens=64, queue_tokens=10**6, metrics=metrics)
    engine.start()
    yield engine
    engine.stop()


def generate(engine: LLMEngine, prompt: Prompt, max_new_tokens: int) -> Generation:
    request = GenerateRequest((prompt,), (max_new_tokens,))
    return engine.submit(request).result(timeout=60).generations[0]


def random_prompt(rng: np.random.Generator) -> Prompt:
    return tuple(rng.integers(0, 260, rng.integers(1, 90)).tolist())


@pytest.mark.parametrize("seed", range(4))
def test_each_request_gets_the_tokens_it_gets_alone(engine: LLMEngine, seed: int) -> None:
    """Random lengths, cancellations and bulk: rows move, capacity grows and shrinks, no answer changes."""
    rng = np.random.default_rng(seed)
    asks = [(random_prompt(rng), int(rng.integers(1, 90))) for _ in range(16)]
    urgencies = rng.choice([DEFAULT_URGENCY, BULK_URGENCY], len(asks)).tolist()
    futures = [
        engine.submit(GenerateRequest((p,), (n,), urgency=urgency))
        for (p, n), urgency in zip(asks, urgencies, strict=True)
    ]
    for index in rng.choice(len(futures), 4, replace=False):
        futures[index].cancel()
    together = [None if f.cancelled() else f.result(timeout=60).generations[0] for f in futures]
    for (prompt, max_new_tokens), answer in zip(asks, together, strict=True):
        if answer is not None:
            alone = generate(engine, prompt, max_new_tokens)
            assert answer.token_ids == alone.token_ids
            assert answer.logprob == pytest.approx(alone.logprob, abs=1e-4)


def test_rows_that_sit_a_step_out_keep_their_keys_and_values(runner: OnnxRuntimeRunner) -> None:
    prompts = [(5, 6, 7), (8, 9), (10, 11, 12, 13)]
    execute(runner, Batch.of_prompts([0, 1, 2], prompts))
    held, lengths = np.array([0, 1]), np.array([3, 2])
    only_last = Batch.of_tokens(np.array([2]), np.array([20]), np.array([4]))
    execute(runner, dataclasses.replace(only_last, held_slots=held, held_lengths=lengths))
    # Behind the rows that are held a prompt is read that needs longer ones.
    long = (tuple(range(3, 203)),)
    both = Batch((3,), long, np.array([2]), np.array([21]), np.array([5]), np.array([-1]), held, lengths)
    execute(runner, both)
    found = execute(
        runner, Batch.of_tokens(np.arange(4), np.array([30, 31, 32, 33]), np.array([3, 2, 6, 200]))
    )
    rows = [(*prompts[0], 30), (*prompts[1], 31), (*prompts[2], 20, 21, 32), (*long[0], 33)]
    best = found.candidate_ids[:, 0].tolist(), found.candidate_logprobs[:, 0].copy()
    for row, tokens in enumerate(rows):
        alone = execute(runner, Batch.of_prompts([0], [tokens]))
        assert best[0][row] == alone.candidate_ids[0, 0]
        assert best[1][row] == pytest.approx(alone.candidate_logprobs[0, 0], abs=1e-4)


def test_rows_grow_with_the_longest_sequence_and_shrink_when_it_is_gone(
    runner: OnnxRuntimeRunner, engine: LLMEngine
) -> None:
    generate(engine, (1,) * 90, 150)
    assert runner.capacity == 256
    large = runner.kv_bytes
    generate(engine, (1,), 3)
    assert runner.capacity == 64
    assert runner.kv_bytes == large / 4


def test_candidates_come_best_first_and_are_log_probabilities(runner: OnnxRuntimeRunner) -> None:
    output = execute(runner, Batch.of_prompts([0], [(5, 6, 7)]))
    logprobs = output.candidate_logprobs[0]
    assert np.all(np.diff(logprobs) <= 0)
    assert logprobs[0] < 0
    assert np.exp(logprobs).sum() <= 1 + 1e-5
    assert len(set(output.candidate_ids[0].tolist())) == len(logprobs)


def test_a_batch_that_names_unknown_slots_is_refused(runner: OnnxRuntimeRunner) -> None:
    execute(runner, Batch.of_prompts([0], [(5, 6, 7)]))
    with pytest.raises(RunnerError, match="names 2 running slots"):
        execute(runner, Batch.of_tokens(np.array([0, 3]), np.array([1, 1]), np.array([3, 3])))


def test_weights_whose_path_cannot_be_resolved_are_read_all_the_same(
    random_release_dir: Path, release: Release, runner: OnnxRuntimeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a link into another container's root; tests/images has such a link, for which it must be root."""
    batch = Batch.of_prompts([0], [(5, 6, 7)])
    expected = execute(runner, batch).candidate_logprobs.copy()
    monkeypatch.setattr(Path, "resolve", lambda path: Path("/gone") / path.name)
    loads: list[Path] = []
    mapped = onnx_runtime._mapped_weights

    def noted(path: Path) -> mmap.mmap:
        loads.append(path)
        return mapped(path)

    monkeypatch.setattr(onnx_runtime, "_mapped_weights", noted)
    behind = OnnxRuntimeRunner(random_release_dir, release, slots=1, threads=1, spin=False)
    try:
        assert loads == [random_release_dir]
        np.testing.assert_array_equal(execute(behind, batch).candidate_logprobs, expected)
    finally:
        behind.close()


def test_a_broken_graph_is_a_start_error_that_names_the_fix(tmp_path: Path, release: Release) -> None:
    (tmp_path / "decoder.onnx").write_bytes(b"not a graph")
    with pytest.raises(StartupError, match="yiwen release verify"):
        OnnxRuntimeRunner(tmp_path, release, slots=1, threads=1, spin=False)


def test_a_provider_that_takes_no_node_leaves_the_decoder_to_the_cpu(
    random_release_dir: Path, release: Release, caplog: pytest.LogCaptureFixture
) -> None:
    """The CPU's wheel brings AzureExecutionProvider, which runs no operator of ours: a real list of two."""
    if "AzureExecutionProvider" not in ort.get_available_providers():
        pytest.skip("this build of ONNX Runtime has the CPU's provider only")
    batch = Batch.of_prompts([0], [(5, 6, 7)])
    outputs = []
    for providers in (["CPUExecutionProvider"], ["AzureExecutionProvider"]):
        with caplog.at_level(logging.INFO, "predictor.runners.onnx_runtime"):
            runner = OnnxRuntimeRunner(
                random_release_dir, release, slots=1, threads=1, spin=False, providers=providers
            )
        outputs.append(execute(runner, batch))
        runner.close()
    np.testing.assert_array_equal(outputs[0].candidate_ids, outputs[1].candidate_ids)
    np.testing.assert_array_equal(outputs[0].candidate_logprobs, outputs[1].candidate_logprobs)
    nodes = [record.fields["nodes"] for record in caplog.records]  # type: ignore[attr-defined]
    assert nodes[0] == nodes[1]
    assert set(nodes[0]) <= {"CPUExecutionProvider"}


def test_a_provider_that_is_not_installed_is_a_start_error(
    random_release_dir: Path, release: Release
) -> None:
    with pytest.raises(StartupError, match="YIWEN_ORT_PROVIDERS names NoSuchExecutionProvider"):
        OnnxRuntimeRunner(
            random_release_dir,
            release,
            slots=1,
            threads=1,
            spin=False,
            providers=["NoSuchExecutionProvider"],
        )


def test_a_step_collected_without_a_launch_is_an_error(runner: OnnxRuntimeRunner) -> None:
    execute(runner, Batch.of_prompts([0], [(5,)]))
    with pytest.raises(RunnerError, match="never launched"):
        runner.collect()


def test_bytes_per_token_times_capacity_and_slots_is_the_cache(runner: OnnxRuntimeRunner) -> None:
    assert runner.kv_bytes_per_token * runner.capacity * runner.slots == runner.kv_bytes


@given(tokens=st.integers(1, 5000), limit=st.integers(1, 5000))
def test_capacities_hold_the_tokens_in_few_sizes(tokens: int, limit: int) -> None:
    capacity = bucket_capacity(tokens, limit)
    assert capacity >= tokens
    assert capacity in {tokens, limit} or (capacity & (capacity - 1)) == 0


@given(lengths=st.lists(st.integers(1, 700), max_size=40))
@settings(max_examples=200)
def test_groups_hold_every_prompt_once_with_little_padding(lengths: list[int]) -> None:
    groups = list(group_prompts(lengths))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[index] for index in group)
        assert len(group) == 1 or len(group) * longest <= MAX_GROUP_TOKENS
        assert all(longest - lengths[index] <= max(8, longest // 4) for index in group)
