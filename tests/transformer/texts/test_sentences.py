from __future__ import annotations

import unicodedata

import pytest
import sentencex
from hypothesis import given
from hypothesis import strategies as st

from transformer.texts.scripts import needs_space
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
        texts = [f"Abc dd{mark} Efg hh", f"\u4e2d\u6587{mark}\u4e2d\u6587"]
        for text in texts[:1] if mark in ".\uff0e" else texts:  # a full stop needs white space after it
            assert split_sentences(text, language) == sentencex.segment(language, text)


@given(st.text("abc \u4e2d\u6587\u0301,-'()&%1_/", max_size=40), st.sampled_from(["en", "zh", "hy", "my"]))
def test_a_text_without_ends_of_sentences_is_one_for_the_library_too(text: str, language: str) -> None:
    assert split_sentences(text, language) == [part for part in sentencex.segment(language, text) if part]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Water bottle, max. 500 ml"),
        ("en", "Water bottle, max. Load 5 kg"),
        ("en", "Rope, approx. 5 m"),
        ("en", "Vol. 3 notebook"),
        ("en", "Vol. III notebook"),
        ("en", "Qty. 5 of these"),
        ("en", "Blue ASP.NET mug"),
        ("en", "Hello.World is a mug"),
        ("en", "Yahoo!News is a page"),
        ("en", "See p. 5 and Fig. 3 there"),
        ("en", "Dept. Store bag, incl. Strap"),
        ("en", 'He said "Stop!" and left.'),
        ("en", "Buy now... and save."),
        ("en", "iPhone is great. iPad too."),
        ("en", "1. Blue cotton shirt"),
        ("en", "a) Blue cotton shirt"),
        ("en", "- Blue cotton shirt"),
        ("de", "Die Flasche, ca. 5 l, inkl. Deckel"),
        ("de", "Das ist z.B. Holz"),
        ("ru", "Около 5 руб. Цена"),
        ("zh", "ASP.NET 马克杯"),
        ("zh", "价格3.5元"),
    ],
)
def test_no_sentence_ends_within(language: str, text: str) -> None:
    assert split_sentences(text, language) == [text]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("1. Blue cotton shirt 2. Red cotton shirt", ["1. Blue cotton shirt ", "2. Red cotton shirt"]),
        ("1. Blue shirt. 2. Red shirt. 3. Hat", ["1. Blue shirt. ", "2. Red shirt. ", "3. Hat"]),
        ("It is model No. 5. Buy it.", ["It is model No. 5. ", "Buy it."]),
        ("She was born in 1990. Then she left.", ["She was born in 1990. ", "Then she left."]),
        ("It costs 5. Buy it.", ["It costs 5. ", "Buy it."]),
    ],
)
def test_a_number_belongs_to_its_item(text: str, items: list[str]) -> None:
    assert split_sentences(text, "en") == items


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("Blue Shirt", "Red Shirt", True),
        ("Hello.", "World", True),
        ("Привет.", "Мир", True),
        ("مرحبا.", "عالم", True),
        ("नमस्ते।", "दुनिया", True),
        ("안녕.", "친구", True),
        ("Size 5", "“Red”", True),
        ("你好。", "世界", False),
        ("Nike。", "Adidas", False),
        ("蓝色", "Red", False),
        ("สวัสดี", "ชาวโลก", False),
        ("Hello. ", "World", False),
        ("Hello.", " World", False),
        ("", "World", False),
    ],
)
def test_one_space_stands_between_sentences_that_set_words_apart(
    before: str, after: str, expected: bool
) -> None:
    assert needs_space(before, after) == expected
