"""How a text is put to the model: as it is, and if a guard objects, once more in another way. Pure.

What was lost is masked; whatever else went wrong is drawn anew, with a little chance. :mod:`transformer.pipeline`
carries the attempts out and chooses by :func:`best`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.messages import FinishReason, SamplingParams
from transformer.placeholders import Masked, masks, unmask

GREEDY = SamplingParams()
REDRAW = SamplingParams(temperature=0.5, top_p=0.9, seed=1)
"""Of a second attempt at the same text: warm enough to leave a loop, cool enough to stay a translation. The seed is
fixed, so that the same text has the same answer every time."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to put a text to the model."""

    text: str
    params: SamplingParams = GREEDY
    masked: Masked | None = None

    def read(self, answer: str) -> str | None:
        """The model's answer with what its masks stand for; None if it lost one of them."""
        return answer if self.masked is None else unmask(answer, self.masked)


@dataclass(frozen=True, slots=True)
class Made:
    """What came of one attempt."""

    text: str
    confidence: float
    finish_reason: FinishReason
    flags: tuple[str, ...]


def second_attempts(text: str, flags: Sequence[str], *, bounded: bool) -> list[Attempt]:
    """What may help a text whose first answer has these ``flags``; empty if nothing would.

    Args:
        text: normal text.
        flags: kinds of fault, as :meth:`transformer.guards.Guards.flags` names them.
        bounded: whether the caller set the answer's length; then none that is cut by it is tried again.
    """
    if "placeholder" in flags:
        return [Attempt(masked.text, masked=masked) for masked in masks(text)]
    if not flags or (bounded and "length" in flags):
        return []
    return [Attempt(text, REDRAW)]


def best(first: Made, others: Sequence[Made]) -> Made:
    """The first of ``others`` that no guard objects to, else ``first``."""
    return next((made for made in others if not made.flags), first)
