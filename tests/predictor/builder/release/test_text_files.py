from __future__ import annotations

import json
from pathlib import Path

import pytest

from predictor.builder.errors import BrokenText
from predictor.builder.release.text_files import TRANSLATION_TEMPLATE, read_text_files
from protocol.release_documents import ReleaseError
from protocol.translation_spec import load_translation_spec
from tests.predictor.builder.checkpoints import edit_json
from tests.releases import SPECIAL_TOKENS, STOP_TOKENS, TRANSLATION

VOCAB = len(SPECIAL_TOKENS) + 256


def test_stop_tokens_become_ids(checkpoint: Path) -> None:
    text = read_text_files(checkpoint, None, vocab=VOCAB)
    assert text.stop_token_ids == tuple(SPECIAL_TOKENS.index(token) for token in STOP_TOKENS)


def test_longest_sequence_counts_the_template(checkpoint: Path) -> None:
    assert read_text_files(checkpoint, None, vocab=VOCAB).longest_sequence == 96 + 96 + 2


def test_other_tokenizer_files_come_along(checkpoint: Path) -> None:
    (checkpoint / "tokenizer_config.json").write_text("{}")
    (checkpoint / "unrelated.json").write_text("{}")
    names = [path.name for path in read_text_files(checkpoint, None, vocab=VOCAB).tokenizer_files]
    assert names == ["tokenizer.json", "tokenizer_config.json"]


def test_translation_file_may_lie_elsewhere(checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**TRANSLATION, "stop_tokens": ["<|pad|>"]}))
    assert read_text_files(checkpoint, other, vocab=VOCAB).stop_token_ids == (0,)


def test_a_glossary_comes_along_if_there_is_one(checkpoint: Path, tmp_path: Path) -> None:
    assert read_text_files(checkpoint, None, vocab=VOCAB).glossary_file is None
    beside, other = checkpoint / "glossary.json", tmp_path / "other.json"
    for path in (beside, other):
        path.write_text('{"schema": 1, "keep": ["Acme"]}')
    assert read_text_files(checkpoint, None, vocab=VOCAB).glossary_file == beside
    assert read_text_files(checkpoint, None, vocab=VOCAB, glossary=other).glossary_file == other


def test_a_glossary_that_cannot_be_used_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(BrokenText, match="leave --glossary out"):
        read_text_files(checkpoint, None, vocab=VOCAB, glossary=tmp_path / "none.json")
    (checkpoint / "glossary.json").write_text('{"schema": 1, "keep": "Acme"}')
    with pytest.raises(ReleaseError, match="keep a list"):
        read_text_files(checkpoint, None, vocab=VOCAB)


def test_missing_tokenizer_says_how_to_get_one(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(BrokenText, match="save_pretrained"):
        read_text_files(checkpoint, None, vocab=VOCAB)


def test_unreadable_tokenizer_is_named(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").write_text("{}")
    with pytest.raises(BrokenText, match=r"tokenizer\.json"):
        read_text_files(checkpoint, None, vocab=VOCAB)


def test_missing_translation_shows_one_that_is_valid(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "translation.json").unlink()
    with pytest.raises(BrokenText) as raised:
        read_text_files(checkpoint, None, vocab=VOCAB)
    assert TRANSLATION_TEMPLATE in str(raised.value)
    assert "\n" not in str(raised.value)
    shown = tmp_path / "shown.json"
    shown.write_text(TRANSLATION_TEMPLATE)
    assert load_translation_spec(shown).pairs == (("en", "zh"), ("zh", "en"))


def test_unknown_stop_token_is_refused(checkpoint: Path) -> None:
    edit_json(checkpoint / "translation.json", stop_tokens=["<|nope|>"])
    with pytest.raises(BrokenText, match=r"<\|nope\|>"):
        read_text_files(checkpoint, None, vocab=VOCAB)


def test_language_prompt_that_only_looks_like_a_token_is_refused(checkpoint: Path) -> None:
    languages = {
        "en": {"name": "English", "prompt": "<|xx|>", "script": "Latn"},
        "zh": TRANSLATION["languages"]["zh"],
    }
    edit_json(checkpoint / "translation.json", languages=languages)
    with pytest.raises(BrokenText, match="language en"):
        read_text_files(checkpoint, None, vocab=VOCAB)


def test_language_prompt_may_be_plain_words(checkpoint: Path) -> None:
    languages = {
        "en": {"name": "English", "prompt": "English", "script": "Latn"},
        "zh": TRANSLATION["languages"]["zh"],
    }
    edit_json(checkpoint / "translation.json", languages=languages)
    assert read_text_files(checkpoint, None, vocab=VOCAB).longest_sequence > 96 + 96 + 2


def test_tokenizer_of_a_larger_model_is_refused(checkpoint: Path) -> None:
    with pytest.raises(BrokenText, match="vocab_size is 100"):
        read_text_files(checkpoint, None, vocab=100)


def test_a_broken_rule_of_translation_json_is_reported(checkpoint: Path) -> None:
    edit_json(checkpoint / "translation.json", template="no place for it")
    with pytest.raises(ReleaseError, match="template"):
        read_text_files(checkpoint, None, vocab=VOCAB)
