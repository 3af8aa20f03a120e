"""The demo model's grammar, split, tokenizer and checkpoint files; the model itself is measured by evaluate.py."""

from __future__ import annotations

import importlib
import json
import sys
from itertools import islice
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo_model"
CHECKPOINT = DEMO / "checkpoint"
MEGABYTE = 1_000_000
SAMPLES = 60_000


@pytest.fixture(scope="module")
def grammar() -> ModuleType:
    # The examples are scripts that import each other by plain names; those names stay out of other tests.
    before = set(sys.modules)
    sys.path.insert(0, str(DEMO))
    try:
        return importlib.import_module("grammar")
    finally:
        sys.path.remove(str(DEMO))
        for name in set(sys.modules) - before:
            if name in {"grammar", "support", "vocabulary"}:
                del sys.modules[name]


@pytest.fixture(scope="module")
def samples(grammar: ModuleType) -> list[tuple[str, str]]:
    rng = Random(7)
    return [grammar.draw_pair(rng) for _ in range(SAMPLES)]


@pytest.fixture(scope="module")
def held_out() -> list[tuple[str, str]]:
    header, *lines = (DEMO / "heldout.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "en\tzh"
    return [(english, chinese) for english, chinese in (line.split("\t") for line in lines)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))


def test_same_seed_gives_same_titles(grammar: ModuleType) -> None:
    first, second, other = (
        list(islice(grammar.training_pairs(Random(seed)), 500)) for seed in ("a", "a", "b")
    )
    assert first == second
    assert first != other


def test_word_lists_are_one_to_one(grammar: ModuleType) -> None:
    tables = [
        grammar.COLOURS, grammar.AUDIENCES, grammar.MODIFIERS, grammar.FEATURES, grammar.USES, grammar.PARTS,
        grammar.TAGS, {head.english: head.chinese for shelf in grammar.SHELVES for head in shelf.heads},
    ]  # fmt: skip
    for words in tables:
        assert len(set(words.values())) == len(words)
    assert len(tables[-1]) == sum(len(shelf.heads) for shelf in grammar.SHELVES) > 1000


def test_each_title_has_one_translation(samples: list[tuple[str, str]]) -> None:
    to_chinese: dict[str, str] = {}
    to_english: dict[str, str] = {}
    for english, chinese in samples:
        assert to_chinese.setdefault(english, chinese) == chinese
        assert to_english.setdefault(chinese, english) == english
    assert len(to_chinese) > 50_000


def test_titles_are_clean_lines(samples: list[tuple[str, str]]) -> None:
    for text in (text for pair in samples for text in pair):
        assert text == " ".join(text.split())
        assert "{" not in text
        assert "|" not in text
        assert "@" not in text


def test_held_out_file_is_what_the_grammar_makes(
    grammar: ModuleType, held_out: list[tuple[str, str]]
) -> None:
    assert (DEMO / "heldout.tsv").read_text(encoding="utf-8") == grammar.held_out_tsv()
    assert len(held_out) == len(set(held_out)) == grammar.HELD_OUT_ROWS


def test_training_cannot_emit_a_held_out_text(grammar: ModuleType, held_out: list[tuple[str, str]]) -> None:
    """A text's own hash decides: no pair with a held-out text on either side counts as training."""
    for english, chinese in held_out:
        assert grammar.split_of((english, chinese)) == "heldout"
        for pair in ((english, "别的"), ("something else", chinese), (english, chinese)):
            assert grammar.split_of(pair) != "train"
    held_out_texts = {text for pair in held_out for text in pair}
    for pair in islice(grammar.training_pairs(Random(3)), 20_000):
        assert grammar.split_of(pair) == "train"
        assert held_out_texts.isdisjoint(pair)


def test_fixed_sentences_are_training_only(grammar: ModuleType) -> None:
    for pair in grammar.support.SENTENCES:
        assert grammar.split_of(pair) == "train"


def test_tokenizer_round_trips_any_text(tokenizer: Tokenizer) -> None:
    @settings(max_examples=300)
    @given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
    def round_trip(text: str) -> None:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text

    round_trip()


def test_tokenizer_adds_nothing_and_splits_digits(tokenizer: Tokenizer) -> None:
    plain = tokenizer.encode("XK-2300 42码", add_special_tokens=False)
    assert tokenizer.encode("XK-2300 42码").ids == plain.ids
    assert [token for token in plain.tokens if token.isdigit()] == list("230042")
    for token in ("<|en|>", "<|zh|>", "<|end|>", "<|pad|>"):
        assert tokenizer.encode(token).tokens == [token]


def test_held_out_titles_fit_the_limits(tokenizer: Tokenizer, held_out: list[tuple[str, str]]) -> None:
    limits = json.loads((CHECKPOINT / "translation.json").read_text(encoding="utf-8"))["limits"]
    for pair in held_out:
        for source, target in (pair, pair[::-1]):
            given_tokens, made = (len(tokenizer.encode(text).ids) for text in (source, target))
            allowed = limits["new_tokens_per_source_token"] * given_tokens + limits["extra_new_tokens"]
            assert given_tokens <= limits["max_source_tokens"]
            assert made + 1 <= min(allowed, limits["max_new_tokens"])


def test_translation_contract(tokenizer: Tokenizer) -> None:
    contract = json.loads((CHECKPOINT / "translation.json").read_text(encoding="utf-8"))
    assert contract["schema"] == 1
    assert contract["template"] == "{source}{text}{target}"
    assert contract["pairs"] == [["en", "zh"], ["zh", "en"]]
    prompts = [language["prompt"] for language in contract["languages"].values()]
    for token in (*prompts, *contract["stop_tokens"]):
        assert tokenizer.token_to_id(token) is not None


def test_checkpoint_is_small_and_complete() -> None:
    sizes = {path.name: path.stat().st_size for path in CHECKPOINT.iterdir()}
    assert sum(sizes.values()) <= 8 * MEGABYTE
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(sizes)


def test_recorded_exact_match_meets_the_promise() -> None:
    record = json.loads((CHECKPOINT / "training.json").read_text(encoding="utf-8"))
    assert record["held_out_rows"] == 500
    assert min(record["exact_match"].values()) >= 0.97
