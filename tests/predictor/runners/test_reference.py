from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictor.batch import Batch
from predictor.builder.graph.segments import emit_segment
from predictor.builder.int8.smooth import column_maxima, input_scale, quantize_weights, smoothing_factors
from predictor.errors import RunnerError, StartupError
from predictor.runners.base import execute
from predictor.runners.onnx_runtime import OnnxRuntimeRunner
from predictor.runners.reference import open_reference_runner
from predictor.runners.segmented import SegmentedRunner
from predictor.segment_index import (
    LAYER_ROLES,
    LINEAR_ROLES,
    linear,
    linear_shape,
    map_tensor,
    read_segment_index,
)
from protocol.release import load_release
from protocol.release_documents import ReleaseError
from tests.predictor.builder.checkpoints import VARIANTS, Variant, build, variant_checkpoint
from tests.predictor.runners.steps import assert_close, run_ahead, run_behind, run_forced, script
from tests.releases import write_checkpoint

pytestmark = pytest.mark.slow

SLOTS = 5
LAYERS = 3


def random_prompts(seed: int = 0, count: int = 30, longest: int = 60) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(rng.integers(0, 256, rng.integers(1, longest)).tolist()) for _ in range(count)]


def build_variant(directory: Path, variant: Variant, precision: str) -> Path:
    checkpoint = variant_checkpoint(directory / "checkpoint", variant, layers=LAYERS)
    build(checkpoint, directory / "release", precision)
    return directory / "release"


@pytest.fixture(scope="module")
def release_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_variant(tmp_path_factory.mktemp("reference"), Variant("Qwen3", biased=True), "float16")


def opened(directory: Path, **options: Any) -> SegmentedRunner:
    return open_reference_runner(directory, load_release(directory), slots=SLOTS, threads=1, **options)


def onnx_runtime(directory: Path) -> OnnxRuntimeRunner:
    return OnnxRuntimeRunner(directory, load_release(directory), slots=SLOTS, threads=1, spin=False)


@pytest.mark.parametrize("precision", ["float16", "float32"])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_family_runs_as_in_onnx_runtime(tmp_path: Path, variant: Variant, precision: str) -> None:
    directory = build_variant(tmp_path, variant, precision)
    batches = script(0, slots=SLOTS, steps=12, prompts=random_prompts())
    wanted = run_behind(onnx_runtime(directory), batches)
    assert_close(run_forced(opened(directory), batches, wanted), wanted)


@pytest.mark.parametrize(("max_tokens", "max_rows"), [(13, 64), (512, 2), (7, 1), (1, 1)])
def test_steps_of_several_passes_give_what_one_pass_gives(
    release_dir: Path, max_tokens: int, max_rows: int
) -> None:
    batches = script(1, slots=SLOTS, steps=15, prompts=random_prompts())
    wanted = run_behind(onnx_runtime(release_dir), batches)
    small = opened(release_dir, max_tokens=max_tokens, max_rows=max_rows)
    assert_close(run_forced(small, batches, wanted), wanted)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("max_tokens", [512, 13])
def test_running_ahead_changes_nothing(release_dir: Path, seed: int, max_tokens: int) -> None:
    """Slots are freed and used again meanwhile; the numbers are the same to the last bit."""
    batches = script(seed, slots=SLOTS, steps=25, prompts=random_prompts(seed), stay=0.7)
    assert any(np.any(np.diff(batch.decode_sources) != 1) for batch in batches), "no row has moved"
    behind = run_behind(opened(release_dir, max_tokens=max_tokens), batches)
    ahead = run_ahead(opened(release_dir, max_tokens=max_tokens), batches)
    for one, other in zip(ahead, behind, strict=True):
        np.testing.assert_array_equal(one.candidate_ids, other.candidate_ids)
        np.testing.assert_array_equal(one.candidate_logprobs, other.candidate_logprobs)


def matrix(directory: Path, name: str) -> np.ndarray:
    """A stored matrix, float32; the vocabulary may be the embedding."""
    tensors = read_segment_index(directory).tensors
    values = map_tensor(directory, tensors["embedding" if name not in tensors else name])
    return np.asarray(values, np.float32)


def test_hook_sees_what_every_matrix_is_multiplied_with(release_dir: Path) -> None:
    seen: dict[str, list[np.ndarray]] = defaultdict(list)
    runner = opened(release_dir, hook=lambda name, array: seen[name].append(array.copy()))
    output = execute(runner, Batch.of_prompts([2, 0], [(5, 6, 7), (8, 9)]))
    parts = ("attention.qkv", "attention.output", "mlp.gate_up", "mlp.down")
    assert list(seen) == [f"layers.{n}.{part}" for n in range(LAYERS) for part in parts] + ["vocabulary"]
    for number, (name, arrays) in enumerate(seen.items()):
        rows = 5 if number <= 4 * (LAYERS - 1) else 2  # behind the last attention only what has an output
        assert [array.shape for array in arrays] == [(rows, matrix(release_dir, name).shape[1])]
    logits = seen["vocabulary"][0] @ matrix(release_dir, "vocabulary").T
    np.testing.assert_array_equal(logits.argmax(axis=1), output.candidate_ids[:, 0])


