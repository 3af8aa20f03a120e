"""Turns texts into a release's prompts (token ids), and generated token ids back into text.

The transformer, int8 calibration and ``yiwen release verify`` all use :class:`PromptEncoder`, so that the ids they
work with are the ids that are served. It uses the release's own tokenizer, without torch and without Hugging Face
transformers.

A prompt has the ids that the tokenizer gives the whole prompt as one string. In the template a control token
(``<|im_end|>``) is one token; in a text it is plain characters, so that no text can end itself, change the language,
or write the model's part of a conversation: what is between the template's control tokens is then encoded as one
string with control tokens switched off (:mod:`protocol.prompt_template`).

Of this package only this module runs ``tokenizers``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from protocol.control_tokens import declare_control_tokens
from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, TooLong, YiwenError
from protocol.prompt_template import TemplateSpan, depends_on_place, template_span
from protocol.release import (
    TOKENIZER_DIR,
    TOKENIZER_FILE,
    TRANSLATION_FILE,
    ReleaseError,
    TranslationSpec,
    load_release,
    load_translation_spec,
)
from protocol.token_bytes import bytes_per_token

GROUP_CHARACTERS = 32_768
"""Texts are tokenized in groups of this size, or alone: tokenizing holds up to 200 bytes for each byte of a group."""
ALWAYS_COUNTED_BYTES = 16_384
"""Texts of this size take 20 ms at most to tokenize, so that they are refused with the number of their tokens."""
ONE_BY_ONE_CHARACTERS = 2_000
"""Texts of this size together are tokenized without the tokenizer's threads, which take longer to wake up."""
_COUNTED_TEXTS = 256
"""Texts whose tokens :meth:`PromptEncoder.fits` keeps for :meth:`PromptEncoder.encode`."""
_COUNT_WITHIN = 8
"""Tokens below the limit from which on a text that its template touches is counted alone."""

REPLACEMENT = "\ufffd"
"""The text of bytes that are not, or not yet, a whole character."""

_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class TextTooLong(TooLong):
    """413: one text has more tokens than the release takes, or more bytes than so many tokens can stand for."""

    code = ErrorCode.TEXT_TOO_LONG

    def __init__(self, index: int, size: int, limit: int, unit: str = "tokens") -> None:
        super().__init__(
            f"text {index}: it has {size} {unit}, this release takes at most {limit}; split it into shorter texts"
        )
        self.index = index


class UnencodableText(InvalidRequest):
    """400: the tokenizer cannot write a text without control tokens, or knows none of its characters."""

    code = ErrorCode.INVALID_TEXT

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"text {index}: {reason}")
        self.index = index


@dataclass(frozen=True, slots=True)
class PromptText:
    """One text to encode, and the languages that the template names."""

    text: str
    """In normal form; not empty."""
    source: str
    target: str
    """Language tags; the release has this pair."""
    index: int = 0
    """Position in the request or file, from 0: error messages name it."""


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """The encoded prompt of one text."""

    token_ids: tuple[int, ...]
    max_new_tokens: int
    """Token budget of the answer, its stop token included; at least 1."""


