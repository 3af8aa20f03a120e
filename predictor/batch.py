"""The input and the output of one step, the only values a runner sees.

Letters in the shapes of tensors: B rows, S prompt tokens, T generated tokens, C capacity of a row in tokens,
H attention heads, KV key/value heads, D head dimension, V vocabulary, L layers, K candidates.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.sequence import Sequence

Ints = npt.NDArray[np.integer[Any]]


def _nothing() -> Ints:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Batch:
    """The input of one step: prompts to read, and running sequences to decode one more token for.

    A slot that is in none of ``prefill_slots``, ``decode_slots`` and ``held_slots`` is free from this step on.
    """

    prefill_slots: tuple[int, ...]
    prompts: tuple[tuple[int, ...], ...]
    decode_slots: Ints  # [B]
    decode_tokens: Ints  # [B] newest token of each sequence, not in the cache yet
    decode_lengths: Ints  # [B] tokens the slot holds before this step
    decode_sources: Ints  # [B] row of the step launched before, or -1
    """Where the newest token of a sequence is if it is in flight: candidate 0 of that row of the output of the step
    launched directly before this one. -1 where ``decode_tokens`` holds it. All -1 unless the runner runs ahead."""
    held_slots: Ints = field(default_factory=_nothing)  # [H]
    """Slots of running sequences that sit this step out and keep their K/V."""
    held_lengths: Ints = field(default_factory=_nothing)  # [H] tokens that each of them holds

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
    def from_sequences(
        cls, prefills: Seq[Sequence], decodes: Seq[Sequence], held: Seq[Sequence] = ()
    ) -> Batch:
        """The batch of a step. Every sequence must own a slot.

        Args:
            prefills: sequences whose prompts are read.
            decodes: sequences that get one more token.
            held: running sequences that sit this step out.
        """
        rows = [
            (_slot(s), s.output_ids[-1] if s.source_row < 0 else 0, s.cached_tokens, s.source_row)
            for s in decodes
        ]
        table = np.array(rows, dtype=np.int64).reshape(len(rows), 4)
        kept = np.array([(_slot(s), s.cached_tokens) for s in held], dtype=np.int64).reshape(len(held), 2)
        return cls(tuple(_slot(s) for s in prefills), tuple(s.prompt for s in prefills), *table.T, *kept.T)

    @classmethod
    def of_prompts(cls, slots: Iterable[int], prompts: Iterable[tuple[int, ...]]) -> Batch:
        """A batch of prompts alone, one for each slot."""
        return cls(tuple(slots), tuple(prompts), _nothing(), _nothing(), _nothing(), _nothing())

    @classmethod
    def of_tokens(cls, slots: Ints, tokens: Ints, lengths: Ints) -> Batch:
        """A batch of decodes alone, whose newest tokens the host has.

        Args:
            slots: [B].
            tokens: [B] newest token of each, not in the cache yet.
            lengths: [B] tokens that each slot holds.
        """
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
