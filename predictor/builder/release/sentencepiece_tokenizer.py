"""Converts a checkpoint's ``tokenizer.model`` into what a release needs, a ``tokenizer.json``.

``tokenizer_config.json`` says what SentencePiece does not know: whether prompts begin with BOS, which tokens were
added later, and where the space goes that SentencePiece puts before a text. The rules are those of ``LlamaTokenizer``
and ``GemmaTokenizer`` in Hugging Face transformers, which the models were trained with. Then the ids are compared
with those of the SentencePiece library (:mod:`predictor.builder.release.sentencepiece_check`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors

from predictor.builder.checkpoint.directory import check_no_pointer
from predictor.builder.errors import BrokenText
from predictor.builder.release.optional_json import read_optional_json
from predictor.builder.release.piece_vocabulary import (
    SPACE,
    add_tokens,
    bpe_model,
    piece_decoder,
    space_before,
    unigram_model,
    whole_tokens,
)
from predictor.builder.release.sentencepiece_check import Prefix, check_same_ids
from predictor.builder.release.sentencepiece_model import (
    TAKE_ANOTHER,
    SentencePieceModel,
    read_sentencepiece_model,
)

SENTENCEPIECE_FILE = "tokenizer.model"
_CLASSES = ("LlamaTokenizer", "LlamaTokenizerFast", "GemmaTokenizer", "GemmaTokenizerFast")
"""Of transformers: their ids are those of the file."""
_ALL_SPACES = 1000
"""Leading spaces of an answer that are taken away where the model trims texts."""


@dataclass(frozen=True, slots=True)
class _Settings:
    """What the files beside a ``tokenizer.model`` say."""

    path: Path
    """Of tokenizer_config.json."""
    document: Mapping[str, Any]
    added: Mapping[int, AddedToken]
    """Tokens by id."""

    def named(self) -> dict[str, str]:
        """The special tokens by name, such as bos_token."""
        fields = {name: value for name, value in self.document.items() if name.endswith("_token")}
        texts = {
            name: value.get("content") if isinstance(value, dict) else value for name, value in fields.items()
        }
        return {name: text for name, text in texts.items() if isinstance(text, str) and text}


def tokenizer_of_sentencepiece(directory: Path) -> Tokenizer:
    """The tokenizer of a checkpoint that has a ``tokenizer.model``; its ids are those of the SentencePiece library.

    Raises:
        BrokenText: a file is broken or has rules that are not followed here, or a text gets other ids.
        ModuleNotFoundError: the package sentencepiece is missing.
    """
    check_no_pointer(directory / SENTENCEPIECE_FILE)
    settings, model = _settings(directory), read_sentencepiece_model(directory / SENTENCEPIECE_FILE)
    prefix = _prefix(model, settings)
    tokenizer = _plain_tokenizer(model, prefix)
    _add_tokens(tokenizer, model, settings)
    _begin(tokenizer, model, settings)
    check_same_ids(tokenizer, model, prefix)
    return tokenizer


def _settings(directory: Path) -> _Settings:
    path = directory / "tokenizer_config.json"
    document = read_optional_json(path)
    name = document.get("tokenizer_class")
    if name is not None and name not in _CLASSES:
        raise BrokenText(
            f"{path}: tokenizer_class is {name!r}, and what it does with {SENTENCEPIECE_FILE} is not known here; "
            f"known are {', '.join(_CLASSES)}: {TAKE_ANOTHER}"
        )
    return _Settings(path, document, _added_tokens(document, path))


def _added_tokens(document: Mapping[str, Any], path: Path) -> dict[int, AddedToken]:
    """The tokens of ``added_tokens.json`` and of ``tokenizer_config.json``, by id, in its order."""
    older_path = path.with_name("added_tokens.json")
    try:
        older = {int(token_id): AddedToken(text) for text, token_id in read_optional_json(older_path).items()}
        newer = {
            int(at): _added_token(entry) for at, entry in document.get("added_tokens_decoder", {}).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BrokenText(
            f"{path}: added_tokens_decoder, or {older_path.name}, is not as transformers writes it; fetch it again"
        ) from error
    return dict(sorted({**older, **newer}.items()))


def _added_token(entry: Mapping[str, Any]) -> AddedToken:
    flags = {name: entry.get(name, False) for name in ("single_word", "lstrip", "rstrip", "special")}
    return AddedToken(entry["content"], normalized=entry.get("normalized", False), **flags)


def _prefix(model: SentencePieceModel, settings: _Settings) -> Prefix:
    """Where a space is added; without the field ``legacy`` as transformers did it when it had no such field."""
    if not model.adds_prefix or settings.document.get("add_prefix_space") is False:
        return Prefix.NONE
    return Prefix.FIRST if settings.document.get("legacy") is False else Prefix.ALWAYS


def _plain_tokenizer(model: SentencePieceModel, prefix: Prefix) -> Tokenizer:
    """The tokenizer of text, without a token that text is never merged into."""
    pieces, fallback = model.pieces, model.byte_fallback
    tokenizer = Tokenizer(
        unigram_model(pieces, unknown=model.unknown, byte_fallback=fallback)
        if model.is_unigram
        else bpe_model(pieces, unknown=pieces[model.unknown].text, byte_fallback=fallback)
    )
    steps = _character_steps(model)
    if model.trims_spaces:
        steps.append(normalizers.Replace(Regex(rf"\A +|[ {SPACE}]+\z"), ""))
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    if prefix is Prefix.ALWAYS:
        steps.append(space_before(pieces))
    if prefix is Prefix.FIRST:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="first", split=False)
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    added = 0 if prefix is Prefix.NONE else 1
    tokenizer.decoder = piece_decoder(leading_spaces=_ALL_SPACES if model.trims_spaces else added)
    return tokenizer


def _character_steps(model: SentencePieceModel) -> list[normalizers.Normalizer]:
    """What normalizes characters: the map, and before it what ``tokenizers`` applies it to wrongly."""
    if not model.character_map:
        return []
    steps: list[normalizers.Normalizer] = []
    if "nfkc" in model.normalization:
        steps.append(normalizers.NFC())  # a base and its marks of six bytes are looked up one by one
    if "nmt" in model.normalization:
        steps.append(normalizers.Replace(Regex(r"\r(?=\n)"), " "))  # the two are looked up as one
    return [*steps, normalizers.Precompiled(model.character_map)]


def _add_tokens(tokenizer: Tokenizer, model: SentencePieceModel, settings: _Settings) -> None:
    """Declare the tokens that text is never merged into, of the model and of the settings.

    Raises:
        BrokenText: a token of the settings would get another id.
    """
    tokens = whole_tokens(model.pieces, tokenizer.normalizer)
    for token in settings.added.values():
        if token.special or token.content not in tokens:
            tokens[token.content] = token
    for text in settings.named().values():
        if tokenizer.token_to_id(text) is not None:
            tokens.setdefault(text, AddedToken(text, normalized=False, special=True))
    add_tokens(tokenizer, tokens.values())
    for token_id, token in settings.added.items():
        found = tokenizer.token_to_id(token.content)
        if found != token_id:
            raise BrokenText(
                f"{settings.path}: {token.content!r} is to have id {token_id}, but gets {found} behind the "
                f"{len(model.pieces)} pieces of {SENTENCEPIECE_FILE}: {TAKE_ANOTHER}"
            )


def _begin(tokenizer: Tokenizer, model: SentencePieceModel, settings: _Settings) -> None:
    """Let texts begin with BOS, unless the settings say no."""
    own = model.pieces[model.begin].text if 0 <= model.begin < len(model.pieces) else None
    token = settings.named().get("bos_token", own)
    token_id = None if token is None else tokenizer.token_to_id(token)
    if settings.document.get("add_bos_token", True) and token_id is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[token, "$A"], pair=[token, "$A", "$B"], special_tokens=[(token, token_id)]
        )