class PromptEncoder:
    """The tokenizer and the prompt template of one release. Thread-safe."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        spec: TranslationSpec,
        max_sequence_tokens: int,
        *,
        written_ids: Collection[int] = (),
    ) -> None:
        """Encode the template of every language pair, then make the tokenizer read control tokens as characters.

        Args:
            tokenizer: owned by the encoder, which changes its settings. Its control tokens are declared special.
            spec: the release's ``translation.json``.
            max_sequence_tokens: most tokens of a prompt and its answer together.
            written_ids: control tokens that :meth:`decode` does not drop.

        Raises:
            ReleaseError: a stop token is not in the vocabulary.
        """
        self.spec = spec
        self._max_sequence_tokens = max_sequence_tokens
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = False
        self._control_ids = _control_ids(tokenizer, spec)
        self._spans = {
            pair: template_span(tokenizer, *spec.template_parts(*pair), self._control_ids)
            for pair in spec.pairs
        }
        self.template_tokens = max(span.tokens for span in self._spans.values())
        """Tokens that a prompt has besides its text: the largest number of all language pairs."""
        self._fits_tokens = self._source_limit(self.template_tokens)
        shortest = min(span.tokens for span in self._spans.values())
        document = json.loads(tokenizer.to_str())
        self.max_source_bytes = max(
            ALWAYS_COUNTED_BYTES, self._source_limit(shortest) * bytes_per_token(document)
        )
        """A text of more UTF-8 bytes is refused without being tokenized: it has too many tokens."""
        self._counted: dict[str, list[int]] = {}
        self._recognizing: Tokenizer | None = None
        """A second tokenizer, which recognizes control tokens, if a span's ids depend on its place."""
        if depends_on_place(document, self._spans.values(), tokenizer.get_added_tokens_decoder()):
            self._recognizing = Tokenizer.from_str(tokenizer.to_str())
        tokenizer.encode_special_tokens = True
        self._dropped_ids = self._control_ids - frozenset(written_ids)
        self._undecodable = _undecodable(tokenizer, self._dropped_ids)
        self.unsettled_ids = byte_token_ids(tokenizer.get_vocab()) | self._dropped_ids
        """Tokens after which the text so far may still change: bytes, and those that :meth:`decode` drops."""
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, release: Path) -> PromptEncoder:
        """Read the tokenizer, ``translation.json`` and the limits of the release in a directory.

        Raises:
            ReleaseError: a file is missing or broken, or the tokenizer does not fit ``translation.json``.
        """
        spec = load_translation_spec(release / TRANSLATION_FILE)
        limit = load_release(release).limits.max_sequence_tokens
        return cls.load_file(release / TOKENIZER_DIR / TOKENIZER_FILE, spec, limit)

    @classmethod
    def load_file(cls, path: Path, spec: TranslationSpec, max_sequence_tokens: int) -> PromptEncoder:
        """Read a ``tokenizer.json``.

        Args:
            path: of the file.
            spec: the ``translation.json`` that it must fit.
            max_sequence_tokens: most tokens of a prompt and its answer together.

        Raises:
            ReleaseError: the tokenizer is missing, broken, or does not fit ``spec``.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ReleaseError(
                f"{path} is missing: save the checkpoint's fast tokenizer and rebuild"
            ) from error
        except (OSError, ValueError) as error:
            raise ReleaseError(f"{path} cannot be read: {error}") from error
        named = {*spec.stop_tokens, *(language.prompt for language in spec.languages.values())}
        written_ids = declare_control_tokens(document, named)
        return cls(_parse(path, document), spec, max_sequence_tokens, written_ids=written_ids)

    def encode(self, texts: Sequence[PromptText], max_new_tokens: int | None = None) -> list[EncodedPrompt]:
        """The prompts of ``texts``, in order.

        Args:
            texts: what is to be translated.
            max_new_tokens: the caller's bound for each answer; None leaves the release's.

        Raises:
            TextTooLong: a text has more tokens than the release takes.
            UnencodableText: a text cannot be written without control tokens, or comes to no token at all.
        """
        for text in texts:  # before the others are tokenized
            if (fault := self._size_fault(text)) is not None:
                raise fault
        prompts = []
        for prompt in self._each(texts, max_new_tokens):  # up to the first error alone
            if isinstance(prompt, YiwenError):
                raise prompt
            prompts.append(prompt)
        return prompts

    def encode_each(
        self, texts: Sequence[PromptText], max_new_tokens: int | None = None
    ) -> list[EncodedPrompt | YiwenError]:
        """As :meth:`encode`, with an error in the place of each prompt that cannot be made."""
        return list(self._each(texts, max_new_tokens))

    def _each(
        self, texts: Sequence[PromptText], max_new_tokens: int | None
    ) -> Iterator[EncodedPrompt | YiwenError]:
        """The prompts of :meth:`encode_each`, tokenized a group at a time as they are asked for."""
        faults = [self._size_fault(text) for text in texts]
        fitting = [text for text, fault in zip(texts, faults, strict=True) if fault is None]
        tokens = (ids for group in self._groups(fitting) for ids in self._span_ids(group))
        for text, fault in zip(texts, faults, strict=True):
            yield fault or self._prompt_or_error(text, next(tokens), max_new_tokens)

    def fits(self, text: str) -> bool:
        """Whether the release takes ``text`` as one: False if :meth:`encode` would raise :class:`TextTooLong`."""
        limit = self._fits_tokens
        # Few tokens are shorter than a byte, so that most texts need no counting.
        size = _size(text, limit)
        if size <= limit:
            return True
        if size > self.max_source_bytes:
            return False
        (ids,) = self._encode_batch([text])
        if len(ids) > limit:
            return False
        if len(self._counted) >= _COUNTED_TEXTS:
            self._counted.clear()
        self._counted[text] = ids
        return True

    def count_tokens(self, text: str) -> int:
        """The number of tokens of a text without its template."""
        return len(self._encode_batch([text])[0])

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of generated ids, without control tokens. Bytes that are no character become U+FFFD."""
        parts: list[str] = []
        run: list[int] = []
        for token_id in token_ids:
            if token_id in self._undecodable:
                parts += [self._decode_run(run), self._undecodable[token_id]]
                run = []
            elif token_id not in self._dropped_ids:
                run.append(token_id)
        return "".join([*parts, self._decode_run(run)])

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """Each token as the vocabulary writes it."""
        return [str(self._tokenizer.id_to_token(token_id)) for token_id in token_ids]

    def _decode_run(self, token_ids: list[int]) -> str:
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=False)) if token_ids else ""

    def _groups(self, texts: Sequence[PromptText]) -> Iterator[Sequence[PromptText]]:
        """``texts``, in order, in groups of :data:`GROUP_CHARACTERS` at most; a longer text alone."""
        start, characters = 0, 0
        for at, text in enumerate(texts):
            span = self._span(text)
            size = len(span.prefix) + len(text.text) + len(span.suffix)
            characters += size
            if at > start and characters > GROUP_CHARACTERS:
                yield texts[start:at]
                start, characters = at, size
        if start < len(texts):
            yield texts[start:]

    def _span(self, text: PromptText) -> TemplateSpan:
        return self._spans[text.source, text.target]

    def _span_ids(self, texts: Sequence[PromptText]) -> list[list[int]]:
        """The ids of each text with what the template has around it, up to the next control tokens."""
        if self._recognizing is None:
            known = [self._counted_ids(text) for text in texts]
        else:
            known = self._recognized_ids(self._recognizing, texts)
        strings = [
            self._span(text).around(text.text) for text, ids in zip(texts, known, strict=True) if ids is None
        ]
        encoded = iter(self._encode_batch(strings))
        return [next(encoded) if ids is None else ids for ids in known]

    def _recognized_ids(self, tokenizer: Tokenizer, texts: Sequence[PromptText]) -> list[list[int] | None]:
        """The same, encoded between the control tokens; None for texts that spell one out."""
        encoded = _encode_strings(tokenizer, [self._span(text).whole(text.text) for text in texts])
        return [
            self._span(text).inner_ids(ids, self._control_ids)
            for text, ids in zip(texts, encoded, strict=True)
        ]

    def _counted_ids(self, text: PromptText) -> list[int] | None:
        """The same if the template does not touch the text and :meth:`fits` has tokenized it."""
        return None if self._span(text).affix_tokens else self._counted.pop(text.text, None)

    def _encode_batch(self, texts: list[str]) -> list[list[int]]:
        return _encode_strings(self._tokenizer, texts)

    def _size_fault(self, text: PromptText) -> TextTooLong | None:
        size = _size(text.text, self.max_source_bytes)
        if size <= self.max_source_bytes:
            return None
        return TextTooLong(text.index, size, self.max_source_bytes, "bytes")

    def _prompt_or_error(
        self, text: PromptText, ids: list[int], max_new_tokens: int | None
    ) -> EncodedPrompt | YiwenError:
        try:
            return self._prompt(text, ids, max_new_tokens)
        except YiwenError as error:
            return error

    def _prompt(self, text: PromptText, ids: list[int], max_new_tokens: int | None) -> EncodedPrompt:
        span = self._span(text)
        limit = self._source_limit(span.tokens)
        size = len(ids) - span.affix_tokens
        if span.affix_tokens and not 0 < size <= limit - _COUNT_WITHIN:
            # Tokens at the joins count as one or the other, and fits() knows the text alone.
            counted = self._counted.pop(text.text, None)
            size = len(self._encode_batch([text.text])[0] if counted is None else counted)
        excess = max(
            size - limit, len(span.before) + len(ids) + len(span.after) + 1 - self._max_sequence_tokens
        )
        if excess > 0:
            raise TextTooLong(text.index, size, size - excess)
        if not size:
            raise UnencodableText(text.index, "the release's tokenizer knows none of its characters")
        if not self._control_ids.isdisjoint(ids):
            raise UnencodableText(
                text.index,
                "it spells out a control token that this release's tokenizer cannot write as plain characters; "
                "put a space inside it",
            )
        prompt = (*span.before, *ids, *span.after)
        return EncodedPrompt(prompt, self._budget(size, len(prompt), max_new_tokens))

    def _source_limit(self, template_tokens: int) -> int:
        """Most tokens of a text, with one left for the answer."""
        return min(self.spec.limits.max_source_tokens, self._max_sequence_tokens - template_tokens - 1)

    def _budget(self, source_tokens: int, prompt_tokens: int, max_new_tokens: int | None) -> int:
        budget = min(self.spec.limits.new_tokens(source_tokens), self._max_sequence_tokens - prompt_tokens)
        return max(1, budget if max_new_tokens is None else min(budget, max_new_tokens))


