"""Lines that were broken for width are one text, and paragraphs stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.messages import TranslateRequest
from protocol.normal_form import inner_range
from protocol.translation_spec import TranslationSpec
from transformer.texts.bounds import TextBounds
from transformer.texts.documents import translation_of, work_items
from transformer.texts.languages import Languages
from transformer.texts.paragraphs import joined_paragraphs
from transformer.texts.segments import split_request
from transformer.texts.work_item import WorkResult


def sentences_and_text(source: str, spec: TranslationSpec, language: str = "en") -> tuple[list[str], str]:
    """What is translated, and the text of a model that writes capitals."""
    target = "zh" if language == "en" else "en"
    request = TranslateRequest((source,), (language,), (target,), join_lines=True)
    (document,) = split_request(request, Languages(spec), TextBounds(100))
    items = work_items([document])
    found = {item: WorkResult(item.text.upper(), 1.0) for item in items}
    return [item.text for item in items], translation_of(document, found).text


JOINED = [
    ("Blue\ncotton\nshirt", ["Blue cotton shirt"], "BLUE COTTON SHIRT"),
    ("Blue\r\n  cotton  \r\nshirt\r\n", ["Blue cotton shirt"], "BLUE COTTON SHIRT\r\n"),
    (
        "  Blue\nshirt. Red\nshirt.\n\n \nGreen\nhat\n\n",
        ["Blue shirt.", "Red shirt.", "Green hat"],
        "  BLUE SHIRT. RED SHIRT.\n\n \nGREEN HAT\n\n",
    ),
    ("Blue cot\u00ad\nton", ["Blue cotton"], "BLUE COTTON"),
    ("A well-\nknown hat", ["A well-known hat"], "A WELL-KNOWN HAT"),
    ("Hats -\nred", ["Hats - red"], "HATS - RED"),
    ("Hats:\n- blue\n  cotton\n- red", ["Hats:", "- blue cotton", "- red"], "HATS:\n- BLUE COTTON\n- RED"),
    ("1. Blue\nhat\n2) Red hat", ["1. Blue hat", "2) Red hat"], "1. BLUE HAT\n2) RED HAT"),
    ("Made in\n2020. Blue", ["Made in 2020.", "Blue"], "MADE IN 2020. BLUE"),
    ("\n\nHello", ["Hello"], "\n\nHELLO"),
    ("12\n34\n\nHat", ["Hat"], "12 34\n\nHAT"),
]


@pytest.mark.parametrize(("source", "sentences", "text"), JOINED)
def test_a_paragraph_is_one_text_on_one_line(
    spec: TranslationSpec, source: str, sentences: list[str], text: str
) -> None:
    assert sentences_and_text(source, spec) == (sentences, text)


def test_lines_of_a_script_without_spaces_are_joined_without_one(spec: TranslationSpec) -> None:
    assert sentences_and_text("蓝色\n衬衫\n红色 T\n恤", spec, "zh")[0] == ["蓝色衬衫红色 T 恤"]


def test_without_the_option_each_line_is_a_text(spec: TranslationSpec) -> None:
    request = TranslateRequest(("Blue\ncotton\nshirt",), ("en",), ("zh",))
    documents = split_request(request, Languages(spec), TextBounds(100))
    assert [item.text for item in work_items(documents)] == ["Blue", "cotton", "shirt"]


@given(st.text("aB -.\n\r\u00ad1字\u2028", max_size=40))
def test_nothing_but_line_breaks_is_lost(text: str) -> None:
    parts = list(joined_paragraphs(text))
    visible = str.maketrans("", "", " \n\r\u00ad\u2028")
    assert "".join(part for part, _ in parts).translate(visible) == text.translate(visible)
    for part, is_paragraph in parts:
        start, end = inner_range(part)
        assert (start, end) == (0, len(part)) if is_paragraph else start == end
        assert not is_paragraph or len(part.splitlines()) == 1
