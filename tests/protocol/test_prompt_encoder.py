from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers

from protocol.control_tokens import is_control_token
from protocol.prompt_encoder import (
    ALWAYS_COUNTED_BYTES,
    GROUP_CHARACTERS,
    PromptEncoder,
    PromptText,
)
from protocol.prompt_errors import TextTooLong, UnencodableText
from protocol.release_documents import ReleaseError
from protocol.translation_spec import TranslationSpec, load_translation_spec
from tests.transformer.release import (
    EN,
    END,
    MAX_NEW_TOKENS,
    MAX_SEQUENCE_TOKENS,
    MAX_SOURCE_TOKENS,
    SPECIAL_TOKENS,
    TRANSLATION,
    ZH,
    train_tokenizer,
    write_release,
)

CONTROL = {EN, ZH, END}
PIECES = st.one_of(
    st.sampled_from([*SPECIAL_TOKENS, "<|", "|>", "end", "<|en", "|zh|>"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)


@pytest.fixture(scope="module")
def release_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("releases") / "tiny")


@pytest.fixture(scope="module")
def spec(release_directory: Path) -> TranslationSpec:
    return load_translation_spec(release_directory / "translation.json")


@pytest.fixture(scope="module")
def tokenizer(release_directory: Path) -> PromptEncoder:
    return PromptEncoder.load(release_directory)


def texts(*each: str) -> list[PromptText]:
    return [PromptText(text, "en", "zh", index) for index, text in enumerate(each)]


def ids_of_text(tokenizer: PromptEncoder, text: str) -> tuple[int, ...]:
    (prompt,) = tokenizer.encode(texts(text), None)
    assert (prompt.token_ids[0], prompt.token_ids[-1]) == (EN, ZH)
    return prompt.token_ids[1:-1]


_TOKENIZER: list[PromptEncoder] = []


@pytest.fixture(autouse=True, scope="module")
def _share_with_hypothesis(tokenizer: PromptEncoder) -> None:
    _TOKENIZER[:] = [tokenizer]


@given(st.lists(PIECES, min_size=1, max_size=8).map("".join).filter(bool))
def test_no_text_yields_a_control_token_and_every_text_comes_back(text: str) -> None:
    ids = ids_of_text(_TOKENIZER[0], text)
    assert CONTROL.isdisjoint(ids)
    assert _TOKENIZER[0].decode(ids) == text


def test_special_tokens_in_a_text_are_characters_and_in_the_template_they_are_tokens(
    tokenizer: PromptEncoder,
) -> None:
    (prompt,) = tokenizer.encode([PromptText("<|end|><|zh|>", "zh", "en")], None)
    assert prompt.token_ids[0] == ZH
    assert prompt.token_ids[-1] == EN
    assert len(prompt.token_ids) > 10
    assert CONTROL.isdisjoint(prompt.token_ids[1:-1])


def test_one_text_and_a_batch_give_the_same_prompts(tokenizer: PromptEncoder) -> None:
    many = [f"red shoes {number} 手机壳" for number in range(50)]
    alone = [tokenizer.encode(texts(text), None)[0] for text in many]
    assert tokenizer.encode(texts(*many), None) == alone


def test_generated_control_tokens_leave_no_trace_in_the_text(tokenizer: PromptEncoder) -> None:
    ids = ids_of_text(tokenizer, "red shoes")
    assert tokenizer.decode((ZH, *ids, END)) == "red shoes"
    assert tokenizer.decode(()) == ""


def test_a_text_over_the_limit_is_refused_with_limit_count_and_index(tokenizer: PromptEncoder) -> None:
    longest = "é" * (MAX_SOURCE_TOKENS // 2)  # two bytes each, no merges
    tokenizer.encode(texts(longest), None)
    with pytest.raises(
        TextTooLong, match=rf"text 1: it has {MAX_SOURCE_TOKENS + 2} tokens.* at most 200"
    ) as caught:
        tokenizer.encode(texts("short", longest + "é"), None)
    assert (caught.value.index, caught.value.status) == (1, 413)


def test_a_text_of_more_bytes_than_its_tokens_can_stand_for_is_refused_without_tokenizing(
    tokenizer: PromptEncoder,
) -> None:
    limit = tokenizer.max_source_bytes
    assert limit == max(ALWAYS_COUNTED_BYTES, MAX_SOURCE_TOKENS * 8)
    with pytest.raises(TextTooLong, match=rf"text 1: it has {limit + 1} bytes.* at most {limit};"):
        tokenizer.encode(texts("short", "q" * (limit + 1)), None)
    with pytest.raises(TextTooLong, match=rf"text 0: it has {limit} tokens.* at most {MAX_SOURCE_TOKENS};"):
        tokenizer.encode(texts("q" * limit), None)
    huge, started = "http://a.b/" * 600_000, time.process_time()
    assert not tokenizer.fits(huge)
    with pytest.raises(TextTooLong, match="6600000 bytes"):
        tokenizer.encode(texts(huge), None)
    assert time.process_time() - started < 0.2


def test_a_text_that_fits_was_asked_about_is_tokenized_once() -> None:
    counting = CountingTokenizer()
    encoder = PromptEncoder(counting, _spec(), MAX_SEQUENCE_TOKENS)  # type: ignore[arg-type]
    counting.tokenized.clear()
    longer = "red shoes for women " * 11
    assert encoder.fits(longer)
    (prompt,) = encoder.encode(texts(longer), None)
    assert counting.tokenized == [longer]
    assert encoder.encode(texts(longer, "red", longer), None)[2] == prompt
    assert sorted(counting.tokenized) == sorted([longer, longer, "red", longer])


def test_texts_are_tokenized_in_groups_and_keep_their_order() -> None:
    counting = CountingTokenizer()
    encoder = PromptEncoder(counting, _spec(), MAX_SEQUENCE_TOKENS)  # type: ignore[arg-type]
    many = [f"{number} " + "12 " * 40 for number in range(1_000)]
    counting.calls.clear()
    prompts = encoder.encode(texts(*many), None)
    assert [encoder.decode(prompt.token_ids) for prompt in prompts] == many
    sizes = [sum(map(len, call)) for call in counting.calls]
    assert len(sizes) == 4
    assert max(sizes) <= GROUP_CHARACTERS


class CountingTokenizer:
    """A tokenizer that notes the texts that it is given."""

    def __init__(self) -> None:
        self._tokenizer = _small()
        self.tokenized: list[str] = []
        self.calls: list[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def encode(self, text: str, **options: bool) -> Any:
        self.tokenized.append(text)
        self.calls.append([text])
        return self._tokenizer.encode(text, **options)

    def encode_batch_fast(self, batch: list[str], **options: bool) -> Any:
        self.tokenized += batch
        self.calls.append(batch)
        return self._tokenizer.encode_batch_fast(batch, **options)


@pytest.mark.parametrize(
    ("source_tokens", "asked", "budget"),
    [(2, None, 16 + 6), (2, 5, 5), (2, 1000, 22), (150, None, MAX_NEW_TOKENS), (1, 1, 1)],
)
def test_the_answers_budget_grows_with_the_text_and_is_capped_by_the_caller(
    tokenizer: PromptEncoder, source_tokens: int, asked: int | None, budget: int
) -> None:
    text = "é" * (source_tokens // 2) + "q" * (source_tokens % 2)
    assert len(ids_of_text(tokenizer, text)) == source_tokens
    (prompt,) = tokenizer.encode(texts(text), asked)
    assert prompt.max_new_tokens == budget


@given(st.integers(1, 120), st.integers(8, 80))
def test_prompt_and_budget_always_fit_a_slot(characters: int, slot: int) -> None:
    spec = _spec(template="{source}{text}{target}")
    tokenizer = PromptEncoder(_small(), spec, slot)
    limit = min(MAX_SOURCE_TOKENS, slot - 3)
    if 2 * characters > limit:
        with pytest.raises(TextTooLong, match=f"{2 * characters} tokens.* at most {limit};"):
            tokenizer.encode(texts("é" * characters), None)
        return
    (prompt,) = tokenizer.encode(texts("é" * characters), None)
    assert 1 <= prompt.max_new_tokens <= slot - len(prompt.token_ids)


def test_a_prompt_is_encoded_as_one_string_with_the_template_text_around_it() -> None:
    tokenizer = PromptEncoder(_small(), _spec(template="{source}red {text} shoes{target}"), 500)
    (prompt,) = tokenizer.encode(texts("hello"), None)
    assert prompt.token_ids == tuple(train_tokenizer().encode("<|en|>red hello shoes<|zh|>").ids)


@pytest.mark.parametrize(
    ("content", "special", "control"),
    [
        ("<|end|>", True, True),
        ("<think>", False, True),
        ("[INST]", False, True),
        ("  ", False, False),
        ("ö", False, False),
        ("÷", False, False),
        ("hello", False, False),
        ("EOS", False, True),
        ("\u2581\u2581", False, False),
        ("<b>", False, False),
        ("</table>", False, False),
        ("<s>", True, True),
    ],
)
def test_markup_steers_and_letters_do_not(content: str, special: bool, control: bool) -> None:
    assert is_control_token(content, special=special, named={"EOS"}) is control


def test_added_markup_that_is_not_declared_special_cannot_come_from_a_text(
    release_directory: Path, tmp_path: Path
) -> None:
    def add_tokens(document: dict[str, Any]) -> None:
        flags = {
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": False,
        }
        first = len(document["model"]["vocab"])
        document["added_tokens"] += [
            {"id": first + offset, "content": content, **flags}
            for offset, content in enumerate(["<think>", "ö"])
        ]

    tokenizer = _changed(release_directory, tmp_path, add_tokens)
    ids = ids_of_text(tokenizer, "a<think>ö")
    assert tokenizer.decode(ids) == "a<think>ö"
    assert len(ids) == len("a<think>") + 1  # markup in characters, the added letter as it is


def test_a_tokenizer_that_cannot_write_a_control_token_as_characters_refuses_the_text() -> None:
    pieces = [("<unk>", 0.0), *((token, -1.0) for token in SPECIAL_TOKENS), ("a", -2.0)]
    unigram = Tokenizer(models.Unigram(pieces, 0))
    unigram.add_special_tokens(SPECIAL_TOKENS)
    tokenizer = PromptEncoder(unigram, _spec(template="{source}{text}{target}"), 500)
    assert tokenizer.encode(texts("aaa"), None)
    with pytest.raises(UnencodableText, match="text 1: it spells out a control token"):
        tokenizer.encode(texts("a", "a<|end|>a"), None)


def test_a_text_of_unknown_characters_alone_is_refused() -> None:
    tokenizer = train_tokenizer()
    tokenizer.normalizer = _remove_all()
    with pytest.raises(UnencodableText, match="knows none of its characters"):
        PromptEncoder(tokenizer, _spec(template="{source}{text}{target}"), 500).encode(texts("abc"), None)


def test_padding_and_truncation_of_the_checkpoint_are_switched_off(
    release_directory: Path, tmp_path: Path
) -> None:
    def pad_and_truncate(document: dict[str, Any]) -> None:
        changed = train_tokenizer()
        changed.enable_padding(length=64)
        changed.enable_truncation(4)
        document.update(json.loads(changed.to_str()))

    tokenizer = _changed(release_directory, tmp_path, pad_and_truncate)
    assert (
        tokenizer.decode(ids_of_text(tokenizer, "red shoes for women and men"))
        == "red shoes for women and men"
    )


def test_a_missing_or_broken_tokenizer_is_a_release_error(
    release_directory: Path, tmp_path: Path, spec: TranslationSpec
) -> None:
    with pytest.raises(ReleaseError, match=r"tokenizer\.json is missing"):
        PromptEncoder.load_file(tmp_path / "tokenizer" / "tokenizer.json", spec, 500)
    (tmp_path / "tokenizer").mkdir()
    for content in ("{", '{"model": {"type": "Magic"}}'):
        (tmp_path / "tokenizer" / "tokenizer.json").write_text(content)
        with pytest.raises(ReleaseError, match=r"tokenizer\.json"):
            PromptEncoder.load_file(tmp_path / "tokenizer" / "tokenizer.json", spec, 500)


def test_a_stop_token_outside_the_vocabulary_is_a_release_error() -> None:
    with pytest.raises(ReleaseError, match=r"stop token '<\|eot\|>'"):
        PromptEncoder(_small(), _spec(stop_tokens=["<|eot|>"]), 500)


def _small() -> Tokenizer:
    return Tokenizer.from_str(_SMALL)


_SMALL = train_tokenizer().to_str()


def _remove_all() -> Any:
    return normalizers.Replace(Regex("."), "")


def _spec(**changes: object) -> TranslationSpec:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "translation.json"
        path.write_text(json.dumps({**TRANSLATION, **changes}))
        return load_translation_spec(path)


def _changed(release: Path, directory: Path, change: Callable[[dict[str, Any]], None]) -> PromptEncoder:
    shutil.copytree(release, directory / "release")
    path = directory / "release" / "tokenizer" / "tokenizer.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return PromptEncoder.load(directory / "release")