def int8_graphs(directory: Path) -> dict[str, bytes]:
    shape = load_release(directory).decoder
    return {f"{role}.int8": emit_segment(role, *linear_shape(shape, role), "int8") for role in LINEAR_ROLES}


def int8_tensors(
    directory: Path, largest: dict[str, np.ndarray], roles: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Matrices of these roles quantized, from the largest |inputs| of each column."""
    layers = [linear(layer, role) for layer in range(LAYERS) for role in LAYER_ROLES if role in roles]
    tensors: dict[str, np.ndarray] = {}
    for name in [*layers, *({"vocabulary"} & set(roles))]:
        weights = matrix(directory, name)
        scale = input_scale(largest[name], smoothing_factors(largest[name], column_maxima(weights), 0.5))
        codes, output_scale = quantize_weights(weights, scale)
        tensors |= {name: codes, f"{name}.input_scale": scale, f"{name}.output_scale": output_scale}
    return tensors


@pytest.mark.parametrize(
    ("roles", "least", "most"),
    [(LINEAR_ROLES, 0.01, 0.2), *(((role,), 0.001, 0.1) for role in LINEAR_ROLES)],
)
def test_int8_tensors_calibrated_by_the_hook_take_the_place_of_float16(
    release_dir: Path, roles: tuple[str, ...], least: float, most: float
) -> None:
    largest: dict[str, np.ndarray] = {}

    def observe(name: str, array: np.ndarray) -> None:
        largest[name] = np.maximum(np.abs(array).max(axis=0), largest.get(name, 0))

    batches = script(2, slots=SLOTS, steps=10, prompts=random_prompts())
    wanted = run_behind(opened(release_dir, hook=observe), batches)
    tensors = int8_tensors(release_dir, largest, roles)
    runner = opened(release_dir, tensors=tensors, graphs=int8_graphs(release_dir))
    found = run_forced(runner, batches, wanted)
    best = [
        np.abs(one.candidate_logprobs[:, 0] - other.candidate_logprobs[:, 0])
        for one, other in zip(found, wanted, strict=True)
    ]
    assert least < np.concatenate(best).mean() < most


def test_graphs_that_do_not_fit_are_a_start_error(release_dir: Path) -> None:
    down = {"layers.0.mlp.down": matrix(release_dir, "layers.0.mlp.down").astype(np.int8)}
    with pytest.raises(StartupError, match=r"there is no graph down\.int8"):
        opened(release_dir, tensors=down)
    with pytest.raises(StartupError, match="yiwen release verify"):
        opened(release_dir, graphs={"gate_up.float16": b"not a graph"})


def test_a_release_without_segments_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "release"
    build(write_checkpoint(tmp_path / "checkpoint", hidden=96), directory, "int8")
    with pytest.raises(ReleaseError, match="--precision float16 or float32"):
        opened(directory)


PROMPT = Batch.of_prompts([1], [(5, 6, 7)])
ONE_TOKEN = Batch.of_tokens(np.array([1]), np.array([9]), np.array([3]))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Batch.of_tokens(np.array([0]), np.array([9]), np.array([3])), "slot 0 holds 0 tokens"),
        (Batch.of_tokens(np.array([1]), np.array([9]), np.array([4])), "a decode goes to 4"),
        (dataclasses.replace(ONE_TOKEN, decode_sources=np.array([1])), "behind the 1 rows"),
        (Batch.of_tokens(np.array([1]), np.array([10**6]), np.array([3])), "failed in a step"),
    ],
)
def test_a_step_that_fails_leaves_nothing_behind(release_dir: Path, broken: Batch, message: str) -> None:
    runner = opened(release_dir)
    fresh = execute(runner, PROMPT)
    runner.launch(broken)
    runner.launch(ONE_TOKEN)
    with pytest.raises(RunnerError, match=message):
        runner.collect()
    with pytest.raises(RunnerError):
        runner.collect()
    with pytest.raises(RunnerError, match="holds 0 tokens"):
        execute(runner, ONE_TOKEN)
    again = execute(runner, PROMPT)
    np.testing.assert_array_equal(again.candidate_logprobs, fresh.candidate_logprobs)


def test_two_steps_may_be_in_flight_and_no_more(release_dir: Path) -> None:
    runner = opened(release_dir)
    runner.launch(PROMPT)
    runner.launch(ONE_TOKEN)
    with pytest.raises(RunnerError, match="2 in flight"):
        runner.launch(ONE_TOKEN)
    assert len(execute(runner, PROMPT).candidate_ids) == 1


def test_cache_has_room_for_every_slot_at_full_length(release_dir: Path) -> None:
    release = load_release(release_dir)
    values = release.decoder.kv_values_per_token * release.limits.max_sequence_tokens * SLOTS
    assert opened(release_dir).kv_bytes == 2 * values
