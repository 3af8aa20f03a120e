from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.normal_form import inner_range, normal_text

PLAIN = "Blue cotton shirt"
INVISIBLE = "\u00ad\u034f\u061c\u200b\u200c\u200d\u200e\u200f\u202a\u2060\u2066\u3164\ufe0f\ufeff\U000e0001"
SPACES = "\t\n\x0b\x0c\r\x1c \x85\xa0\u1680\u2003\u2009\u2028\u2029\u202f\u205f\u3000"


@pytest.mark.parametrize("character", INVISIBLE)
def test_invisible_characters_inside_and_around_words_are_left_out(character: str) -> None:
    assert normal_text(f"{character}Blue cot{character}ton{character} {character}shirt{character}") == PLAIN


@pytest.mark.parametrize("space", [*SPACES.replace("\n", ""), " \u00a0 ", "  ", "\u200b ", " \u00ad\u3000"])
def test_a_run_of_white_space_is_one_space(space: str) -> None:
    normal = normal_text(f"{space}Blue{space}cotton{space}shirt{space}")
    assert normal.replace("\n", " ") == PLAIN


def test_line_breaks_are_line_feeds() -> None:
    assert normal_text("a \r\n b\r\rc\u2028d\n\u2029 e") == "a\nb\n\nc\nd\n\ne"


@pytest.mark.parametrize(
    "text",
    [
        "👩\u200d💻",
        "👨\u200d👩\u200d👧 ok",
        "❤\ufe0f\u200d🔥",
        "1\ufe0f\u20e3",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "می\u200cخواهم",
        "क\u094d\u200dष",
        "ශ\u0dca\u200dර",
        "ᠠ\u180eᠠ",
        "©\ufe0f",
    ],
)
def test_emoji_and_scripts_keep_the_joiners_that_they_need(text: str) -> None:
    assert normal_text(text) == text


@pytest.mark.parametrize("joiner", "\u200c\u200d")
def test_joiners_between_other_letters_are_left_out(joiner: str) -> None:
    assert normal_text(f"a{joiner}b {joiner}👩 蓝{joiner}色 م{joiner} x") == "ab 👩 蓝色 م x"


def test_what_composes_once_the_invisible_is_gone_is_composed() -> None:
    assert normal_text("cafe\u034f\u0301") == normal_text("cafe\u00ad\u0301") == "café"


PARTS = st.one_of(
    st.text(max_size=4), st.text(INVISIBLE + SPACES + "م👩🏴1क\u0301\u2329\U000e0067", max_size=8)
)


@given(st.lists(PARTS).map("".join))
def test_a_normal_form_is_its_own_normal_form(text: str) -> None:
    normal = normal_text(text)
    assert normal_text(normal) == normal == unicodedata.normalize("NFC", normal)
    assert normal == normal.strip()
    assert "  " not in normal


@given(st.lists(PARTS).map("".join))
def test_nothing_but_space_and_invisible_characters_is_outside_the_inner_range(text: str) -> None:
    start, end = inner_range(text)
    assert normal_text(text[:start]) == normal_text(text[end:]) == ""
    assert normal_text(text) == normal_text(text[start:end])


@given(st.text(st.characters(min_codepoint=33, exclude_categories=["C", "Z", "M"]), max_size=20))
def test_a_text_without_either_keeps_every_character(text: str) -> None:
    wanted = unicodedata.normalize("NFC", text.replace("\u3164", "").replace("\uffa0", ""))
    assert normal_text(text) == wanted
