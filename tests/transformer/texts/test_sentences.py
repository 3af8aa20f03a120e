from __future__ import annotations

import unicodedata

import pytest
import sentencex
from hypothesis import given
from hypothesis import strategies as st

from transformer.texts.sentences import split_sentences

ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
PROSE = st.lists(
    st.sampled_from(
        ["Hello you", ". ", "! ", "。", "！", "\r\n", "\n\n", " ", "他说", "“好”", "3.5", "Dr.", "\u2028"]
    )
)


@given(st.one_of(ANY, PROSE.map("".join)), st.sampled_from(["en", "zh", "zh-Hant", "pt-BR", "und", "xx"]))
def test_the_sentences_joined_are_the_text(text: str, language: str) -> None:
    sentences = split_sentences(text, language)
    assert "".join(sentences) == text
    assert all(sentences)


@pytest.mark.parametrize(
    ("language", "text", "sentences"),
    [
        ("en", "It is red. I like it!  Do you?", ["It is red. ", "I like it!  ", "Do you?"]),
        ("en", "Dr. Lee bought 3.5 litres.", ["Dr. Lee bought 3.5 litres."]),
        ("en", "One\n\nTwo", ["One\n\n", "Two"]),
        ("zh", "你好。我要买鞋！多少钱？", ["你好。", "我要买鞋！", "多少钱？"]),
        ("zh", "“好的。”他说。", ["“好的。”", "他说。"]),
        ("zh", "3.5毫升", ["3.5毫升"]),
    ],
)
def test_sentences_end_where_their_language_ends_them(language: str, text: str, sentences: list[str]) -> None:
    assert split_sentences(text, language) == sentences


@pytest.mark.parametrize("language", ["en", "zh", "el", "hy", "my"])
def test_every_character_that_ends_a_sentence_of_the_library_ends_one(language: str) -> None:
    marks = [chr(code) for code in range(0x20000) if unicodedata.category(chr(code))[0] in "PSN"]
    assert len(marks) > 9_000
    for mark in marks:
        for text in (f"Abc dd{mark} Efg hh", f"\u4e2d\u6587{mark}\u4e2d\u6587"):
            assert split_sentences(text, language) == sentencex.segment(language, text)


@given(st.text("abc \u4e2d\u6587\u0301,-'()&%1_/", max_size=40), st.sampled_from(["en", "zh", "hy", "my"]))
def test_a_text_without_ends_of_sentences_is_one_for_the_library_too(text: str, language: str) -> None:
    assert split_sentences(text, language) == [part for part in sentencex.segment(language, text) if part]