def _size(text: str, limit: int) -> int:
    """Length of ``text`` in UTF-8 bytes; ``limit`` where it is clear without counting that it is no more."""
    return limit if len(text) * 4 <= limit else len(text.encode())


def _encode_strings(tokenizer: Tokenizer, strings: list[str]) -> list[list[int]]:
    if sum(map(len, strings)) <= ONE_BY_ONE_CHARACTERS:
        return [tokenizer.encode_batch_fast([string], add_special_tokens=False)[0].ids for string in strings]
    return [each.ids for each in tokenizer.encode_batch_fast(strings, add_special_tokens=False)]


def byte_token_ids(vocabulary: Mapping[str, int]) -> frozenset[int]:
    """Ids of the tokens that stand for one byte each (``<0x0A>``), as SentencePiece vocabularies have them.

    A run of them is decoded together: one byte too many turns all of them into replacement characters.
    """
    return frozenset(token_id for token, token_id in vocabulary.items() if _BYTE_TOKEN.fullmatch(token))


def _parse(path: Path, document: dict[str, Any]) -> Tokenizer:
    try:
        return Tokenizer.from_str(json.dumps(document))
    except Exception as error:  # the library raises plain Exception for any document that it cannot read
        raise ReleaseError(f"{path} is not a tokenizer that this version reads: {error}") from error


def _control_ids(tokenizer: Tokenizer, spec: TranslationSpec) -> frozenset[int]:
    ids = {token_id for token_id, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    for token in spec.stop_tokens:
        token_id = tokenizer.token_to_id(token)
        if token_id is None:
            raise ReleaseError(
                f"stop token {token!r} of translation.json is not in the tokenizer's vocabulary"
            )
        ids.add(token_id)
    return frozenset(ids)


def _undecodable(tokenizer: Tokenizer, dropped_ids: Collection[int]) -> dict[int, str]:
    """Added tokens of text that the tokenizer's own decoder cannot give back, with their text.

    A byte-level decoder takes an added ``ö`` for the byte that it writes as ``ö``. DeepSeek LLM has such tokens.
    """
    added = tokenizer.get_added_tokens_decoder().items()
    content = {token_id: token.content for token_id, token in added if token_id not in dropped_ids}
    return {
        token_id: text
        for token_id, text in content.items()
        if REPLACEMENT in tokenizer.decode([token_id], skip_special_tokens=False)
    }
