"""Checks that ``translation.json`` agrees with the tokenizer and with the checkpoint's configuration."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from predictor.builder.errors import BrokenText
from protocol.suggestions import did_you_mean
from protocol.template_sections import present_sets, shown
from protocol.translation_spec import TranslationSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SAMPLE = "Where is my order? It is No. 12, I think."
_LOOKS_SPECIAL = re.compile(r"<[^<>\s]+>")
_LOOKS_LIKE_CONTROL = re.compile(r"<[|｜][^<>\s]*>|<[^<>\s]*[|｜]>|</?[a-z]+(?:_[a-z]+)+>")
"""``<|im_end|>``, ``<｜User｜>``, ``<end_of_turn>``: nobody writes these as text in a prompt."""


def check_templates(tokenizer: Tokenizer, spec: TranslationSpec, path: Path) -> None:
    """Check the control tokens of all templates.

    Args:
        tokenizer: of the checkpoint.
        spec: the content of ``path``.
        path: of the ``translation.json``, for messages.

    Raises:
        BrokenText: what looks like a control token is none, or the tokenizer's first token is missing or doubled.
    """
    for tag, language in spec.languages.items():
        if _LOOKS_SPECIAL.fullmatch(language.prompt) and tokenizer.token_to_id(language.prompt) is None:
            raise BrokenText(
                f"{path}: the prompt of language {tag} is {language.prompt!r}, "
                "which looks like a special token, but the tokenizer has no such token"
            )
    start = start_of_prompts(tokenizer)
    for template in dict.fromkeys(spec.template_of(*pair) for pair in spec.pairs):
        _check_control_tokens(tokenizer, template, path)
        for present in present_sets(template):
            _check_start(shown(template, present), start, path)


def check_stop_tokens(tokenizer: Tokenizer, spec: TranslationSpec, checkpoint: Path, path: Path) -> None:
    """Check that every token that ends the checkpoint's answers is a stop token.

    Args:
        tokenizer: of the checkpoint.
        spec: the content of ``path``.
        checkpoint: directory with ``config.json``, and ``generation_config.json`` if there is one.
        path: of the ``translation.json``, for messages.

    Raises:
        BrokenText: one is missing.
    """
    missing = [token for token in end_tokens(tokenizer, checkpoint) if token not in spec.stop_tokens]
    if missing:
        raise BrokenText(
            f"{path}: stop_tokens lacks {', '.join(map(repr, missing))}, which eos_token_id of the checkpoint names: "
            "answers would go on behind their end; add it to stop_tokens"
        )


def check_round_trip(tokenizer: Tokenizer, path: Path, samples: Iterable[str] = (_SAMPLE,)) -> None:
    """Check that texts come back as they were; a file that was converted wrongly loses the spaces between words.

    Case, Unicode form and spaces at the ends may change, and characters that the vocabulary does not have.

    Args:
        tokenizer: of the checkpoint.
        path: of its file, for messages.
        samples: the texts.

    Raises:
        BrokenText: text does not come back.
    """
    for sample in samples:
        _check_comes_back(tokenizer, path, sample)


def _check_comes_back(tokenizer: Tokenizer, path: Path, sample: str) -> None:
    encoding = tokenizer.encode(sample, add_special_tokens=False)
    unknown = getattr(tokenizer.model, "unk_token", None)
    if not encoding.ids or unknown in encoding.tokens:
        return
    back = tokenizer.decode(encoding.ids, skip_special_tokens=False)
    if _folded(back) != _folded(sample):
        raise BrokenText(
            f"{path}: {sample!r} comes back from the tokenizer as {back!r}: the file is broken, as some versions of "
            "transformers save it; take the tokenizer.json that the model was published with"
        )


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()


def start_of_prompts(tokenizer: Tokenizer) -> str:
    """The token, or tokens, that the tokenizer puts before every prompt (BOS); empty if none."""
    plain, whole = (tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
    count = next((at for at in range(len(whole)) if whole[at : at + len(plain)] == plain), 0)
    return "".join(str(tokenizer.id_to_token(token_id)) for token_id in whole[:count])


def end_tokens(tokenizer: Tokenizer, checkpoint: Path) -> list[str]:
    """The tokens that ``eos_token_id`` of the checkpoint's configurations names, as far as the tokenizer has them."""
    found: dict[str, None] = {}
    for name in ("config.json", "generation_config.json"):
        for token_id in _end_ids(checkpoint / name):
            token = tokenizer.id_to_token(token_id)
            if token is not None:
                found[token] = None
    return list(found)


def _end_ids(path: Path) -> Iterable[int]:
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    if not isinstance(document, dict):
        return ()
    text_config = document.get("text_config")
    holders = (document, text_config if isinstance(text_config, dict) else {})
    ids = next((holder["eos_token_id"] for holder in holders if holder.get("eos_token_id") is not None), ())
    return [each for each in (ids if isinstance(ids, list) else [ids]) if isinstance(each, int)]


def _check_control_tokens(tokenizer: Tokenizer, template: str, path: Path) -> None:
    for token in _LOOKS_LIKE_CONTROL.findall(template):
        if tokenizer.token_to_id(token) is None:
            known = [each.content for each in tokenizer.get_added_tokens_decoder().values()]
            raise BrokenText(
                f"{path}: the template has {token!r}, which the tokenizer does not know{did_you_mean(token, known)}"
            )


def _check_start(template: str, start: str, path: Path) -> None:
    if not start:
        return
    if not template.startswith(start):
        raise BrokenText(
            f"{path}: the tokenizer puts {start!r} before every prompt, and the template does not begin with it: "
            "put it at its beginning, as the model was trained with it"
        )
    if template.startswith(start * 2):
        raise BrokenText(f"{path}: the template begins with {start!r} twice: remove one")
