"""Attempts at a translation: the text as it is and, if a guard flags the answer, one of two second attempts. Pure.

If a placeholder or a glossary term was lost, the second attempt masks both; any other fault is sampled anew at a low
temperature. If only terms are missing, the model is also asked for the rendering of each term alone: where that
stands in the first answer, the glossary's translation replaces it. :mod:`transformer.generation.generator` makes the
attempts.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.fast_dataclass import fast_dataclass
from protocol.messages import SamplingParams
from protocol.prompt_encoder import PromptText
from transformer.texts.placeholders import MaskedText, masked_forms, unmask
from transformer.texts.scripts import script_evidence
from transformer.texts.terms import Term, missing_terms
from transformer.texts.work_item import WorkItem, WorkResult

GREEDY = SamplingParams()
RETRY_SAMPLING = SamplingParams(temperature=0.5, top_p=0.9, seed=1)
"""For a second attempt at the same text: warm enough to leave a loop, cool enough to stay a translation. The seed is
fixed, so that the same text always has the same answer."""

MASKED_KINDS = frozenset({"placeholder", "number", "emoji", "glossary"})
"""Faults of a text that masks may mend."""
MAX_RENDERINGS = 8
"""A text that lacks more distinct terms than this is only masked: each rendering is a prompt of its own."""


@fast_dataclass(frozen=True, slots=True)
class Attempt:
    """One prompt for a work item."""

    item: WorkItem
    text: str
    """What the model translates: the item's text, a masked form of it, or one of its terms."""
    params: SamplingParams = GREEDY
    masked: MaskedText | None = None
    rendering_of: str | None = None
    """The term whose rendering is asked for; the answer is no translation of the item."""

    def unmask(self, answer: str) -> str | None:
        """The model's answer with the originals in place of the masks; None if it lost a mask."""
        return answer if self.masked is None else unmask(answer, self.masked)

    @property
    def prompt(self) -> PromptText:
        """What the prompt is made of. Terms that are masked, or asked for, are not told to the model."""
        item = self.item
        if self.rendering_of is not None:
            return PromptText(self.text, item.source, item.target, item.index)
        terms = () if self.masked is not None else prompt_terms(item.terms)
        return PromptText(
            self.text,
            item.source,
            item.target,
            item.index,
            item.context,
            item.formality,
            terms,
            is_tagged=item.is_tagged,
        )

    @property
    def prompt_identity(self) -> tuple[WorkItem | str, ...]:
        """Equal for attempts with equal prompts that one answer serves."""
        if self.rendering_of is not None:
            return self.rendering_of, self.item.source, self.item.target
        return self.item, self.text


def prompt_terms(terms: Sequence[Term]) -> tuple[tuple[str, str], ...]:
    """The distinct terms of a text with what they must become, in order, without what a caller calls placeholders."""
    if not terms:
        return ()
    return tuple({term.text: term.required_text for term in terms if not term.is_placeholder}.items())


def first_attempt(item: WorkItem, params: SamplingParams = GREEDY) -> Attempt:
    """The item's text as it is, sampled by ``params``."""
    return Attempt(item, item.text, params)


def second_attempts(item: WorkItem, first: WorkResult, *, is_limited: bool) -> list[Attempt]:
    """What may improve a flagged result; empty if nothing would, or if it is not flagged.

    Args:
        item: what is translated.
        first: the result of the first attempt.
        is_limited: whether the caller limits the answer's length; an answer that this limit cut is not tried again.
    """
    if item.is_tagged:
        return []  # its tags are placed without it
    if not MASKED_KINDS.isdisjoint(first.flags):
        lacking = dict.fromkeys(term.text for term in missing_terms(item.terms, first.text))
        may_render = MASKED_KINDS & set(first.flags) == {"glossary"} and len(lacking) <= MAX_RENDERINGS
        renderings = [Attempt(item, term, rendering_of=term) for term in lacking] if may_render else []
        masked = masked_forms(item.text, item.terms, numbers="number" in first.flags)
        return renderings + [Attempt(item, each.text, masked=each) for each in masked]
    if not first.flags or (is_limited and "length" in first.flags):
        return []
    return [Attempt(item, item.text, RETRY_SAMPLING)]


def translation_by_glossary(item: WorkItem) -> WorkResult | None:
    """The translation of a text that is one glossary term; None for any other text, which needs the model."""
    if len(item.terms) != 1:
        return None
    (term,) = item.terms
    before, after = item.text[: term.start], item.text[term.end :]
    if script_evidence(before + after):
        return None
    return WorkResult(f"{before}{term.required_text}{after}", 1.0)


def best(first: WorkResult, others: Sequence[WorkResult]) -> WorkResult:
    """The first of ``others`` that no guard flags, else ``first``."""
    return next((result for result in others if result.is_complete and not result.flags), first)
