"""The inputs of a pass, packed into one array of int32 numbers, so that one copy brings all to the GPU.

Each section has a fixed offset, sized for the largest pass, since kernels are bound to addresses once. A copy ends
with the last number in use, so a step of decodes copies little of the array.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from predictor.runners.segmented import Int32s, StepPass

TILE_FIELDS = 4
"""Numbers of a tile of prompt rows: slot, position of its first row, first row, rows."""

PADDING_SLOT = -1
"""Slot of a padding row of a bucket: nothing is cached for it, and its output is ignored."""


@dataclass(frozen=True, slots=True)
class InputLayout:
    """Offsets of the sections, in numbers; ``token_ids`` at 0. All are multiples of four, for vector loads."""

    max_tokens: int
    """T of the largest pass; the most tiles too, of one row each."""
    max_rows: int
    """R of the largest pass."""

    @property
    def sources(self) -> int:
        return _round_up(self.max_tokens)

    @property
    def positions(self) -> int:
        return 2 * _round_up(self.max_tokens)

    @property
    def slots(self) -> int:
        return 3 * _round_up(self.max_tokens)

    @property
    def out_rows(self) -> int:
        return 4 * _round_up(self.max_tokens)

    @property
    def tiles(self) -> int:
        return self.out_rows + _round_up(self.max_rows)

    @property
    def size(self) -> int:
        """Numbers of the largest pass."""
        return self.tiles + TILE_FIELDS * self.max_tokens


def pack(
    step_pass: StepPass, sources: Int32s, tiles: Int32s, layout: InputLayout, into: Int32s, *, tokens: int
) -> int:
    """Write the inputs of a pass.

    Args:
        step_pass: the pass.
        sources: [T], replace the pass's own: rows in the order in which the previous step computed them.
        tiles: [N, TILE_FIELDS].
        layout: where to.
        into: at least ``layout.size`` numbers.
        tokens: at least T; rows behind T become padding.

    Returns:
        How many numbers, from the first on, are to be copied.
    """
    given = step_pass.tokens
    sections = (
        (0, step_pass.token_ids, 0),
        (layout.sources, sources, -1),
        (layout.positions, step_pass.positions, 0),
        (layout.slots, step_pass.slots, PADDING_SLOT),
    )
    for first, values, padding in sections:
        into[first : first + given] = values
        if tokens > given:
            into[first + given : first + tokens] = padding
    if not len(tiles):
        return layout.slots + tokens
    into[layout.out_rows : layout.out_rows + len(step_pass.out_rows)] = step_pass.out_rows
    end = layout.tiles + tiles.size
    into[layout.tiles : end] = tiles.ravel()
    return end


def tile_table(step_pass: StepPass, rows_per_tile: int) -> Int32s:
    """Split a pass's chunks into tiles of at most ``rows_per_tile`` rows: [N, TILE_FIELDS]."""
    tiles = [
        (chunk.slot, chunk.start + first, chunk.first_row + first, min(rows_per_tile, chunk.count - first))
        for chunk in step_pass.chunks
        for first in range(0, chunk.count, rows_per_tile)
    ]
    return np.array(tiles, np.int32).reshape(len(tiles), TILE_FIELDS)


def _round_up(count: int) -> int:
    return -(-count // 4) * 4
