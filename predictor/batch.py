"""What one step executes, and what comes back: the only values a runner sees.

Letters used at every tensor line: B rows, S prompt tokens, T generated tokens, C capacity of a row in tokens,
H attention heads, KV key/value heads, D head dimension, V vocabulary, L layers, K candidates.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from predictor.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Batch:
    """One step: some prompts to read, and one more token for every sequence that already runs.

    ``decode_slots`` are exactly the slots in use beside the new ones, so a runner may take every other slot for free.
    """

    prefills: tuple[Sequence, ...]
    decodes: tuple[Sequence, ...]
    prefill_slots: tuple[int, ...]
    prompts: tuple[tuple[int, ...], ...]
    decode_slots: npt.NDArray[np.int64]  # [B]
    decode_tokens: npt.NDArray[np.int64]  # [B] newest token of each sequence, not in the cache yet
    decode_lengths: npt.NDArray[np.int64]  # [B] tokens the slot holds before this step

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        """In the order of the output's rows: prefills, then decodes."""
        return self.prefills + self.decodes

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens this step reads."""
        return sum(len(prompt) for prompt in self.prompts)

    def __bool__(self) -> bool:
        return bool(self.prefills or self.decodes)

    @classmethod
    def from_sequences(cls, prefills: Seq[Sequence], decodes: Seq[Sequence]) -> Batch:
        """Gather what the runner needs. Every sequence must own a slot."""
        rows = [(s.slot, s.output_ids[-1], s.cached_tokens) for s in decodes]
        table = np.array(rows, dtype=np.int64).reshape(len(rows), 3)
        return cls(
            prefills=tuple(prefills),
            decodes=tuple(decodes),
            prefill_slots=tuple(_slot(s) for s in prefills),
            prompts=tuple(s.prompt for s in prefills),
            decode_slots=table[:, 0],
            decode_tokens=table[:, 1],
            decode_lengths=table[:, 2],
        )


@dataclass(frozen=True, slots=True)
class StepOutput:
    """The best candidates for each row's next token, best first. Views are valid until the next step."""

    candidate_ids: npt.NDArray[np.int32]  # [B, K]
    candidate_logprobs: npt.NDArray[np.float32]  # [B, K] log-softmax over the whole vocabulary


def _slot(sequence: Sequence) -> int:
    if sequence.slot is None:
        raise AssertionError("a sequence without a slot was scheduled")
    return sequence.slot
