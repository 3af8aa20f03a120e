"""How a text is put to the model: as it is, and if a guard objects, once more in another way. Pure.

What was lost is masked, and with it the terms of a glossary; whatever else went wrong is drawn anew, with a little
chance. Where only terms are missing, the model is also asked what it makes of each alone: if that stands in the first
answer, the glossary's word takes its place. :mod:`transformer.generation.generator` carries the attempts out and
chooses by :func:`best`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.messages import FinishReason, SamplingParams
from transformer.texts.placeholders import MaskedText, masked_forms, unmask
from transformer.texts.scripts import script_evidence
from transformer.texts.terms import Term, missing_terms

GREEDY = SamplingParams()
RETRY_SAMPLING = SamplingParams(temperature=0.5, top_p=0.9, seed=1)
"""Of a second attempt at the same text: warm enough to leave a loop, cool enough to stay a translation. The seed is
fixed, so that the same text has the same answer every time."""

MAX_RENDERINGS = 8
"""A text that lacks more different terms than this is masked only: each rendering is a prompt of its own."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to put a text to the model."""

    text: str
    params: SamplingParams = GREEDY
    masked: MaskedText | None = None
    rendering_of: str | None = None
    """The term whose rendering is asked for; its answer is none to the text."""

    def read(self, answer: str) -> str | None:
        """The model's answer with what its masks stand for; None if it lost one of them."""
        return answer if self.masked is None else unmask(answer, self.masked)


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """What came of one attempt."""

    text: str
    confidence: float
    finish_reason: FinishReason
    flags: tuple[str, ...]


def second_attempts(
    text: str, first: GenerationResult, *, bounded: bool, terms: Sequence[Term] = ()
) -> list[Attempt]:
    """What may help a text whose first answer is ``first``; empty if nothing would, or nothing is wrong.

    Args:
        text: normal text.
        first: its flags are of :data:`protocol.release.GUARDS`.
        bounded: whether the caller set the answer's length; then none that is cut by it is tried again.
        terms: what a glossary concerns in ``text``.
    """
    if "placeholder" in first.flags or "glossary" in first.flags:
        lacking = dict.fromkeys(term.text for term in missing_terms(terms, first.text))
        few = "placeholder" not in first.flags and len(lacking) <= MAX_RENDERINGS
        renderings = [Attempt(term, rendering_of=term) for term in lacking] if few else []
        return renderings + [Attempt(each.text, masked=each) for each in masked_forms(text, terms)]
    if not first.flags or (bounded and "length" in first.flags):
        return []
    return [Attempt(text, RETRY_SAMPLING)]


def translation_by_glossary(text: str, terms: Sequence[Term]) -> GenerationResult | None:
    """The translation of a text that is one term of the glossary; None of any other, which the model translates."""
    if len(terms) != 1:
        return None
    (term,) = terms
    before, after = text[: term.start], text[term.end :]
    if script_evidence(before + after):
        return None
    return GenerationResult(f"{before}{term.required_text}{after}", 1.0, FinishReason.STOP, ())


def best(first: GenerationResult, others: Sequence[GenerationResult]) -> GenerationResult:
    """The first of ``others`` that no guard objects to, else ``first``."""
    return next((made for made in others if not made.flags), first)
