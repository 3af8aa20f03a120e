"""Messages of a streamed translation of one text.

As in :mod:`protocol.messages`, frozen values; :mod:`protocol.codec.text_generation` and
:mod:`protocol.codec.generation_proto` encode them.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.messages import CacheStatus, FinishReason


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of one text."""

    segments: int
    """Parts of the text that were translated separately."""
    generated_tokens: int
    """Tokens that the model generated for this request, stop tokens not counted; 0 for what came from the cache."""


@dataclass(frozen=True, slots=True)
class TextEnd:
    """The fields of a complete translation other than its text."""

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
    target: str = ""
    """As :attr:`protocol.messages.Translation.target`."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of a translation; all pieces joined are its text."""

    text: str
    """Whole characters; may be empty in the last delta."""
    end: TextEnd | None = None
    """Set in the last delta."""
