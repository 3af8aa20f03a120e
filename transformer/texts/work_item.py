"""The unit of translation and its result, passed on by every step between request and answer. Pure."""

from __future__ import annotations

from dataclasses import field, replace

from protocol.errors import YiwenError
from protocol.fast_dataclass import fast_dataclass
from protocol.messages import CacheStatus, FinishReason, Formality
from transformer.texts.terms import Term


@fast_dataclass(frozen=True, slots=True)
class WorkItem:
    """One text to translate. Equal items have the same translation, under one release."""

    text: str
    """In normal form (:func:`protocol.normal_form.normal_text`), not empty."""
    source: str
    """Language tag as the release writes it."""
    target: str
    """Language tag as the release writes it."""
    terms: tuple[Term, ...] = ()
    """Places in ``text`` that glossary entries apply to."""
    options: tuple[tuple[str, str], ...] = ()
    """What else of the request the translation depends on: (name, value), in the order of the names."""
    context: str = ""
    """What stands around the text, for the prompt; empty where the release has no place for it."""
    formality: Formality = Formality.DEFAULT
    """More, less or default; default where the release cannot be asked for it."""
    index: int = field(default=0, compare=False)
    """Place of the text in its request, from 0; for error messages."""
    is_tagged: bool = field(default=False, kw_only=True)
    """Whether ``text`` has tags in the form of the release."""

    def __hash__(self) -> int:
        return hash(self.text)  # Python keeps a string's hash; that of all fields takes 0.4 us each time


@fast_dataclass(frozen=True, slots=True)
class WorkResult:
    """The translation of one :class:`WorkItem`."""

    text: str
    """In normal form: without the outer white space of the caller's text."""
    confidence: float
    """exp of the mean token log-probability, in [0, 1]."""
    cache: CacheStatus = CacheStatus.MISS
    finish_reason: FinishReason = FinishReason.STOP
    flags: tuple[str, ...] = ()
    """What the guards object to (:data:`protocol.translation_spec.GUARDS`)."""
    generated_tokens: int = 0
    """Generated for this request, second attempts included; 0 if another request generated it."""
    error: YiwenError | None = None
    """Why there is no translation."""

    @classmethod
    def failed(cls, error: YiwenError) -> WorkResult:
        """The result of an item that has no translation."""
        return cls("", 0.0, CacheStatus.NONE, error=error)

    @property
    def is_complete(self) -> bool:
        """Whether the model wrote all of it before the deadline."""
        return self.finish_reason is not FinishReason.DEADLINE and self.error is None

    def shared(self) -> WorkResult:
        """The result for a request that another request's generation answered."""
        return replace(self, cache=CacheStatus.SHARED, generated_tokens=0)
