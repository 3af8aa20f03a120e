"""Text to token ids and back, by the release's own tokenizer. No torch, no Hugging Face model library.

A prompt is the template's ids before the text, the text's ids, and the template's ids after it, encoded apart. In the
template special tokens mean what they say; in a text they are mere characters, so no text can change languages, end
itself, or write the model's part: :meth:`PromptTokenizer.encode` never lets a control token out of a text.

It knows nothing of requests but the index that an error names. The predictor never sees text.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from protocol.release import TOKENIZER_DIR, ReleaseError, TranslationSpec
from transformer.errors import TextTooLong, UnusableText
from transformer.tokens.detokenizer import byte_token_ids

TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the predictor continues for one text."""

    token_ids: tuple[int, ...]
    max_new_tokens: int
    """Budget of the answer, its stop token included; >= 1."""


@dataclass(frozen=True, slots=True)
class TextToEncode:
    """One text of a request."""

    index: int
    """Its place in the request, for messages."""
    text: str
    source: str
    target: str


class PromptTokenizer:
    """The tokenizer of one release, its template encoded beforehand for every pair. Safe to use from many threads."""

    def __init__(self, tokenizer: Tokenizer, spec: TranslationSpec, max_sequence_tokens: int) -> None:
        """Encode the template of every pair, then close the tokenizer to special tokens.

        Args:
            tokenizer: owned from here on; its settings are changed.
            spec: the release's ``translation.json``.
            max_sequence_tokens: prompt and answer together.

        Raises:
            ReleaseError: template or stop tokens do not fit the tokenizer.
        """
        self._limits = spec.limits
        self._max_sequence_tokens = max_sequence_tokens
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = False
        self._parts = {pair: _template_ids(tokenizer, spec, pair) for pair in spec.pairs}
        longest = max(len(before) + len(after) for before, after in self._parts.values())
        self._source_limit = min(spec.limits.max_source_tokens, max_sequence_tokens - longest - 1)
        self._control_ids = _control_ids(tokenizer, spec)
        tokenizer.encode_special_tokens = True
        self._undecodable = _undecodable(tokenizer, self._control_ids)
        self.unsettled_ids = byte_token_ids(tokenizer.get_vocab()) | self._control_ids
        """As :class:`transformer.tokens.detokenizer.Detokenizer` needs them."""
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[TextToEncode], max_new_tokens: int | None) -> list[Prompt]:
        """Prompts for texts whose pairs the release has, in order.

        Args:
            texts: normal texts, none empty.
            max_new_tokens: the caller's bound for each answer, or None.

        Raises:
            TextTooLong: a text has more tokens than the release takes.
            UnusableText: a text cannot be written without control tokens, or comes to no token at all.
        """
        encodings = self._encode_batch([text.text for text in texts])
        return [self._prompt(*each, max_new_tokens) for each in zip(texts, encodings, strict=True)]

    def fits(self, text: str) -> bool:
        """Whether the release takes ``text`` as one: whether :meth:`encode` would not find it too long."""
        limit = self._source_limit
        # Few tokens are shorter than a byte, so that most texts need no counting.
        if len(text) * 4 <= limit or len(text.encode()) <= limit:
            return True
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids) <= limit

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of generated ids; control tokens leave no trace, ids cut inside a character become U+FFFD."""
        parts: list[str] = []
        run: list[int] = []
        for token_id in token_ids:
            if token_id in self._undecodable:
                parts += [self._decode_run(run), self._undecodable[token_id]]
                run = []
            elif token_id not in self._control_ids:
                run.append(token_id)
        return "".join([*parts, self._decode_run(run)])

    def _decode_run(self, token_ids: list[int]) -> str:
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=False)) if token_ids else ""

    def _encode_batch(self, texts: list[str]) -> list[list[int]]:
        if len(texts) == 1:  # waking the tokenizer's threads takes longer than one short text
            return [self._tokenizer.encode(texts[0], add_special_tokens=False).ids]
        return [each.ids for each in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def _prompt(self, text: TextToEncode, ids: list[int], max_new_tokens: int | None) -> Prompt:
        before, after = self._parts[text.source, text.target]
        room = self._max_sequence_tokens - len(before) - len(after) - 1
        limit = min(self._limits.max_source_tokens, room)
        if len(ids) > limit:
            raise TextTooLong(text.index, len(ids), limit)
        if not ids:
            raise UnusableText(text.index, "the release's tokenizer knows none of its characters")
        if not self._control_ids.isdisjoint(ids):
            raise UnusableText(
                text.index,
                "it spells out a control token that this release's tokenizer cannot write as plain characters; "
                "put a space inside it",
            )
        budget = self._limits.new_tokens(len(ids))
        if max_new_tokens is not None:
            budget = min(budget, max_new_tokens)
        return Prompt((*before, *ids, *after), max(1, min(budget, room + 1 - len(ids))))


def load_tokenizer(release: Path, spec: TranslationSpec, max_sequence_tokens: int) -> PromptTokenizer:
    """Read a release's tokenizer.

    Raises:
        ReleaseError: it is missing, broken, or does not fit ``translation.json``.
    """
    path = release / TOKENIZER_DIR / TOKENIZER_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ReleaseError(f"{path} is missing: save the checkpoint's fast tokenizer and rebuild") from error
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{path} cannot be read: {error}") from error
    return PromptTokenizer(_parse(path, _mark_control_tokens(document, spec)), spec, max_sequence_tokens)


def is_control_token(content: str, *, special: bool, named: Collection[str]) -> bool:
    """Whether an added token steers the model, rather than spelling text.

    Special ones do, and those that ``named`` holds. Of the others, markup does (``<think>``), while letters and white
    space that a tokenizer adds to its vocabulary are text.
    """
    if special or content in named:
        return True
    return len(content) > 1 and not all(character.isalpha() or character.isspace() for character in content)


def _mark_control_tokens(document: dict[str, Any], spec: TranslationSpec) -> dict[str, Any]:
    """Control tokens that the checkpoint did not declare special become so: only special ones can be switched off."""
    named = {*spec.stop_tokens, *(language.prompt for language in spec.languages.values())}
    for token in document.get("added_tokens") or ():
        token["special"] = is_control_token(token["content"], special=token["special"], named=named)
    return document


def _parse(path: Path, document: dict[str, Any]) -> Tokenizer:
    try:
        return Tokenizer.from_str(json.dumps(document))
    except Exception as error:
        raise ReleaseError(f"{path} is not a tokenizer that this version reads: {error}") from error


def _template_ids(
    tokenizer: Tokenizer, spec: TranslationSpec, pair: tuple[str, str]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    before, after = (
        tuple(tokenizer.encode(part, add_special_tokens=False).ids) if part else ()
        for part in spec.template_parts(*pair)
    )
    return before, after


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


def _undecodable(tokenizer: Tokenizer, control_ids: Collection[int]) -> dict[int, str]:
    """Added tokens that spell text which the tokenizer itself cannot give back, with that text.

    A byte-level decoder takes an added ``ö`` for the byte that it writes as ``ö``. DeepSeek LLM has such tokens.
    """
    added = tokenizer.get_added_tokens_decoder().items()
    spelling = {token_id: token.content for token_id, token in added if token_id not in control_ids}
    return {
        i: text
        for i, text in spelling.items()
        if "\ufffd" in tokenizer.decode([i], skip_special_tokens=False)
    }
