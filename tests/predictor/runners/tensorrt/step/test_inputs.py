from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.batch import Batch
from predictor.runners.segmented import StepPass, pack_step
from predictor.runners.tensorrt.step.inputs import TILE_FIELDS, InputLayout, pack, tile_table


def step(prompts: list[int], decodes: int) -> StepPass:
    """Prompts of these lengths in slots from 10 on, and decodes in slots from 0 on."""
    batch = Batch(
        tuple(range(10, 10 + len(prompts))),
        tuple(tuple(range(length)) for length in prompts),
        np.arange(decodes),
        np.arange(decodes) + 100,
        np.arange(decodes) + 7,
        np.full(decodes, -1),
    )
    (one,) = pack_step(batch, max_tokens=512, max_rows=64)
    return one


@given(tokens=st.integers(1, 3000), rows=st.integers(1, 600))
def test_sections_are_aligned_and_do_not_overlap(tokens: int, rows: int) -> None:
    layout = InputLayout(tokens, rows)
    begins = [0, layout.sources, layout.positions, layout.slots, layout.out_rows, layout.tiles, layout.size]
    sizes = [tokens] * 4 + [rows, TILE_FIELDS * tokens]
    for begin, size, following in zip(begins, sizes, begins[1:], strict=False):
        assert begin % 4 == 0
        assert begin + size <= following


def test_a_step_of_decodes_is_padded_to_its_bucket_and_ends_with_the_slots() -> None:
    layout, into = InputLayout(16, 8), np.full(200, -99, np.int32)
    one = step([], 3)
    used = pack(one, np.array([2, -1, 0], np.int32), tile_table(one, 4), layout, into, tokens=4)
    assert used == layout.slots + 4
    assert into[:4].tolist() == [100, 101, 102, 0]
    assert into[16:20].tolist() == [2, -1, 0, -1]
    assert into[32:36].tolist() == [7, 8, 9, 0]
    assert into[48:52].tolist() == [0, 1, 2, -1]
    assert (into[52:] == -99).all()


def test_a_step_with_prompts_brings_tiles_and_the_rows_that_are_wanted() -> None:
    layout, into = InputLayout(16, 8), np.full(200, -99, np.int32)
    one = step([6, 3], 2)
    used = pack(one, one.sources, tile_table(one, 4), layout, into, tokens=one.tokens)
    assert into[layout.out_rows : layout.out_rows + 4].tolist() == [0, 1, 7, 10]
    assert into[layout.tiles : used].reshape(-1, 4).tolist() == [[10, 0, 2, 4], [10, 4, 6, 2], [11, 0, 8, 3]]


@given(prompts=st.lists(st.integers(1, 40), min_size=1, max_size=8), rows=st.integers(1, 64))
def test_tiles_cover_each_prompt_row_once(prompts: list[int], rows: int) -> None:
    one = step(prompts, 1)
    covered: list[int] = []
    for slot, position, first, count in tile_table(one, rows).tolist():
        assert 1 <= count <= rows
        assert (one.slots[first : first + count] == slot).all()
        np.testing.assert_array_equal(
            one.positions[first : first + count], np.arange(position, position + count)
        )
        covered += range(first, first + count)
    assert covered == list(range(1, one.tokens))


@pytest.mark.parametrize("tokens", [1, 5])
def test_the_largest_pass_fits(tokens: int) -> None:
    layout = InputLayout(tokens, tokens)
    one = step([1] * tokens, 0)
    into = np.zeros(layout.size, np.int32)
    assert pack(one, one.sources, tile_table(one, 64), layout, into, tokens=tokens) <= layout.size
