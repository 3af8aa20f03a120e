from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from predictor.batch import Batch
from predictor.errors import RunnerError
from predictor.plan import OptimizationProfile
from predictor.runners.base import execute
from predictor.runners.reference import open_reference_runner
from predictor.runners.reference_decoder import load_tensors
from predictor.runners.segmented import SegmentedRunner
from predictor.runners.tensorrt.step.backend import TensorRtBackend
from predictor.runners.tensorrt.step.inputs import InputLayout
from predictor.segment_index import read_segment_index
from protocol.release import load_release
from tests.predictor.builder.checkpoints import Variant, build, variant_checkpoint
from tests.predictor.runners.steps import assert_close, run_ahead, run_behind, run_forced, script
from tests.predictor.runners.tensorrt.numpy_device import NumpyDevice

pytestmark = pytest.mark.slow

SLOTS = 6
LAYERS = 3
PROFILES = (OptimizationProfile(1, 4, 4), OptimizationProfile(5, 64, 64))
Opener = Callable[..., tuple[SegmentedRunner, NumpyDevice]]


@pytest.fixture(scope="module")
def release_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tensorrt")
    checkpoint = variant_checkpoint(directory / "checkpoint", Variant("Qwen3", biased=True), layers=LAYERS)
    build(checkpoint, directory / "release", "float16")
    return directory / "release"


@pytest.fixture
def opened(release_dir: Path) -> Opener:
    def open_runner(
        max_tokens: int = 64, max_rows: int = 64, prepare: bool = True
    ) -> tuple[SegmentedRunner, NumpyDevice]:
        release, index = load_release(release_dir), read_segment_index(release_dir)
        tensors, layout = load_tensors(release_dir, index, {}), InputLayout(max_tokens, max_rows)
        device = NumpyDevice(release, tensors, layout, slots=SLOTS, epsilon=index.traits.norm_eps)
        backend = TensorRtBackend(device, max_tokens=max_tokens, max_rows=max_rows)
        if prepare:
            backend.prepare(PROFILES)
            device.calls.clear()
        return SegmentedRunner(backend), device

    return open_runner


def prompts(seed: int = 0, count: int = 30, longest: int = 50) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(rng.integers(0, 256, rng.integers(1, longest)).tolist()) for _ in range(count)]


def steps(seed: int, stay: float = 0.85) -> list[Batch]:
    return script(seed, slots=SLOTS, steps=25, prompts=prompts(seed), stay=stay)


def decode(slots: list[int], sources: list[int], lengths: list[int]) -> Batch:
    rows = len(slots)
    return Batch((), (), np.array(slots), np.zeros(rows, int), np.array(lengths), np.array(sources))


@pytest.mark.parametrize(("max_tokens", "max_rows"), [(64, 64), (13, 64), (64, 2), (7, 3), (1, 1)])
@pytest.mark.parametrize("prepare", [True, False], ids=["graphs", "eager"])
def test_steps_give_what_the_reference_gives(
    release_dir: Path, opened: Opener, max_tokens: int, max_rows: int, prepare: bool
) -> None:
    runner, _ = opened(max_tokens, max_rows, prepare)
    batches = steps(1)
    reference = open_reference_runner(release_dir, load_release(release_dir), slots=SLOTS, threads=1)
    wanted = run_behind(reference, batches)
    assert_close(run_forced(runner, batches, wanted), wanted)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("max_tokens", "max_rows"), [(64, 64), (13, 64), (64, 2), (7, 3)])
def test_running_ahead_changes_nothing(opened: Opener, seed: int, max_tokens: int, max_rows: int) -> None:
    batches = steps(seed, stay=0.7)
    behind = run_behind(opened(max_tokens, max_rows)[0], batches)
    ahead = run_ahead(opened(max_tokens, max_rows)[0], batches)
    for one, other in zip(ahead, behind, strict=True):
        np.testing.assert_array_equal(one.candidate_ids, other.candidate_ids)
        np.testing.assert_array_equal(one.candidate_logprobs, other.candidate_logprobs)


def test_decodes_replay_the_next_larger_graph_and_nothing_else(opened: Opener) -> None:
    runner, device = opened()
    execute(runner, Batch.of_prompts([0, 4, 2], [(1, 2), (3,), (4, 5, 6)]))
    device.calls.clear()
    output = execute(runner, decode([4, 0, 2], [1, 0, 2], [1, 2, 3]))
    assert output.candidate_ids.shape[0] == 3
    assert device.calls == [("upload", 3 * 64 + 4), ("replay", 4), ("download", 4)]
    assert dict(runner.launches) == {"graph": 1, "eager": 1}


