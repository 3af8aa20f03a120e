from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.messages import Glossary, TextFormat, TranslateRequest
from protocol.normal_form import normal_text
from protocol.translation_spec import TranslationSpec
from transformer.errors import (
    GlossaryTooCostly,
    SegmentTooLong,
    TooManyBytes,
    TooManyParts,
    TooManySegments,
    UnknownLanguage,
    UnusableMarkup,
)
from transformer.texts.bounds import MIN_PARTS, PARTS_PER_TEXT, TextBounds
from transformer.texts.documents import Document
from transformer.texts.languages import Languages
from transformer.texts.patterns import detection_sample
from transformer.texts.segments import split_request
from transformer.texts.sentences import split_sentences
from transformer.texts.terms import MAX_COMPARISONS

BYTES = 2 * 2**20
BOUNDS = TextBounds(1_024, BYTES, 64 * 1024)
HTML, XML = TextFormat.HTML, TextFormat.XML


def asking(
    *texts: str, text_format: TextFormat = TextFormat.TEXT, glossary: Glossary | None = None
) -> TranslateRequest:
    count = len(texts)
    return TranslateRequest(
        texts, ("en",) * count, ("zh",) * count, text_format=text_format, glossary=glossary
    )


def split(spec: TranslationSpec, request: TranslateRequest, bounds: TextBounds = BOUNDS) -> list[Document]:
    return split_request(request, Languages(spec), bounds)


