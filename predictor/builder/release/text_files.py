"""Reads a release's text files (tokenizer, ``translation.json``, glossary) and checks that they fit each other.

Also counts the tokens of the longest prompt and answer. :mod:`protocol.prompt_encoder` encodes the prompts.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import Tokenizer

from predictor.builder.errors import BrokenText
from predictor.builder.release.sentencepiece_tokenizer import SENTENCEPIECE_FILE, tokenizer_of_sentencepiece
from predictor.builder.release.template_checks import check_round_trip, check_stop_tokens, check_templates
from protocol.glossary import GLOSSARY_FILE, load_release_glossary
from protocol.prompt_encoder import PromptEncoder
from protocol.release import TOKENIZER_FILE, TRANSLATION_FILE
from protocol.translation_spec import TranslationSpec, load_translation_spec

OPTIONAL_FILES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)

_SLOW_TOKENIZERS = ("tokenizer.model.v3", "tekken.json", "tiktoken.model")

TRANSLATION_TEMPLATE = (
    '{"schema": 1, "template": "{source}{target}{text}", '
    '"languages": {"en": {"name": "English", "prompt": "<en>", "script": "Latn"}, '
    '"zh": {"name": "Chinese", "prompt": "<zh>", "script": "Hans"}}, '
    '"pairs": [["en", "zh"], ["zh", "en"]], "stop_tokens": ["</s>"], '
    '"limits": {"max_source_tokens": 512, "max_new_tokens": 512, '
    '"new_tokens_per_source_token": 2.0, "extra_new_tokens": 16}}'
)


@dataclass(frozen=True, slots=True)
class TextFiles:
    """The text files that a release copies, checked."""

    tokenizer_files: tuple[Path, ...]
    converted_tokenizer: str | None
    """The ``tokenizer.json`` that was made of a ``tokenizer.model``; None: the checkpoint has one."""
    translation_file: Path
    glossary_file: Path | None
    spec: TranslationSpec
    stop_token_ids: tuple[int, ...]
    longest_sequence: int
    """Tokens of the longest prompt and answer that ``translation.json`` allows."""


def read_text_files(
    checkpoint: Path, translation: Path | None, *, vocab: int, glossary: Path | None = None
) -> TextFiles:
    """Find and check the text files of a release.

    Args:
        checkpoint: holds the tokenizer, and ``translation.json`` unless ``translation`` names another one.
        translation: a ``translation.json``, or None.
        vocab: rows of the model's embedding.
        glossary: a ``glossary.json``; None takes the checkpoint's, if it has one.

    Raises:
        BrokenText: a file is missing or unreadable, a token is unknown, or BOS or a stop token is missing.
        ReleaseError: ``translation.json`` or ``glossary.json`` breaks a rule.
    """
    tokenizer_file = checkpoint / TOKENIZER_FILE
    tokenizer = load_tokenizer(tokenizer_file)
    converted = None if tokenizer_file.exists() else tokenizer.to_str(pretty=True)
    _check_vocabulary(tokenizer, tokenizer_file, vocab)
    check_round_trip(tokenizer, tokenizer_file)
    path = translation or checkpoint / TRANSLATION_FILE
    if not path.exists():
        raise BrokenText(
            f"{path} is missing: write it with `yiwen release template`, take a --recipe, or name one with "
            f"--translation; a template: {TRANSLATION_TEMPLATE}"
        )
    spec = load_translation_spec(path)
    check_templates(tokenizer, spec, path)
    stop_token_ids = tuple(_token_id(tokenizer, token, path) for token in spec.stop_tokens)
    check_stop_tokens(tokenizer, spec, checkpoint, path)
    copied = [checkpoint / name for name in (TOKENIZER_FILE, *OPTIONAL_FILES) if (checkpoint / name).exists()]
    return TextFiles(
        tokenizer_files=tuple(copied),
        converted_tokenizer=converted,
        translation_file=path,
        glossary_file=_glossary_file(checkpoint, glossary, spec),
        spec=spec,
        stop_token_ids=stop_token_ids,
        longest_sequence=_most_prompt_tokens(tokenizer_file, converted, spec) + spec.limits.max_new_tokens,
    )


def _most_prompt_tokens(path: Path, converted: str | None, spec: TranslationSpec) -> int:
    """The tokens of the longest prompt.

    Args:
        path: of the ``tokenizer.json``.
        converted: what is read in its place; None if it is there.
        spec: with the templates.
    """
    with TemporaryDirectory() as directory:
        if converted is not None:
            path = Path(directory) / TOKENIZER_FILE
            path.write_text(converted, encoding="utf-8")
        return PromptEncoder.load_file(path, spec, max_sequence_tokens=sys.maxsize).most_prompt_tokens()


def _glossary_file(checkpoint: Path, glossary: Path | None, spec: TranslationSpec) -> Path | None:
    path = glossary or checkpoint / GLOSSARY_FILE
    if not path.exists():
        if glossary is not None:
            raise BrokenText(f"{path} is missing: name a glossary that is there, or leave --glossary out")
        return None
    load_release_glossary(path, spec.pairs)
    return path


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json``, or convert the ``tokenizer.model`` beside it.

    Raises:
        BrokenText: it is missing or broken, or cannot be converted.
    """
    if not path.exists():
        if path.with_name(SENTENCEPIECE_FILE).exists():
            return tokenizer_of_sentencepiece(path.parent)
        slow = next((name for name in _SLOW_TOKENIZERS if path.with_name(name).exists()), None)
        there = "" if slow is None else f"; {slow} is there, which has to be converted"
        where = "" if slow is None else ", in an environment of its own with transformers and tiktoken"
        raise BrokenText(
            f"{path} is missing{there}: a release needs a fast tokenizer "
            f"(save it with transformers' AutoTokenizer(...).save_pretrained{where})"
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception for any file that it cannot read
        raise BrokenText(f"{path} is not a tokenizer that the tokenizers library reads: {error}") from error


def _check_vocabulary(tokenizer: Tokenizer, path: Path, vocab: int) -> None:
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if largest >= vocab:
        raise BrokenText(
            f"{path} has token id {largest}, but config.json's vocab_size is {vocab}: "
            "tokenizer and weights are of different models"
        )


def _token_id(tokenizer: Tokenizer, token: str, path: Path) -> int:
    token_id = tokenizer.token_to_id(token)
    if token_id is None:
        raise BrokenText(f"{path}: stop token {token!r} is not in the tokenizer")
    return int(token_id)
