from __future__ import annotations

import itertools

import pytest

from predictor.runners.tensorrt.kernels.linear_tiling import (
    ITEM_BYTES,
    MAX_BLOCKS_PER_SM,
    Tiling,
    parts_offset,
    shared_limit,
    split_work,
    supports,
    tiling_for,
    token_tiles,
    workspace_bytes,
)

GPUS = [((9, 0), 132), ((8, 0), 108), ((8, 6), 84), ((8, 9), 58), ((12, 0), 170), ((9, 0), 16)]
SHAPES = [(12288, 4096), (4096, 4096), (22016, 4096), (4096, 11008), (102400, 4096), (320, 192), (8, 64)]


@pytest.mark.parametrize(
    ("n", "k", "m", "dtype", "supported"),
    [
        (8, 32, 1, "float16", True),
        (8, 64, 64, "int8", True),
        (4096, 192, 64, "float16", True),
        (4096, 4096, 65, "float16", False),
        (4096, 4096, 0, "float16", False),
        (4096, 32, 1, "int8", False),
        (4096, 48, 1, "float16", False),
        (4100, 4096, 1, "float16", False),
        (0, 4096, 1, "float16", False),
        (4096, 0, 1, "float16", False),
        (4096, 4096, 1, "float32", False),
    ],
)
def test_supported_shapes(n: int, k: int, m: int, dtype: str, supported: bool) -> None:
    assert supports(n, k, m, dtype) is supported


@pytest.mark.parametrize(
    ("m", "tiles"), [(1, 1), (8, 1), (9, 2), (16, 2), (17, 4), (32, 4), (33, 8), (64, 8)]
)
def test_token_tiles_hold_the_rows(m: int, tiles: int) -> None:
    assert token_tiles(m) == tiles


@pytest.mark.parametrize("m", [0, 65])
def test_other_numbers_of_rows_are_refused(m: int) -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        token_tiles(m)


@pytest.mark.parametrize(("compute_capability", "sm_count"), GPUS)
def test_every_gpu_has_a_tiling_that_fits_and_comes_out_even(
    compute_capability: tuple[int, int], sm_count: int
) -> None:
    for (n, _), m in itertools.product(SHAPES, (1, 8, 16, 32, 64)):
        tiling = tiling_for(n, m, sm_count, compute_capability)
        assert tiling.token_tiles == token_tiles(m)
        assert tiling.shared_bytes <= shared_limit(compute_capability)
        assert tiling.stages >= 3
        assert tiling.blocks_per_sm <= MAX_BLOCKS_PER_SM
        pieces = tiling.chunk // 16
        assert pieces % (4 * tiling.depth_warps) == 0
        assert tiling.threads // pieces % 8 == 0
        assert tiling.tile_rows % (tiling.threads // pieces) == 0


def test_a_launch_leaves_no_room_for_a_second_block_beside_the_first() -> None:
    for (n, _), m in itertools.product(SHAPES, (1, 8, 16, 32, 64)):
        tiling = tiling_for(n, m, 132, (9, 0))
        assert 2 * tiling.shared_bytes > shared_limit((9, 0))


@pytest.mark.parametrize(("compute_capability", "sm_count"), GPUS)
@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_runs_hold_all_chunks_and_all_blocks_are_on_the_device_at_once(
    compute_capability: tuple[int, int], sm_count: int, dtype: str
) -> None:
    for (n, k), m in itertools.product(SHAPES, (1, 16, 32, 64)):
        tiling = tiling_for(n, m, sm_count, compute_capability)
        work = split_work(n, k, dtype, tiling, sm_count)
        chunks = -(-n // tiling.tile_rows) * -(-k * ITEM_BYTES[dtype] // tiling.chunk)
        assert (work.blocks - 1) * work.run < chunks <= work.blocks * work.run
        assert work.blocks <= sm_count * tiling.blocks_per_sm
        least = -(-chunks // (sm_count * tiling.blocks_per_sm))
        assert work.run <= 1.05 * least


def test_blocks_get_whole_tiles_where_that_costs_little() -> None:
    tiling = Tiling(1, 1, 8, 2, 512, 4, 1)
    assert split_work(12288, 4096, "float16", tiling, 132).run == 3 * 16
    assert split_work(4096, 4096, "float16", tiling, 132).run == 16
    assert split_work(22016, 4096, "float16", tiling, 132).run == 84  # six tiles would be 96


def test_work_space_is_laid_out_the_same_for_every_tiling() -> None:
    sizes = {workspace_bytes(tiling_for(n, m, 132, (9, 0)), 132) for n, _ in SHAPES for m in (1, 16, 64)}
    assert parts_offset(132) >= 132 * MAX_BLOCKS_PER_SM * 4
    assert parts_offset(132) % 256 == 0
    assert max(sizes) == parts_offset(132) + 132 * 128 * 64 * 4
