"""Message types: requests and responses of the transformer and the predictor, as frozen values.

They are independent of JSON, gRPC and KServe; :mod:`protocol.codec` encodes and decodes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from protocol.error_codes import ErrorCode
from protocol.fast_dataclass import fast_dataclass
from protocol.priority import DEFAULT_URGENCY


class FinishReason(str, Enum):
    """Why a sequence stopped growing."""

    STOP = "stop"
    """The model wrote a stop token."""
    LENGTH = "length"
    """``max_new_tokens`` was reached."""
    DEADLINE = "deadline"
    """The request's deadline passed; the tokens so far are an incomplete answer."""
    REPETITION = "repetition"
    """The tokens repeated themselves as often as the request allows."""


class TextFormat(str, Enum):
    """Markup of a text."""

    TEXT = "text"
    HTML = "html"
    """A page or a part of one: tags, attributes and comments are kept, the text between them is translated."""
    XML = "xml"
    """The same for a well-formed document or part of one."""
    MARKDOWN = "markdown"
    """Marks, code, links' targets and blocks are kept; lines of a paragraph become one."""
    ICU = "icu"
    """A message of ICU MessageFormat: arguments are kept, branches of plural and select are translated."""


class CacheStatus(str, Enum):
    """Where a translation came from."""

    HIT = "hit"
    """From the cache."""
    MISS = "miss"
    """Generated for this request."""
    SHARED = "shared"
    """Generated once for several equal texts that were in flight together."""
    BYPASS = "bypass"
    """Needed no model: the text holds nothing to translate, or is in the target language already."""
    NONE = "none"
    """There is no translation, but an error."""


class OnError(str, Enum):
    """Effect of one text's error on the other texts of a request."""

    FAIL = "fail"
    """The whole request fails with it."""
    PER_TEXT = "per_text"
    """The others are answered (:data:`protocol.error_codes.PER_TEXT_CODES`)."""


class Formality(str, Enum):
    """How formal a translation is wanted: DeepL's values."""

    DEFAULT = "default"
    """As the model writes."""
    MORE = "more"
    LESS = "less"
    PREFER_MORE = "prefer_more"
    """More formal where the release can be asked for it."""
    PREFER_LESS = "prefer_less"
    """The same, less formal."""

    @property
    def section(self) -> str | None:
        """The section of a template that asks for it (:mod:`protocol.template_sections`)."""
        return {"more": "formal", "less": "informal"}.get(self.value.removeprefix("prefer_"))

    @property
    def is_required(self) -> bool:
        """Whether it is said if the release cannot be asked for it."""
        return self in (Formality.MORE, Formality.LESS)


@dataclass(frozen=True, slots=True)
class TextError:
    """Why one text has no translation."""

    code: ErrorCode
    message: str
    """In words, without the text's number."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Sampling parameters.

    The same parameters, prompt and release give the same tokens whatever else runs in the batch: randomness is
    a function of (seed, position), never of shared state.
    """

    temperature: float = 0.0
    """0 is greedy; otherwise candidates are drawn from softmax(log-probability / temperature)."""
    top_p: float = 1.0
    """Keeps the smallest set of best candidates whose probability reaches this; in (0, 1]."""
    seed: int = 0
    """Seed of the draw; ignored by greedy decoding."""
    top_k: int = 0
    """Keeps so many best candidates before ``top_p`` is applied; 0 keeps all."""


@dataclass(frozen=True, slots=True)
class Glossary:
    """Terms with their translations, and terms that stay untranslated (:mod:`protocol.glossary`)."""

    terms: tuple[tuple[str, str], ...] = ()
    """(term, its translation), in the order of the sender's text; a term may be there twice."""
    keep: tuple[str, ...] = ()
    """Terms that a translation must contain unchanged."""


@dataclass(frozen=True, slots=True)
class MarkupOptions:
    """What of HTML and XML is translated, and which tags end a sentence."""

    ignore_tags: frozenset[str] = frozenset()
    """Elements whose content is kept."""
    splitting_tags: frozenset[str] = frozenset()
    """Elements that a sentence ends at, beyond those that are known to be such."""
    non_splitting_tags: frozenset[str] = frozenset()
    """Elements that stand within a sentence, beyond those that are known to do so."""
    outline_detection: bool = True
    """Whether the other elements of XML end a sentence unless they are known to stand within one; if not, they all
    stand within one."""
    translate_attributes: bool = False
    """Whether alt, title, placeholder, aria-label and the content of descriptions are translated."""
    translate_cdata: bool = False
    """Whether the CDATA sections of XML are translated, as HTML if they hold tags."""


DEFAULT_MARKUP = MarkupOptions()


