"""HTML and XML files: large ones in parts that fit into requests, never through what must not be translated."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documents.formats import FileFormat, parse_document
from documents.interface import FileFormatError
from documents.markup_parts import MOST_CHARACTERS, MOST_TAGS
from tests.documents.translators import LANGUAGES, nothing, same, texts, translated, upper

PARAGRAPHS = "".join(f"<p>Paragraph {number}: blue &amp; red.</p>\n" for number in range(1_500))
PAGE = f"<!DOCTYPE html>\n<html><head><title>t</title></head><body>\n{PARAGRAPHS}</body></html>\n"


def test_a_large_page_is_cut_between_blocks_into_parts_within_the_bounds() -> None:
    parts = texts(PAGE.encode(), FileFormat.HTML)
    assert "".join(parts) == PAGE
    assert 5 <= len(parts) <= 10
    assert all(len(part) <= MOST_CHARACTERS and part.count("<") <= MOST_TAGS for part in parts)
    assert all(part.startswith("<p>") for part in parts[1:])
    assert translated(PAGE.encode(), FileFormat.HTML, nothing) == PAGE.encode()


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ('<div translate="no">', "</div>"),
        ('<div class="a notranslate">', "</div>"),
        ("<ul><li translate=no>Acme", "</ul>"),
        ("<template>", "</template>"),
        ("<svg><foreignObject>", "</foreignObject></svg>"),
    ],
)
def test_what_is_not_to_be_translated_is_not_cut(before: str, behind: str) -> None:
    parts = texts(f"{PAGE}{before}{PARAGRAPHS}{behind}{PARAGRAPHS}".encode(), FileFormat.HTML)
    (kept,) = [part for part in parts if before[before.rindex("<") :] in part]
    assert behind in kept
    assert len(parts) > 10


def test_a_small_page_is_one_text_and_many_open_elements_take_no_time() -> None:
    assert texts(b"<p>a<p>b", FileFormat.HTML) == ["<p>a<p>b"]
    page = "<p>a<b>" * 20_000 + "</p></i>" * 1_000
    assert "".join(texts(page.encode(), FileFormat.HTML)) == page


def test_a_page_keeps_the_charset_that_it_names() -> None:
    page = '<meta charset="gb2312"><p>蓝色 shirt</p>'.encode("gb2312")
    assert translated(page, FileFormat.HTML, upper) == '<meta charset="gb2312"><p>蓝色 SHIRT</p>'.encode(
        "gb2312"
    )
    assert b"&#127481;" in translated(page, FileFormat.HTML, lambda unit: unit.text + "🇹")
    with pytest.raises(FileFormatError, match="line 1: byte 0xc0 is not UTF-8"):
        parse_document("<p>蓝色</p>".encode("gb2312"), FileFormat.HTML, LANGUAGES)
    with pytest.raises(FileFormatError, match="charset klingon is not known"):
        parse_document(b"<meta charset=klingon>\xff", FileFormat.HTML, LANGUAGES)


PIECES = st.sampled_from(
    [
        "<p>",
        "</p>",
        "<div translate=no>",
        "</div>",
        "<b>",
        "</b>",
        "<li>",
        "a\r\n",
        "&amp;",
        "<!--",
        "-->",
        "<",
        ">",
        "<pre>",
        "é",
        "<![x",
    ]
)


@settings(max_examples=50)
@given(st.lists(PIECES, max_size=30), st.sampled_from([1, 700]))
def test_the_parts_of_any_page_are_the_page(pieces: list[str], times: int) -> None:
    page = "".join(pieces) * times
    assert "".join(texts(page.encode(), FileFormat.HTML)) == page
    assert translated(page.encode(), FileFormat.HTML, same) == page.encode()


RECORDS = "".join(f"  <item id='{n}'><name>Blue &lt; {n}</name>é</item>\n" for n in range(1_500))
FEED = (
    f"<?xml version='1.0'?>\n<feed xmlns='urn:x'>\n <list>\n{RECORDS} </list>\n <end/></feed><!-- end -->\n"
)


def test_a_large_document_is_cut_between_records_into_well_formed_parts() -> None:
    parts = texts(FEED.encode(), FileFormat.XML)
    assert 5 <= len(parts) <= 15
    assert all(len(part) <= MOST_CHARACTERS and part.lstrip().startswith("<item") for part in parts[:-1])
    assert parts[-1] == "<end/>"
    assert "".join(parts).replace("<end/>", "").strip() == RECORDS.strip()
    assert translated(FEED.encode(), FileFormat.XML, same) == FEED.encode()
    assert b"<name>BLUE &lt; 7</name>" in translated(FEED.encode(), FileFormat.XML, upper)


def test_records_that_are_not_to_be_translated_and_mixed_content_stay_whole() -> None:
    for start in ("<list translate='no'>", "<list>text"):
        document = FEED.replace("<list>", start)
        assert len(texts(document.encode(), FileFormat.XML)) == 2
        assert translated(document.encode(), FileFormat.XML, same) == document.encode()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1", "gb2312"])
@pytest.mark.parametrize("count", [1, 1_500])
def test_encodings_of_xml_are_kept(encoding: str, count: int) -> None:
    name = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    document = f"<?xml version='1.0' encoding='{name}'?><a>{'<b>blue</b>' * count}</a>"
    data = document.encode(encoding)
    assert translated(data, FileFormat.XML, same) == data
    assert translated(data, FileFormat.XML, upper).decode(encoding) == document.replace("blue", "BLUE")
    chinese = translated(data, FileFormat.XML, lambda unit: unit.text.replace("blue", "蓝")).decode(encoding)
    assert ("&#34013;" if encoding == "iso-8859-1" else "蓝") in chinese


RECORD = st.recursive(
    st.sampled_from(["blue &amp; red", "<![CDATA[<p>]]>", "<!-- c -->", "<br/>", "é中 "]),
    lambda inner: st.lists(inner, max_size=5).map(lambda parts: f"<e a='>'>{''.join(parts)}</e>"),
    max_leaves=20,
)


@settings(max_examples=50)
@given(st.lists(RECORD.map(lambda record: f"<r>{record}</r>\r\n"), max_size=8), st.sampled_from([1, 100]))
def test_the_structure_of_any_document_stays(records: list[str], times: int) -> None:
    data = f"<root>{''.join(records) * times}</root>".encode()
    assert translated(data, FileFormat.XML, same) == data
