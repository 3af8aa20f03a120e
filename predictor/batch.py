"""What one step executes, and what comes back: the only values a runner sees.

Letters used at every tensor line: B rows, S prompt tokens, T generated tokens, C capacity of a row in tokens,
H attention heads, KV key/value heads, D head dimension, V vocabulary, L layers, K candidates.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.sequence import Sequence

Ints = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Batch:
    """One step: some prompts to read, and one more token for every sequence that runs on.

    A slot that is in neither ``prefill_slots`` nor ``decode_slots`` is free from this step on.
    """

    prefill_slots: tuple[int, ...]
    prompts: tuple[tuple[int, ...], ...]
    decode_slots: Ints  # [B]
    decode_tokens: Ints  # [B] newest token of each sequence, not in the cache yet
    decode_lengths: Ints  # [B] tokens the slot holds before this step
    decode_sources: Ints  # [B] row of the step launched before, or -1
    """Where a sequence's newest token is when nobody has read it yet: it is candidate 0 of that row of the output of
    the step launched directly before this one. -1 where ``decode_tokens`` holds it. All -1 unless the runner runs
    ahead."""

    @property
    def rows(self) -> int:
        """Rows of the output: one per prompt, then one per decode slot."""
        return len(self.prompts) + len(self.decode_slots)

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens this step reads."""
        return sum(len(prompt) for prompt in self.prompts)

    def __bool__(self) -> bool:
        return self.rows > 0

    @classmethod
    def from_sequences(cls, prefills: Seq[Sequence], decodes: Seq[Sequence]) -> Batch:
        """Gather what the runner needs. Every sequence must own a slot."""
        rows = [
            (_slot(s), s.output_ids[-1] if s.source < 0 else 0, s.cached_tokens, s.source) for s in decodes
        ]
        table = np.array(rows, dtype=np.int64).reshape(len(rows), 4)
        return cls(tuple(_slot(s) for s in prefills), tuple(s.prompt for s in prefills), *table.T)

    @classmethod
    def of_prompts(cls, slots: Iterable[int], prompts: Iterable[tuple[int, ...]]) -> Batch:
        """Read prompts into slots, with nothing else running."""
        nothing = np.empty(0, np.int64)
        return cls(tuple(slots), tuple(prompts), nothing, nothing, nothing, nothing)

    @classmethod
    def of_tokens(cls, slots: Ints, tokens: Ints, lengths: Ints) -> Batch:
        """One more token for each slot, [B] each, with nothing else to do."""
        return cls((), (), slots, tokens, lengths, np.full(len(slots), -1, np.int64))


@dataclass(frozen=True, slots=True)
class StepOutput:
    """The best candidates for each row's next token, best first. Valid until the runner's next launch or collect."""

    candidate_ids: npt.NDArray[np.int32]  # [B, K]
    candidate_logprobs: npt.NDArray[np.float32]  # [B, K] log-softmax over the whole vocabulary


def _slot(sequence: Sequence) -> int:
    if sequence.slot is None:
        raise AssertionError("a sequence without a slot was scheduled")
    return sequence.slot