@fast_dataclass(frozen=True, slots=True)
class TranslateRequest:
    """Texts to translate, as a caller sends them. ``texts``, ``sources`` and ``targets`` have one length, N."""

    texts: tuple[str, ...]
    sources: tuple[str | None, ...]
    """Language tag of each text, None to have it detected."""
    targets: tuple[str, ...]
    """Language tag each text is wanted in."""
    max_new_tokens: int | None = None
    """Bound for each answer, in tokens; None takes the release's own rule."""
    text_format: TextFormat = TextFormat.TEXT
    """Format of all texts."""
    deadline_ms: int | None = None
    """Milliseconds from arrival to the deadline; None for the server's limit."""
    glossary: Glossary | None = None
    """Glossary for all texts; its entries take precedence over the release's."""
    on_error: OnError = OnError.FAIL
    placeholders: tuple[str, ...] = ()
    """Regular expressions (RE2) of what must survive in all texts."""
    markup: MarkupOptions = DEFAULT_MARKUP
    """For HTML and XML."""
    contexts: tuple[str, ...] = ()
    """What stands around each text and is not translated, one for each; empty for none at all."""
    formality: Formality = Formality.DEFAULT
    """Of all texts."""
    join_lines: bool = False
    """Whether the lines of a paragraph of plain text, which were broken for width, are one text."""
    split_sentences: bool = True
    """Whether texts are split into sentences as the release has it; if not, only those that are too long are."""
    alternatives: int = 0
    """Other translations of each text that are wanted, if the model has any."""


@fast_dataclass(frozen=True, slots=True)
class Translation:
    """One text's answer."""

    text: str
    source: str
    """Language tag given or detected."""
    confidence: float
    """exp of the mean token log-probability, in [0, 1]."""
    cache: CacheStatus
    finish_reason: FinishReason = FinishReason.STOP
    flags: tuple[str, ...] = ()
    """Kinds of fault that the guards found (:data:`protocol.translation_spec.GUARDS`), and of request parameters that
    the release has no place for; an answer with one of the former is never cached."""
    error: TextError | None = None
    """Set for a text without a translation: its ``text`` is empty, its confidence 0, its status NONE."""
    target: str = ""
    """Language tag of the variant that was served, as the release writes it: ``zh-Hant`` for ``zh-TW``."""
    alternatives: tuple[str, ...] = ()
    """Other translations, as many as were asked for or fewer; all differ."""


@fast_dataclass(frozen=True, slots=True)
class TranslateResponse:
    """Answers in the order of the request's texts."""

    translations: tuple[Translation, ...]
    release: str
    """Id of the release that answered."""


@fast_dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Prompts to continue, from the transformer to the predictor."""

    prompts: tuple[tuple[int, ...], ...]
    """Token ids, one tuple per sequence, none empty."""
    max_new_tokens: tuple[int, ...]
    """Upper bound of each prompt's generated tokens, the stop token included; each >= 1."""
    params: SamplingParams = SamplingParams()
    """Applies to every prompt."""
    release: str | None = None
    """Id of the release whose tokenizer made these ids; None skips the check (curl by hand)."""
    deadline_ms: int | None = None
    max_repeats: tuple[int, ...] = ()
    """How often the end of each prompt's tokens may repeat itself before it ends with
    :attr:`FinishReason.REPETITION`: 0 for as often as it likes, else >= 2; empty for 0 in every row."""
    urgency: int = DEFAULT_URGENCY
    """As of :mod:`protocol.priority`: a prompt waits behind those that are more urgent. Not part of the body."""


@fast_dataclass(frozen=True, slots=True)
class Generation:
    """One prompt's continuation."""

    token_ids: tuple[int, ...]
    """Generated ids without the stop token; may be empty."""
    logprob: float
    """Mean log-probability (natural) of the generated tokens, the stop token included; 0 if there is none."""
    finish_reason: FinishReason

    @property
    def confidence(self) -> float:
        """exp(logprob), in [0, 1]."""
        return math.exp(min(self.logprob, 0.0))


@dataclass(frozen=True, slots=True)
class GenerationEnd:
    """End of one prompt's token stream."""

    logprob: float
    """As :attr:`Generation.logprob`."""
    finish_reason: FinishReason
    release: str
    """Id of the release that generated."""


@dataclass(frozen=True, slots=True)
class TokenDelta:
    """New tokens of one prompt; a stream is complete once every prompt has ended."""

    index: int
    """Place of the prompt in the request, from 0."""
    token_ids: tuple[int, ...]
    """New ids, never the stop token; may be empty in a last delta."""
    logprobs: tuple[float, ...]
    """Log-probability (natural) of each of them."""
    end: GenerationEnd | None = None
    """Set in the prompt's last delta."""


@fast_dataclass(frozen=True, slots=True)
class GenerateResponse:
    """Continuations in the order of the request's prompts."""

    generations: tuple[Generation, ...]
    release: str
    """Id of the release that generated."""
