"""Turns texts into a release's prompts (token ids), and generated token ids back into text.

The transformer, int8 calibration and ``yiwen release verify`` all use :class:`PromptEncoder`, so that the ids they
work with are the ids that are served. It uses the release's own tokenizer, without torch and without Hugging Face
transformers.

A prompt has the ids that the tokenizer gives the whole prompt as one string. In the template a control token
(``<|im_end|>``) is one token; in a text, its context and its terms it is plain characters, so that no text can end
itself, change the language, or write the model's part of a conversation: what is between the template's control
tokens is then encoded as one string with control tokens switched off (:mod:`protocol.prompt_template`).

Of this package only this module runs ``tokenizers``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from protocol.control_tokens import declare_control_tokens
from protocol.errors import TooLong, YiwenError
from protocol.fast_dataclass import fast_dataclass
from protocol.prompt_errors import TextTooLong, UnencodableText
from protocol.prompt_filling import Filling, PromptFiller
from protocol.prompt_filling import PromptText as PromptText
from protocol.prompt_template import TemplateSpan, depends_on_place
from protocol.release import TOKENIZER_DIR, TOKENIZER_FILE, TRANSLATION_FILE, load_release
from protocol.release_documents import ReleaseError
from protocol.token_bytes import byte_token_ids, bytes_per_token
from protocol.translation_spec import TranslationSpec, load_translation_spec
from protocol.vocabulary_ids import REPLACEMENT as REPLACEMENT
from protocol.vocabulary_ids import control_ids, undecodable_ids

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


@fast_dataclass(frozen=True, slots=True)
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
        self._control_ids = control_ids(tokenizer, spec)
        document = json.loads(tokenizer.to_str())
        token_bytes = bytes_per_token(document)
        self.max_context_bytes = max(ALWAYS_COUNTED_BYTES, spec.context_tokens * token_bytes)
        """A context of more UTF-8 bytes is refused without being tokenized."""
        recognizing = Tokenizer.from_str(tokenizer.to_str()) if spec.all_sections else tokenizer
        self._filler = PromptFiller(
            spec,
            recognizing,
            self._control_ids,
            count=lambda texts: list(map(len, self._encode_batch(texts))),
            max_context_bytes=self.max_context_bytes,
        )
        templates = self._filler.plain_templates
        self.template_tokens = max(template.tokens for template in templates)
        """Tokens that a prompt has besides its text, without optional sections: the most of all language pairs."""
        self._fits_tokens = self._source_limit(self.template_tokens)
        shortest = min(template.tokens for template in templates)
        self.max_source_bytes = max(ALWAYS_COUNTED_BYTES, self._source_limit(shortest) * token_bytes)
        """A text of more UTF-8 bytes is refused without being tokenized: it has too many tokens."""
        self._counted: dict[str, list[int]] = {}
        spans = [span for template in templates for span in template.spans]
        self._depends_on_place = depends_on_place(document, spans, tokenizer.get_added_tokens_decoder())
        self._recognizing: Tokenizer | None = None
        """A second tokenizer, which recognizes control tokens, if a span's ids may depend on its place."""
        if self._filler.has_sections:
            self._recognizing = recognizing
        elif self._depends_on_place:
            self._recognizing = Tokenizer.from_str(tokenizer.to_str())
        tokenizer.encode_special_tokens = True
        self._dropped_ids = self._control_ids - frozenset(written_ids)
        self._undecodable = undecodable_ids(tokenizer, self._dropped_ids)
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
            ContextTooLong: its context has.
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
        fillings = [self._size_fault(text) or self._filler.filling(text) for text in texts]
        fitting = [each for each in fillings if isinstance(each, Filling)]
        tokens = (ids for group in _groups(fitting) for ids in self._span_ids(group))
        for filling in fillings:
            if isinstance(filling, Filling):
                yield self._prompt_or_error(filling, next(tokens), max_new_tokens)
            else:
                yield filling

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

    def most_prompt_tokens(self) -> int:
        """Tokens of the longest prompt that the limits allow, whatever sections it has. Takes time."""
        return self._filler.most_tokens() + self.spec.limits.max_source_tokens

    def count_tokens(self, text: str) -> int:
        """The number of tokens of a text without its template."""
        return len(self.encode_text(text))

    def encode_text(self, text: str) -> list[int]:
        """The ids of a text without its template; control tokens that it spells out are plain characters."""
        return self._encode_batch([text])[0]

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

    def _span_ids(self, fillings: Sequence[Filling]) -> list[list[list[int]]]:
        """The ids of the spans of each text, up to the next control tokens."""
        known = self._known_ids(fillings)
        if self._recognizing is None:  # then every template has one span
            strings = [
                each.template.spans[0].around(each.values)
                for each, ids in zip(fillings, known, strict=True)
                if ids is None
            ]
            new = iter(self._encode_batch(strings))
            return [[next(new)] if ids is None else [ids] for ids in known]
        spans = [(span, filling) for filling in fillings for span in filling.template.spans]
        strings = [
            span.around(filling.values)
            for (span, filling), ids in zip(spans, known, strict=True)
            if ids is None
        ]
        encoded = iter(self._encode_batch(strings))
        ids_of_spans = iter([next(encoded) if ids is None else ids for ids in known])
        return [list(islice(ids_of_spans, len(filling.template.spans))) for filling in fillings]

    def _known_ids(self, fillings: Sequence[Filling]) -> list[list[int] | None]:
        """The ids of all spans as far as they are known, or found in their places: None for the others."""
        if self._recognizing is None:
            return [self._counted_ids(filling) for filling in fillings]
        in_place = [
            (span, filling)
            for filling in fillings
            if self._depends_on_place or filling.is_variant
            for span in filling.template.spans
        ]
        found = iter(self._recognized_ids(self._recognizing, in_place))
        return [
            next(found) if self._depends_on_place or filling.is_variant else self._counted_ids(filling)
            for filling in fillings
            for _ in filling.template.spans
        ]

    def _recognized_ids(
        self, tokenizer: Tokenizer, spans: Sequence[tuple[TemplateSpan, Filling]]
    ) -> list[list[int] | None]:
        """The ids of spans, encoded between the control tokens; None where one is spelled out in the span."""
        encoded = _encode_strings(tokenizer, [span.whole(filling.values) for span, filling in spans])
        return [span.inner_ids(ids, self._control_ids) for (span, _), ids in zip(spans, encoded, strict=True)]

    def _counted_ids(self, filling: Filling) -> list[int] | None:
        """The same if the template does not touch the text and :meth:`fits` has tokenized it."""
        if filling.template.affix_tokens:
            return None
        return self._counted.pop(filling.text.text, None)

    def _encode_batch(self, texts: list[str]) -> list[list[int]]:
        return _encode_strings(self._tokenizer, texts)

    def _size_fault(self, text: PromptText) -> TooLong | None:
        size = _size(text.text, self.max_source_bytes)
        if size > self.max_source_bytes:
            return TextTooLong(text.index, size, self.max_source_bytes, "bytes")
        return self._filler.size_fault(text)

    def _prompt_or_error(
        self, filling: Filling, span_ids: list[list[int]], max_new_tokens: int | None
    ) -> EncodedPrompt | YiwenError:
        try:
            return self._prompt(filling, span_ids, max_new_tokens)
        except YiwenError as error:
            return error

    def _prompt(
        self, filling: Filling, span_ids: list[list[int]], max_new_tokens: int | None
    ) -> EncodedPrompt:
        text, template = filling.text, filling.template
        limit = self._source_limit(template.tokens + filling.added_tokens)
        size = self._text_tokens(filling, span_ids, limit)
        prompt = template.joined(span_ids)
        excess = max(size - limit, len(prompt) + 1 - self._max_sequence_tokens)
        if excess > 0:
            raise TextTooLong(text.index, size, size - excess)
        if not size:
            raise UnencodableText(text.index, "the release's tokenizer knows none of its characters")
        if not all(map(self._control_ids.isdisjoint, span_ids)):
            what = "it, its context or a term of it" if filling.is_variant else "it"
            raise UnencodableText(
                text.index,
                f"{what} spells out a control token that this release's tokenizer cannot write as plain characters; "
                "put a space inside it",
            )
        return EncodedPrompt(prompt, self._budget(size, len(prompt), max_new_tokens))

    def _text_tokens(self, filling: Filling, span_ids: list[list[int]], limit: int) -> int:
        """Tokens of the text alone; tokens at its joins count as its own unless it is near ``limit``."""
        template, text = filling.template, filling.text.text
        affixes = template.affix_tokens
        if template.is_plain:
            size = len(span_ids[0]) - affixes
            if not affixes or 0 < size <= limit - _COUNT_WITHIN:
                return size
        # Tokens at the joins count as one or the other, and fits() knows the text alone.
        counted = self._counted.pop(text, None)
        return len(self._encode_batch([text])[0] if counted is None else counted)

    def _source_limit(self, template_tokens: int) -> int:
        """Most tokens of a text, with one left for the answer."""
        return min(self.spec.limits.max_source_tokens, self._max_sequence_tokens - template_tokens - 1)

    def _budget(self, source_tokens: int, prompt_tokens: int, max_new_tokens: int | None) -> int:
        budget = min(self.spec.limits.new_tokens(source_tokens), self._max_sequence_tokens - prompt_tokens)
        return max(1, budget if max_new_tokens is None else min(budget, max_new_tokens))


