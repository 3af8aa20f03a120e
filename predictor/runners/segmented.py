"""The runner over segments: the part that is the same on every device.

A :class:`SegmentedRunner` packs a batch into passes over flat rows, one row per token without padding, and has a
:class:`SegmentBackend` run them: ``reference`` on ONNX Runtime and numpy, ``tensorrt`` on CUDA. A step is one pass if
it fits; a prompt longer than a pass is read in chunks, by several passes of the same step (chunked prefill).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from predictor.batch import Batch, StepOutput

Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive tokens of one prompt, in consecutive rows of a pass."""

    slot: int
    start: int
    """Position of its first token; the slot holds as many tokens already."""
    first_row: int
    """Row of the pass that holds its first token."""
    count: int
    """Tokens, at least one."""


@dataclass(frozen=True, slots=True, eq=False)
class StepPass:
    """One pass over all layers. Of its T rows, one per token, the decodes come first, then the prompts' chunks.

    All keys and values are cached at ``(slots[row], positions[row])`` first; then each row attends to positions 0 to
    ``positions[row]`` of its slot, both included. No slot has two decodes or two chunks in a pass. The passes of a
    step run in order, and the sources of all of them refer to the same previous step.
    """

    token_ids: Int32s  # [T], ignored where sources >= 0
    sources: Int32s  # [T] row of the step launched before whose candidate 0 is the token, or -1
    positions: Int32s  # [T] in the sequence, from 0
    slots: Int32s  # [T]
    decodes: int
    """Rows [0, decodes) are one token each of a running sequence; only these have a source."""
    chunks: tuple[Chunk, ...]
    """In order; they cover rows [decodes, T) without gaps."""
    out_rows: (
        Int32s  # [R] rows whose next token is wanted, ascending; R is 0 where no prompt ends in the pass
    )
    output_rows: Int32s  # [R] row of the step's output that each of them fills; over all passes each row once

    @property
    def tokens(self) -> int:
        """T."""
        return len(self.token_ids)


class SegmentBackend(Protocol):
    """Runs passes on one device and owns its K/V cache. Used by one thread at a time.

    A failure raises :class:`predictor.errors.RunnerError`; nothing is in flight after it, and all slots are empty.
    """

    @property
    def slots(self) -> int:
        """Sequences that the cache has room for; a step has at most as many output rows."""
        ...

    @property
    def kv_bytes(self) -> int:
        """Bytes of K/V cache allocated now."""
        ...

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of K/V of one token, over all layers."""
        ...

    @property
    def launches(self) -> Mapping[str, int]:
        """See :attr:`predictor.runners.base.Runner.launches`."""
        ...

    @property
    def max_tokens(self) -> int:
        """Most rows of a pass."""
        ...

    @property
    def max_rows(self) -> int:
        """Most output rows of a pass."""
        ...

    @property
    def runs_ahead(self) -> bool:
        """Whether a step may be launched before the one before it is collected, with sources into that one."""
        ...

    def launch(self, passes: tuple[StepPass, ...]) -> None:
        """Start one step. The backend may keep the arrays: they are not changed afterwards."""
        ...

    def collect(self) -> StepOutput:
        """Wait for the oldest step in flight; its :func:`output_rows` rows are valid until the next collect."""
        ...

    def close(self) -> None:
        """Free memory and threads. Nothing may be launched afterwards."""
        ...


class SegmentedRunner:
    """A :class:`predictor.runners.base.Runner` over a backend of segments."""

    def __init__(self, backend: SegmentBackend) -> None:
        """Take ownership of ``backend``: closing the runner closes it."""
        self._backend = backend

    @property
    def slots(self) -> int:
        return self._backend.slots

    @property
    def kv_bytes(self) -> int:
        return self._backend.kv_bytes

    @property
    def kv_bytes_per_token(self) -> int:
        return self._backend.kv_bytes_per_token

    @property
    def launches(self) -> Mapping[str, int]:
        return self._backend.launches

    @property
    def runs_ahead(self) -> bool:
        return self._backend.runs_ahead

    def launch(self, batch: Batch) -> None:
        """See :meth:`predictor.runners.base.Runner.launch`."""
        self._backend.launch(
            pack_step(batch, max_tokens=self._backend.max_tokens, max_rows=self._backend.max_rows)
        )

    def collect(self) -> StepOutput:
        """See :meth:`predictor.runners.base.Runner.collect`."""
        return self._backend.collect()

    def close(self) -> None:
        self._backend.close()


def output_rows(passes: tuple[StepPass, ...]) -> int:
    """Rows of the step's output."""
    return sum(len(step_pass.output_rows) for step_pass in passes)


