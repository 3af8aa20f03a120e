"""A translation on its way, in pieces: what the transformer's public surfaces send of one text.

As :mod:`protocol.messages`: frozen values that know neither JSON nor gRPC (:mod:`protocol.codec.text_generation` and
:mod:`protocol.codec.generation_proto` do).
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.messages import CacheStatus, FinishReason


@dataclass(frozen=True, slots=True)
class Usage:
    """What one text took."""

    segments: int
    """Stretches of it that were translated each on its own."""
    generated_tokens: int
    """Tokens that the model generated for this request, stop tokens not counted; 0 for what came from the cache."""


@dataclass(frozen=True, slots=True)
class TextEnd:
    """All that is known of a translation beside its text, once it is complete."""

    source: str
    """Language tag given or detected."""
    confidence: float
    """As :attr:`protocol.messages.Translation.confidence`."""
    cache: CacheStatus
    finish_reason: FinishReason
    flags: tuple[str, ...]
    """As :attr:`protocol.messages.Translation.flags`."""
    release: str
    """Id of the release that answered."""
    usage: Usage


@dataclass(frozen=True, slots=True)
class TextDelta:
    """What came to a translation since the delta before. All of them, joined, are its text."""

    text: str
    """Whole characters; empty in a last delta that only says the end."""
    end: TextEnd | None = None
    """Set in the last delta."""
