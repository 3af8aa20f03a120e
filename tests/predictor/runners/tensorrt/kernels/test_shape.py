from __future__ import annotations

import dataclasses

import pytest

from predictor.errors import StartupError
from predictor.runners.tensorrt.kernels.shape import (
    DECODE_BLOCKS_PER_SM,
    MAX_SPLITS,
    KernelShape,
    candidates_workspace,
    decode_splits,
    decode_workspace,
)

QWEN = KernelShape(
    heads=28, kv_heads=4, head_dim=128, hidden=3584, vocabulary=152064, candidates=32, capacity=1024
)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"head_dim": 100}, "multiple of 8"),
        ({"head_dim": 264}, "multiple of 8"),
        ({"heads": 30}, "multiple of kv_heads"),
        ({"heads": 17, "kv_heads": 1}, "16 times"),
        ({"hidden": 100}, "hidden"),
        ({"candidates": 65}, "candidates"),
        ({"vocabulary": 16}, "candidates"),
        ({"vocabulary": 524289}, "524,288"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_a_way_out(change: dict[str, int], rule: str) -> None:
    with pytest.raises(StartupError, match=rule) as caught:
        dataclasses.replace(QWEN, **change)
    assert "YIWEN_BACKEND=onnxruntime" in str(caught.value)


def test_splits_fill_the_device_and_no_more() -> None:
    for sm_count in (14, 132):
        for rows in range(1, 129):
            splits = decode_splits(rows, 4, sm_count)
            assert 1 <= splits <= MAX_SPLITS
            wanted = sm_count * DECODE_BLOCKS_PER_SM
            assert splits == 1 or splits * rows * 4 <= wanted
            assert splits == MAX_SPLITS or (splits + 1) * rows * 4 > wanted


def test_a_large_batch_is_not_split() -> None:
    assert decode_splits(64, 32, 132) == 1
    assert decode_splits(1, 32, 132) == 16
    assert decode_splits(1, 4, 132) == MAX_SPLITS


@pytest.mark.parametrize("max_rows", [1, 7, 64])
def test_decode_workspace_holds_any_number_of_rows(max_rows: int) -> None:
    space = decode_workspace(QWEN, max_rows, 132)
    assert space.stats >= max_rows * QWEN.kv_heads * 4
    for rows in range(1, max_rows + 1):
        shares = rows * QWEN.heads * decode_splits(rows, QWEN.kv_heads, 132)
        assert space.results - space.stats >= shares * 8
        assert space.nbytes - space.results >= shares * QWEN.head_dim * 4


def test_candidates_workspace_holds_every_slice() -> None:
    space = candidates_workspace(QWEN, 64)
    assert QWEN.slices == 19
    assert space.stats >= 64 * 4
    assert space.results - space.stats >= 64 * 19 * 8
    assert space.nbytes - space.results >= 64 * 19 * 32 * 8


def test_macros_do_not_depend_on_what_launches_say() -> None:
    assert dataclasses.replace(QWEN, capacity=4096, vocabulary=1000).macros() == QWEN.macros()
    assert "-DHEAD_DIM=128" in QWEN.macros()