def pack_step(batch: Batch, *, max_tokens: int, max_rows: int) -> tuple[StepPass, ...]:
    """Split a step into passes, filling one after the other: decodes first, then prompts in order.

    Args:
        batch: the step; its output rows are its prompts, then its decodes.
        max_tokens: most rows of a pass.
        max_rows: most output rows of a pass.

    Returns:
        Passes in the order to run them in; none for an empty batch.
    """
    if max_tokens < 1 or max_rows < 1:
        raise ValueError(f"passes of {max_tokens} tokens and {max_rows} output rows cannot hold a step")
    return tuple(contents.to_pass(batch) for contents in _split(batch, max_tokens, max_rows))


@dataclass(slots=True)
class _PassContents:
    """The part of a batch that one pass runs."""

    decodes: slice
    pieces: list[tuple[int, int, int]] = field(default_factory=list)
    """Chunks: index of the prompt, first token, end."""
    tokens: int = 0
    rows: int = 0

    def to_pass(self, batch: Batch) -> StepPass:
        decoded = batch.decode_slots[self.decodes]
        decodes = len(decoded)
        prompts = sum(end - start for _, start, end in self.pieces)
        token_ids, positions, slots = np.empty((3, decodes + prompts), np.int32)
        sources = np.full(decodes + prompts, -1, np.int32)
        token_ids[:decodes] = batch.decode_tokens[self.decodes]
        sources[:decodes] = batch.decode_sources[self.decodes]
        positions[:decodes] = batch.decode_lengths[self.decodes]
        slots[:decodes] = decoded
        out_rows = list(range(decodes))
        outputs = [len(batch.prompts) + index for index in range(self.decodes.start, self.decodes.stop)]
        chunks: list[Chunk] = []
        row = decodes
        for index, start, end in self.pieces:
            slot, behind = batch.prefill_slots[index], row + end - start
            token_ids[row:behind] = batch.prompts[index][start:end]
            positions[row:behind] = np.arange(start, end)
            slots[row:behind] = slot
            chunks.append(Chunk(slot, start, row, end - start))
            if end == len(batch.prompts[index]):
                out_rows.append(behind - 1)
                outputs.append(index)
            row = behind
        return StepPass(
            token_ids, sources, positions, slots, decodes, tuple(chunks), _int32(out_rows), _int32(outputs)
        )


def _split(batch: Batch, max_tokens: int, max_rows: int) -> Iterator[_PassContents]:
    decodes, width = len(batch.decode_slots), min(max_tokens, max_rows)
    contents = _PassContents(slice(0, 0))
    for first in range(0, decodes, width):
        if contents.tokens:
            yield contents
        count = min(width, decodes - first)
        contents = _PassContents(slice(first, first + count), tokens=count, rows=count)
    for index, prompt in enumerate(batch.prompts):
        start = 0
        while start < len(prompt):
            if contents.tokens == max_tokens or contents.rows == max_rows:
                yield contents
                contents = _PassContents(slice(0, 0))
            end = min(len(prompt), start + max_tokens - contents.tokens)
            contents.pieces.append((index, start, end))
            contents.tokens += end - start
            contents.rows += end == len(prompt)
            start = end
    if contents.tokens:
        yield contents


def _int32(values: list[int]) -> Int32s:
    return np.array(values, np.int32)