def filled(part: str, begin: str = "", end: str = "") -> str:
    """As many ``part`` as fit into the bound, between ``begin`` and ``end``."""
    return begin + part * ((BYTES - len((begin + end).encode())) // len(part.encode())) + end


REFUSED = {
    "URLs": (asking(filled("http://a.b/")), SegmentTooLong, "65536"),
    "one word": (asking(filled("a")), SegmentTooLong, "65536"),
    "codes": (asking(filled("Aa-")), SegmentTooLong, "65536"),
    "quotation marks": (asking(filled("“", "a")), SegmentTooLong, "65536"),
    "sentences": (asking(filled("Red. ")), TooManyParts, "32768"),
    "Chinese sentences": (asking(filled("啊。")), TooManyParts, "32768"),
    "numbers": (asking(filled("1. ", "a ")), TooManyParts, "32768"),
    "lines": (asking(filled("\n", "a", "b")), TooManyParts, "32768"),
    "line separators": (asking(filled("1\u2028", "a")), TooManyParts, "32768"),
    "marks out of order": (asking(filled("\u0301\u0323", "e")), SegmentTooLong, "65536"),
    "HTML tags": (asking(filled("<b>"), text_format=HTML), TooManyParts, "32768"),
    "HTML entities": (asking(filled("&"), text_format=HTML), TooManyParts, "32768"),
    "HTML lines": (asking(filled("\n", "<b>", "</b>"), text_format=HTML), TooManyParts, "32768"),
    "HTML text nodes": (asking("<p>a</p>" * 2_000, text_format=HTML), TooManySegments, "2000"),
    "HTML attributes": (asking(filled("a ", "<b ", ">"), text_format=HTML), UnusableMarkup, "65536"),
    "HTML attributes after a quotation mark": (
        asking(filled("a ", "<b c=it's ", ">"), text_format=HTML),
        UnusableMarkup,
        "65536",
    ),
    "deep XML": (asking("<b>" * 250_000 + "</b>" * 250_000, text_format=XML), TooManyParts, "32768"),
    "XML lines": (asking(filled("a\n"), text_format=XML), TooManyParts, "32768"),
    "ICU arguments": (asking(filled("{a}"), text_format=TextFormat.ICU), TooManyParts, "32768"),
    "ICU branches": (
        asking("{a, select," + filled("b{c}")[:-100] + " other{d}}", text_format=TextFormat.ICU),
        TooManyParts,
        "32768",
    ),
    "Markdown marks": (asking(filled("*a* "), text_format=TextFormat.MARKDOWN), TooManyParts, "32768"),
    "Markdown links": (asking(filled("[a](b) "), text_format=TextFormat.MARKDOWN), TooManyParts, "32768"),
    "Markdown cells": (asking(filled("|a"), text_format=TextFormat.MARKDOWN), TooManyParts, "32768"),
    "Markdown lines": (asking(filled("a\n"), text_format=TextFormat.MARKDOWN), TooManyParts, "32768"),
    "too many bytes": (asking(*["啊" * 350] * 2_000), TooManyBytes, "2097152"),
}


@pytest.mark.parametrize(("request_", "error", "limit"), REFUSED.values(), ids=REFUSED)
def test_the_worst_texts_of_a_request_are_refused_within_seconds_of_cpu(
    spec: TranslationSpec, request_: TranslateRequest, error: type[Exception], limit: str
) -> None:
    bounds = TextBounds(2_048, BYTES) if error is TooManyBytes else BOUNDS
    started = time.process_time()
    with pytest.raises(error, match=rf"(have|has|come to|longer than) {limit}|at most {limit}"):
        split(spec, request_, bounds)
    assert time.process_time() - started < 3.0


KEPT = {
    "attributes": ("<b " + "a " * 30_000 + ">", HTML),
    "a long attribute": (filled("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx/", '<img src="', '">'), HTML),
    "comments": ("<!--a>" * 30_000 + "x" * BYTES, HTML),
    "sections": ("<![a>" * 30_000 + "1" * BYTES, HTML),
    "XML attributes": ("<b " + " ".join(f'a{number}="1"' for number in range(150_000)) + "/>", XML),
    "digits": (filled("1"), TextFormat.TEXT),
    "braces": (filled("{{"), TextFormat.TEXT),
}


@pytest.mark.parametrize(("text", "text_format"), KEPT.values(), ids=KEPT)
def test_the_worst_texts_without_words_are_kept_within_seconds_of_cpu(
    spec: TranslationSpec, text: str, text_format: TextFormat
) -> None:
    started = time.process_time()
    (document,) = split(spec, asking(text, text_format=text_format), TextBounds(1_024, 2 * BYTES))
    assert document.restore({}) == text
    assert time.process_time() - started < 6.0


@pytest.mark.parametrize("text_format", TextFormat)
def test_any_number_of_spaces_is_one(spec: TranslationSpec, text_format: TextFormat) -> None:
    started = time.process_time()
    (document,) = split(spec, asking(filled(" ", "<b>a", "b</b>"), text_format=text_format))
    (segment,) = document.segments
    assert "a b" in segment.item.text
    assert len(segment.item.text) < 12
    assert time.process_time() - started < 3.0


def test_a_request_may_have_as_many_texts_bytes_and_parts_as_the_bounds_say(spec: TranslationSpec) -> None:
    text = "啊" * 1_000
    assert len(split(spec, asking(text, text), TextBounds(2, 6_000, 3_000))) == 2
    with pytest.raises(TooManyBytes, match="6003 bytes, at most 6000"):
        split(spec, asking(text, text + "啊"), TextBounds(2, 6_000, 9_000))
    with pytest.raises(SegmentTooLong, match=r"text 1: .* 3003 bytes, .*at most 3000"):
        split(spec, asking(text, text + "啊"), TextBounds(2, 9_000, 3_000))
    assert TextBounds(1_024).max_parts == 1_024 * PARTS_PER_TEXT
    lines = "1\n" * MIN_PARTS + "a"
    assert split(spec, asking("a" + "\n" * MIN_PARTS), TextBounds(1))
    with pytest.raises(TooManyParts, match=f"{MIN_PARTS + 1} tags, .*at most {MIN_PARTS}"):
        split(spec, asking(lines), TextBounds(1))


MARKS = st.text(st.sampled_from("\u0301\u0323\u0344\u0f73\u0f75\u0f71\u0345\u05b0"), min_size=60, max_size=80)


@given(st.lists(st.one_of(MARKS, st.text("e\u0301中 \u00a0", max_size=4), st.just("e" * 900))).map("".join))
def test_sorting_long_runs_of_marks_first_does_not_change_the_normal_form(text: str) -> None:
    assert normal_text(text) == unicodedata.normalize("NFC", " ".join(text.split()))


@given(st.lists(st.sampled_from(["It is red. ", "Nice! ", "Is it 1.5 m?", " ", "x" * 30]), max_size=9))
def test_a_long_line_has_the_sentences_of_its_paragraphs(parts: list[str]) -> None:
    paragraph = "".join(parts) + "It is a long and red thing. "
    long_line = paragraph * (6_000 // len(paragraph))
    sentences = split_sentences(long_line, "en")
    assert "".join(sentences) == long_line
    assert (
        sentences
        == split_sentences(long_line[:900], "en")[:-1]
        + sentences[len(split_sentences(long_line[:900], "en")) - 1 :]
    )
    assert max(map(len, sentences)) <= max(map(len, split_sentences(paragraph * 3, "en")))


def test_a_sentence_longer_than_a_window_stays_one() -> None:
    sentence = "red and " * 2_000 + "blue. "
    assert split_sentences(f"It is. {sentence}So it is.", "en") == ["It is. ", sentence, "So it is."]


def test_a_language_is_detected_from_the_first_part_that_has_words() -> None:
    assert detection_sample("red {a} shoes") == "red  shoes"
    late = "12 " * 20_000 + "{a} red shoes"
    assert "red shoes" in detection_sample(late)
    assert len(detection_sample("red shoes " * 10_000)) == 20_000
    assert detection_sample("12 " * 20_000) == ""


def test_spaces_beside_a_text_node_are_kept_in_linear_time(spec: TranslationSpec) -> None:
    source = "<b>&nbsp; &#160;red" + " " * 100_000 + "shoes \n&#xA0;</b>"
    started = time.process_time()
    (document,) = split(spec, asking(source, text_format=HTML))
    (segment,) = document.segments
    assert document.parts[0] == "<b>&nbsp; &#160;"
    assert segment.item.text == "red shoes"
    assert document.parts[2] == " \n&#xA0;</b>"
    assert document.restore({segment.item: "红鞋"}) == "<b>&nbsp; &#160;红鞋 \n&#xA0;</b>"
    assert time.process_time() - started < 1.0


@pytest.mark.untraced
def test_a_glossary_that_takes_too_many_comparisons_is_refused(spec: TranslationSpec) -> None:
    glossary = Glossary(keep=tuple("啊" * length + "x" for length in range(1, 200)))
    started = time.process_time()
    with pytest.raises(GlossaryTooCostly, match=str(MAX_COMPARISONS)):
        split(spec, asking(*["啊" * 2_000] * 100, glossary=glossary))
    assert time.process_time() - started < 5.0
    assert split(spec, asking("啊" * 2_000, glossary=glossary))


def test_a_long_language_tag_is_unknown_at_once(spec: TranslationSpec) -> None:
    request = TranslateRequest(("red",), (None,), ("zh" + "-a" * 1_000_000,))
    started = time.process_time()
    with pytest.raises(UnknownLanguage):
        split(spec, request)
    assert time.process_time() - started < 0.5
