from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.batch import Batch
from predictor.runners.segmented import StepPass, output_rows, pack_step


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Any step: unequal prompts, running sequences, some of whose tokens are still to come."""
    lengths = draw(st.lists(st.integers(1, 40), max_size=6))
    decodes = draw(st.integers(0, 12))
    slots = draw(st.permutations(range(len(lengths) + decodes)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tokens, held = rng.integers(0, 1000, (2, decodes))
    running = Batch.of_tokens(np.array(slots[len(lengths) :], np.int64), tokens, held)
    return dataclasses.replace(
        running,
        prefill_slots=tuple(slots[: len(lengths)]),
        prompts=tuple(tuple(rng.integers(0, 1000, length).tolist()) for length in lengths),
        decode_sources=rng.integers(-1, 12, decodes),
    )


LIMITS = {"max_tokens": st.integers(1, 50), "max_rows": st.integers(1, 9)}


def decoded(one: StepPass) -> list[tuple[int, ...]]:
    """Slot, token, source, position and output row of each decode, in order."""
    rows = slice(0, one.decodes)
    assert one.out_rows[: one.decodes].tolist() == list(range(one.decodes))
    columns = (one.slots, one.token_ids, one.sources, one.positions, one.output_rows)
    return list(zip(*(column[rows].tolist() for column in columns), strict=True))


@given(batch=batches(), **LIMITS)
def test_every_decode_is_in_one_pass_and_fills_its_row(batch: Batch, max_tokens: int, max_rows: int) -> None:
    passes = pack_step(batch, max_tokens=max_tokens, max_rows=max_rows)
    rows = range(len(batch.prompts), batch.rows)
    columns = (batch.decode_slots, batch.decode_tokens, batch.decode_sources, batch.decode_lengths, rows)
    expected = list(zip(*(list(column) for column in columns), strict=True))
    assert [row for one in passes for row in decoded(one)] == expected


@given(batch=batches(), **LIMITS)
def test_every_prompt_token_is_in_one_pass_at_its_position(
    batch: Batch, max_tokens: int, max_rows: int
) -> None:
    read: dict[int, list[int]] = {slot: [] for slot in batch.prefill_slots}
    for one in pack_step(batch, max_tokens=max_tokens, max_rows=max_rows):
        row = one.decodes
        for chunk in one.chunks:
            assert (chunk.first_row, chunk.start) == (row, len(read[chunk.slot]))
            row += chunk.count
            rows = slice(chunk.first_row, row)
            assert set(one.slots[rows].tolist()) == {chunk.slot}
            assert one.positions[rows].tolist() == list(range(chunk.start, chunk.start + chunk.count))
            read[chunk.slot].extend(one.token_ids[rows].tolist())
        assert row == one.tokens
        assert (one.sources[one.decodes :] == -1).all()
        assert len({chunk.slot for chunk in one.chunks}) == len(one.chunks)
    assert list(read.values()) == [list(prompt) for prompt in batch.prompts]


@given(batch=batches(), **LIMITS)
def test_every_output_row_is_filled_once_from_the_last_token(
    batch: Batch, max_tokens: int, max_rows: int
) -> None:
    passes = pack_step(batch, max_tokens=max_tokens, max_rows=max_rows)
    last = [len(prompt) - 1 for prompt in batch.prompts] + batch.decode_lengths.tolist()
    slots = [*batch.prefill_slots, *batch.decode_slots.tolist()]
    filled = {}
    for one in passes:
        assert (np.diff(one.out_rows) > 0).all()
        for row, output in zip(one.out_rows, one.output_rows.tolist(), strict=True):
            assert output not in filled
            filled[output] = (int(one.slots[row]), int(one.positions[row]))
    assert [filled[output] for output in range(batch.rows)] == list(zip(slots, last, strict=True))
    assert output_rows(passes) == batch.rows


@given(batch=batches(), **LIMITS)
def test_no_pass_is_empty_or_too_large(batch: Batch, max_tokens: int, max_rows: int) -> None:
    passes = pack_step(batch, max_tokens=max_tokens, max_rows=max_rows)
    for one in passes:
        assert 0 < one.tokens <= max_tokens
        assert len(one.out_rows) <= max_rows
        arrays: list[Any] = [
            one.token_ids,
            one.sources,
            one.positions,
            one.slots,
            one.out_rows,
            one.output_rows,
        ]
        assert {array.dtype for array in arrays} == {np.dtype(np.int32)}
        assert len({len(array) for array in arrays[:4]}) == 1
    tokens = batch.prompt_tokens + len(batch.decode_slots)
    assert (len(passes) <= 1) or tokens > max_tokens or batch.rows > max_rows


@given(batch=batches(), max_tokens=st.integers(1, 50))
def test_passes_are_full_while_rows_suffice(batch: Batch, max_tokens: int) -> None:
    passes = pack_step(batch, max_tokens=max_tokens, max_rows=100)
    assert all(one.tokens == max_tokens for one in passes[:-1])


def test_a_pass_that_can_hold_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 tokens"):
        pack_step(Batch.of_prompts([0], [(1,)]), max_tokens=0, max_rows=1)
