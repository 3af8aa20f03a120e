"""What a request's texts come to, once the segments that they are made of have their answers. Pure.

:mod:`transformer.texts.segments` takes texts apart, :mod:`transformer.pipeline` has the segments answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.messages import CacheStatus, FinishReason, Translation
from transformer.texts.segments import Document, Identity, Segment

_NEWEST_FIRST = (CacheStatus.MISS, CacheStatus.SHARED, CacheStatus.HIT)
"""A text of several segments is what the first of these that one of its segments is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One job's translation, and where it came from."""

    text: str
    confidence: float
    cache: CacheStatus
    finish_reason: FinishReason = FinishReason.STOP
    flags: tuple[str, ...] = ()
    first: Segment | None = None
    """The segment that it was generated for; the job's others share it."""

    def cache_of(self, segment: Segment) -> CacheStatus:
        """Where ``segment`` has it from."""
        generated = self.cache is CacheStatus.MISS
        return CacheStatus.SHARED if generated and segment is not self.first else self.cache


def translation_of(document: Document, answers: Mapping[Identity, Answer]) -> Translation:
    """The answer to one text.

    A text is as sure as its least sure segment, flagged for what any of them is flagged for, and cut if one was.

    Args:
        document: one text of a request.
        answers: of all its segments, by what they have in common with equal ones.
    """
    source = document.direction.source
    only = document.only
    if only is not None:  # as most texts are: nothing to put together
        answer = answers[only.identity]
        text, cache = document.restore_segment(only, answer.text), answer.cache_of(only)
        return Translation(text, source, answer.confidence, cache, answer.finish_reason, answer.flags)
    own = [(segment, answers[segment.identity]) for segment in document.segments]
    text = document.restore({segment.identity: answer.text for segment, answer in own})
    if not own:
        return Translation(text, source, 1.0, CacheStatus.BYPASS)
    statuses = {answer.cache_of(segment) for segment, answer in own}
    reasons = [a.finish_reason for _, a in own if a.finish_reason is not FinishReason.STOP]
    return Translation(
        text,
        source,
        min(answer.confidence for _, answer in own),
        next(status for status in _NEWEST_FIRST if status in statuses),
        reasons[0] if reasons else FinishReason.STOP,
        tuple(dict.fromkeys(flag for _, answer in own for flag in answer.flags)),
    )
