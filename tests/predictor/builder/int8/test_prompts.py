from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from predictor.builder.errors import BrokenText
from predictor.builder.int8.prompts import encode_prompt, read_texts, split_prompts
from predictor.builder.int8.sample_texts import SAMPLE_TEXTS, sample_texts
from predictor.builder.verify.compare import PromptChoice, choose_prompts
from protocol.prompt_encoder import PromptEncoder, PromptText
from tests.releases import byte_tokenizer

PAIRS = (("en", "zh"), ("zh", "en"))


@pytest.fixture
def encoder(random_release_dir: Path) -> PromptEncoder:
    return PromptEncoder.load(random_release_dir)


def ids(*tokens: str) -> tuple[int, ...]:
    vocabulary = byte_tokenizer().get_vocab()
    return tuple(vocabulary[token] for token in tokens)


def test_a_prompt_is_template_and_text_and_its_budget_the_releases(encoder: PromptEncoder) -> None:
    prompt = encode_prompt(encoder, ("en", "zh"), "ab")
    assert prompt is not None
    assert prompt.token_ids == ids("<|en|>", "a", "b", "<|zh|>")
    assert prompt.max_new_tokens == 10


@pytest.mark.parametrize("text", ["", "x" * 97])
def test_texts_that_the_release_does_not_take_are_left_out(encoder: PromptEncoder, text: str) -> None:
    assert encode_prompt(encoder, ("en", "zh"), text) is None


def test_calibration_and_verify_use_the_ids_that_are_served(
    tmp_path: Path, random_release_dir: Path, encoder: PromptEncoder
) -> None:
    texts = ["blue shirt", "ends<|end|>early", "<|zh|>译"]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    served = [prompt.token_ids for prompt in encoder.encode([PromptText(text, "en", "zh") for text in texts])]
    calibrated = [encode_prompt(encoder, ("en", "zh"), text) for text in texts]
    verified = choose_prompts(random_release_dir, PromptChoice(0, 1, seed=0, texts=tmp_path / "texts.txt"))
    assert [prompt and prompt.token_ids for prompt in calibrated] == served
    assert [tuple(row.tolist()) for row in verified] == served


def test_nothing_is_calibrated_with_what_is_measured(encoder: PromptEncoder) -> None:
    split = split_prompts(encoder, None, per_pair=12)
    assert {prompt.token_ids for prompt in split.calibration}.isdisjoint(
        prompt.token_ids for prompt in split.gate
    )
    for prompts in (split.calibration, split.gate):
        assert {pair: sum(prompt.pair == pair for prompt in prompts) for pair in PAIRS} == dict.fromkeys(
            PAIRS, 12
        )
    assert split.without_texts == ()


def test_the_beginning_of_the_calibration_has_all_pairs(encoder: PromptEncoder) -> None:
    split = split_prompts(encoder, None, per_pair=12)
    assert [prompt.pair for prompt in split.calibration[:4]] == [*PAIRS, *PAIRS]


def test_a_file_names_pairs_or_means_the_first(tmp_path: Path, encoder: PromptEncoder) -> None:
    path = tmp_path / "texts.tsv"
    path.write_text("zh\ten\t你好\n\nplain\nen\tzh\twith\ttab\n", encoding="utf-8")
    assert read_texts(path, encoder.spec) == [
        (("zh", "en"), "你好"),
        (("en", "zh"), "plain"),
        (("en", "zh"), "with\ttab"),
    ]


def test_pairs_without_texts_are_reported(tmp_path: Path, encoder: PromptEncoder) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("one\ntwo\nzh\ten\t三\n", encoding="utf-8")
    split = split_prompts(encoder, path, per_pair=8)
    assert split.without_texts == (("zh", "en"),)
    assert [prompt.token_ids for prompt in (*split.calibration, *split.gate)] == [
        ids("<|en|>", *"one", "<|zh|>"),
        ids("<|en|>", *"two", "<|zh|>"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"one\nen\tfr\ttext\n",
            r"texts\.txt, line 2: the release translates en to zh, zh to en, not en to fr",
        ),
        (b"\xff\xfe", r"texts\.txt cannot be read as UTF-8"),
        (b"only one\n", r"texts\.txt has no two texts .* --calibration FILE"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, encoder: PromptEncoder, content: bytes, message: str
) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes(content)
    with pytest.raises(BrokenText, match=message) as raised:
        split_prompts(encoder, path, per_pair=8)
    assert "only one" not in str(raised.value)


def test_languages_without_samples_need_a_file(encoder: PromptEncoder) -> None:
    spec = encoder.spec
    strange = {"xx": spec.languages["en"], "yy": spec.languages["zh"]}
    encoder.spec = dataclasses.replace(spec, languages=strange, pairs=(("xx", "yy"),))
    with pytest.raises(BrokenText, match="bring some with --calibration FILE"):
        split_prompts(encoder, None, per_pair=8)


def test_samples_serve_regional_tags() -> None:
    assert sample_texts("zh-Hant") == sample_texts("zh")
    assert sample_texts("tlh") == ()


@pytest.mark.parametrize("language", SAMPLE_TEXTS)
def test_samples_are_distinct_lines(language: str) -> None:
    texts = SAMPLE_TEXTS[language]
    assert len(set(texts)) == len(texts) >= 16
    assert all(re.fullmatch(r"\S.*\S", text) for text in texts)
