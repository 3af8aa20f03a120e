from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from predictor.builder.checkpoint.stored_tensors import CheckpointTensor
from predictor.builder.checkpoint.tensors import Checkpoint
from predictor.builder.errors import BrokenCheckpoint
from predictor.builder.weights.block_quantize import QuantFormat
from predictor.builder.weights.file_layout import ALIGNMENT, Adjustment, WeightFileLayout


def checkpoint_of(**shapes: tuple[int, ...]) -> Checkpoint:
    path = Path("model.safetensors")
    return Checkpoint(
        Path(), (path,), {name: CheckpointTensor(path, "F32", shape) for name, shape in shapes.items()}
    )


def test_tensors_lie_one_after_the_other_on_aligned_offsets() -> None:
    plan = WeightFileLayout(checkpoint_of(a=(3, 5), b=(7,)))
    first = plan.dense("first", ["a"], [(3, 5)])
    second = plan.dense("second", ["b"], [(7,)])
    assert (first.offset, second.offset) == (0, ALIGNMENT)
    assert plan.total_bytes == ALIGNMENT + 28


def test_sources_are_joined_along_the_first_axis() -> None:
    plan = WeightFileLayout(checkpoint_of(q=(8, 4), k=(2, 4), v=(2, 4)))
    assert plan.dense("qkv", ["q", "k", "v"], [(8, 4), (2, 4), (2, 4)]).shape == (12, 4)


def test_half_the_width_takes_half_the_bytes() -> None:
    plan = WeightFileLayout(checkpoint_of(a=(64, 64)))
    stored = plan.dense("x", ["a"], [(64, 64)], "float16")
    assert (stored.dtype, stored.nbytes, plan.total_bytes) == ("float16", 8192, 8192)


def test_asking_twice_stores_once() -> None:
    plan = WeightFileLayout(checkpoint_of(a=(64, 64)))
    assert plan.dense("x", ["a"], [(64, 64)]) is plan.dense("x", ["a"], [(64, 64)])
    assert len(plan.entries) == 1


def test_codes_and_scales_are_one_piece() -> None:
    plan = WeightFileLayout(checkpoint_of(a=(6, 100)))
    codes, scales = plan.quantized("x", ["a"], [(6, 100)], QuantFormat(4, 32))
    assert (codes.shape, codes.dtype) == ((6, 4, 16), "uint8")
    assert (scales.shape, scales.dtype, scales.offset) == ((6, 4), "float32", ALIGNMENT)
    assert len(plan.entries) == 1


def test_offsets_go_on_beyond_two_and_four_gigabytes() -> None:
    shape = (151_936, 8192)  # 4.98 GB in float32
    plan = WeightFileLayout(checkpoint_of(a=shape, b=shape, c=(10,)))
    plan.dense("a", ["a"], [shape])
    second = plan.dense("b", ["b"], [shape])
    third = plan.dense("c", ["c"], [(10,)])
    size = 151_936 * 8192 * 4
    assert size > 1 << 32
    assert second.offset == size  # a multiple of the alignment already
    assert third.offset == 2 * size
    assert all(tensor.offset % ALIGNMENT == 0 for entry in plan.entries for tensor in entry.tensors)
    assert plan.total_bytes == 2 * size + 40


def test_view_has_the_same_bytes_and_no_others() -> None:
    plan = WeightFileLayout(checkpoint_of(a=(6, 128)))
    codes, _ = plan.quantized("x", ["a"], [(6, 128)], QuantFormat(8, 64))
    view = codes.viewed("y", (6, 128))
    assert (view.offset, view.nbytes) == (codes.offset, codes.nbytes)
    with pytest.raises(ValueError, match="cannot be viewed"):
        codes.viewed("y", (6, 127))


def test_missing_source_and_wrong_shape_are_refused_when_asked_for() -> None:
    plan = WeightFileLayout(checkpoint_of(a=(3, 5)))
    with pytest.raises(BrokenCheckpoint, match="tensor b is missing"):
        plan.dense("x", ["b"], [(3, 5)])
    with pytest.raises(BrokenCheckpoint, match=r"\[3, 5\], but config.json calls for \[3, 6\]"):
        plan.dense("x", ["a"], [(3, 6)])


def test_table_is_kept_as_it_is() -> None:
    plan = WeightFileLayout(checkpoint_of())
    values = np.ones((4, 2), np.float32)
    assert plan.table("cos", values).shape == (4, 2)
    assert plan.entries[0].table is values


def test_pairs_of_the_last_rows_of_a_head_are_reordered() -> None:
    rows = np.arange(12, dtype=np.float32)[:, None]
    adjustment = Adjustment(interleaved=4, head=6)
    assert adjustment.unit == 6
    assert adjustment.applied(rows)[:, 0].tolist() == [0, 1, 2, 4, 3, 5, 6, 7, 8, 10, 9, 11]