def test_a_step_with_a_prompt_runs_operation_by_operation(opened: Opener) -> None:
    runner, device = opened()
    execute(runner, Batch.of_prompts([3], [(9, 8, 7)]))
    device.calls.clear()
    mixed = Batch((0,), ((1, 2, 3, 4, 5),), np.array([3]), np.array([0]), np.array([3]), np.array([0]))
    execute(runner, mixed)
    names = [(name, *rest) for name, *rest in device.calls if name != "begin_pass"]
    layer = [
        ("linear", 1, "qkv", 6),
        ("write_kv", 1, 1, 5),
        ("decode_attention", 1, 1),
        ("prefill_attention", 1, 1, 5),
        ("linear", 1, "attention_output", 6),
        ("add_norm", 1, "attention_output", 6),
        ("linear", 1, "gate_up", 6),
        ("silu_mul", 1, 6),
        ("linear", 1, "down", 6),
        ("add_norm", 1, "down", 6),
    ]
    assert names[:3] == [("upload", 4 * 64 + 64 + 2 * 4), ("choose_tokens", 6), ("embed_norm", 6)]
    assert names[13:23] == layer
    assert names[27:] == [
        ("gather_rows", 2),
        ("linear", 2, "attention_output", 2),
        ("add_norm", 2, "attention_output", 2),
        ("linear", 2, "gate_up", 2),
        ("silu_mul", 2, 2),
        ("linear", 2, "down", 2),
        ("add_norm", 2, "down", 2),
        ("linear", 3, "vocabulary", 2),
        ("candidates", 2),
        ("download", 2),
    ]


def test_a_chunk_that_ends_no_prompt_stops_at_the_last_cache(opened: Opener) -> None:
    runner, device = opened(max_tokens=4)
    execute(runner, Batch.of_prompts([1], [(1, 2, 3, 4, 5, 6)]))
    uploads = [index for index, call in enumerate(device.calls) if call[0] == "upload"]
    assert device.calls[uploads[1] - 1] == ("write_kv", LAYERS - 1, 0, 4)
    assert [call for call in device.calls if call[0] in ("candidates", "download")] == [
        ("candidates", 1),
        ("download", 1),
    ]


def test_a_later_pass_reads_the_previous_step_after_an_earlier_one_has_written(opened: Opener) -> None:
    runner, device = opened(max_rows=2)
    execute(runner, Batch.of_prompts([0, 1], [(1,), (2,)]))
    execute(runner, decode([0, 1], [0, 1], [1, 1]))
    assert ("save_previous_ids",) not in device.calls
    runner.launch(Batch.of_prompts([2, 3, 4], [(3,), (4,), (5,)]))
    runner.collect()
    device.calls.clear()
    execute(runner, decode([2, 3, 4], [2, 1, 0], [1, 1, 1]))
    assert device.calls.count(("save_previous_ids",)) == 1


def test_every_bucket_is_run_before_it_is_captured(opened: Opener) -> None:
    _, device = opened(prepare=False)
    TensorRtBackend(device, max_tokens=64, max_rows=64).prepare(PROFILES)
    captured = [(index, call[1]) for index, call in enumerate(device.calls) if call[0] == "capture"]
    assert [bucket for _, bucket in captured] == [6, 4, 2, 1]
    for index, bucket in captured:
        assert device.calls[index - 1] == ("candidates", bucket)
    begun = [call for call in device.calls if call[0] == "begin_pass"]
    assert [call[3] for call in begun] == [None, None, 6, 4, 2, 1]
    tokens = [call[1] for call in device.calls if call[0] == "embed_norm"]
    assert tokens == [4, 64, 6, 4, 2, 1]


def test_three_steps_in_flight_are_refused(opened: Opener) -> None:
    runner, _ = opened()
    execute(runner, Batch.of_prompts([0], [(1, 2)]))
    runner.launch(decode([0], [0], [2]))
    runner.launch(decode([0], [0], [3]))
    with pytest.raises(RunnerError, match="in flight"):
        runner.launch(decode([0], [0], [4]))


def test_a_failed_step_leaves_nothing_in_flight_and_the_next_one_runs(opened: Opener) -> None:
    runner, device = opened()
    wanted = execute(runner, Batch.of_prompts([0], [(1, 2)]))
    runner.launch(decode([0], [0], [2]))
    runner.launch(decode([0], [0], [3]))
    device.fails = 1
    with pytest.raises(RunnerError, match="made to fail"):
        runner.collect()
    with pytest.raises(RunnerError, match="no step"):
        runner.collect()
    again = execute(runner, Batch.of_prompts([0], [(1, 2)]))
    np.testing.assert_array_equal(again.candidate_ids, wanted.candidate_ids)


def test_a_device_that_is_gone_fails_every_later_launch(opened: Opener) -> None:
    runner, device = opened()
    runner.launch(Batch.of_prompts([0], [(1, 2)]))
    device.fails, device.dead = 1, True
    with pytest.raises(RunnerError, match="made to fail"):
        runner.collect()
    for _ in range(3):
        with pytest.raises(RunnerError, match="needs a new process: an illegal memory access"):
            runner.launch(Batch.of_prompts([0], [(1, 2)]))


def test_the_thread_that_launches_makes_the_device_its_own_once(opened: Opener) -> None:
    runner, device = opened()

    def run() -> None:
        for _ in range(2):
            execute(runner, Batch.of_prompts([0], [(1, 2)]))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert device.calls.count(("attach",)) == 1
    assert device.calls[0] == ("attach",)
    runner.close()
    assert device.closed