def _groups(fillings: Sequence[Filling]) -> Iterator[Sequence[Filling]]:
    """``fillings``, in order, in groups of :data:`GROUP_CHARACTERS` at most; a longer text alone."""
    start, characters = 0, 0
    for at, filling in enumerate(fillings):
        size = filling.characters
        characters += size
        if at > start and characters > GROUP_CHARACTERS:
            yield fillings[start:at]
            start, characters = at, size
    if start < len(fillings):
        yield fillings[start:]


def _size(text: str, limit: int) -> int:
    """Length of ``text`` in UTF-8 bytes; ``limit`` where it is clear without counting that it is no more."""
    return limit if len(text) * 4 <= limit else len(text.encode())


def _encode_strings(tokenizer: Tokenizer, strings: list[str]) -> list[list[int]]:
    if sum(map(len, strings)) <= ONE_BY_ONE_CHARACTERS:
        return [tokenizer.encode_batch_fast([string], add_special_tokens=False)[0].ids for string in strings]
    return [each.ids for each in tokenizer.encode_batch_fast(strings, add_special_tokens=False)]


def _parse(path: Path, document: dict[str, Any]) -> Tokenizer:
    try:
        return Tokenizer.from_str(json.dumps(document))
    except Exception as error:  # the library raises plain Exception for any document that it cannot read
        raise ReleaseError(f"{path} is not a tokenizer that this version reads: {error}") from error
