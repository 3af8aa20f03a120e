from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.messages import TextFormat
from transformer.texts.markup import MarkupError, parse_markup

HTML, XML = TextFormat.HTML, TextFormat.XML
SCRAPS = [
    "<p class='a > b'>",
    "</p>",
    "<b>",
    "</b>",
    "<br/>",
    "<!-- c -->",
    "<!--",
    "-->",
    "<script>",
    "</script>",
]
SCRAPS += [
    "<pre>",
    "</pre>",
    "&amp;",
    "&#65;",
    "&",
    "<",
    ">",
    "red shoes",
    "手机壳",
    "\r\n",
    "\u00a0",
    "&nbsp;",
]
SCRAPS += [
    "<![CDATA[",
    "]]>",
    "<!doctype html>",
    "<?pi",
    "?>",
    '<a href="',
    "'",
    '"',
    "</",
    "<svg/>",
    "\x00",
    "🎉",
]
SOUP = st.one_of(
    st.lists(st.sampled_from(SCRAPS), max_size=14).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)


def texts(source: str, text_format: TextFormat = HTML) -> list[str]:
    return [piece.text for piece in parse_markup(source, text_format) if piece.text is not None]


@given(SOUP, st.sampled_from([HTML, XML]))
def test_the_pieces_joined_are_the_source(source: str, text_format: TextFormat) -> None:
    try:
        pieces = parse_markup(source, text_format)
    except MarkupError:
        return
    assert "".join(piece.raw for piece in pieces) == source
    for piece in pieces:
        if piece.text is not None:
            assert piece.text
            assert "<p" not in piece.raw


@given(
    st.lists(
        st.tuples(st.sampled_from(["b", "i", "span", "div"]), st.text("ab 中&<>\"'", min_size=1, max_size=9))
    )
)
def test_only_the_text_between_tags_is_given_away(elements: list[tuple[str, str]]) -> None:
    def escaped(text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    source = "".join(
        f'<{tag} title="{n}">{escaped(text)}</{tag}>\n' for n, (tag, text) in enumerate(elements)
    )
    wanted = [text.strip() for _, text in elements if text.strip()]
    assert texts(source, HTML) == texts(source, XML) == wanted


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("<p>Hello <b>you</b>!</p>", ["Hello", "you", "!"]),
        ("<script>var a = '<p>no</p>'</script><style>b{}</style>yes", ["yes"]),
        ("<pre>no <b>no</b> no</pre> yes <code>no</code>", ["yes"]),
        ("<pre><pre>no</pre>no</pre>yes", ["yes"]),
        ('<p translate="no">no <i>no</i></p><p class="x notranslate">no</p>yes', ["yes"]),
        ("<!-- no --><!doctype html><?no no>yes", ["yes"]),
        ("fish &amp; chips &#8364; &copy;", ["fish & chips € ©"]),
        ("&nbsp; yes&#160;\n", ["yes"]),
        ("yes</p></b>", ["yes"]),
        ("yes<b>no <a href=", ["yes"]),
        ("3 < 4 yes", ["3 < 4 yes"]),
    ],
)
def test_html_is_read_as_browsers_do(source: str, found: list[str]) -> None:
    assert texts(source) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('<?xml version="1.0"?>\n<a x="no">yes</a>\n', ["yes"]),
        ("<a>fish &amp; &#x41;</a> tail", ["fish & A", "tail"]),
        ("中文<a>中文</a>é<b/>é", ["中文", "中文", "é", "é"]),
        ("<a><![CDATA[no <b> no]]><!-- no -->yes</a>", ["yes"]),
        ("<x:a>yes</x:a>", ["yes"]),
    ],
)
def test_xml_may_be_a_document_or_a_part_of_one(source: str, found: list[str]) -> None:
    assert texts(source, XML) == found


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("<a>", "mismatched tag"),
        ("a\n<b></c>", "line 2, column 5"),
        ("</a>", "mismatched tag"),
        ("a & b", "not well-formed"),
        ("&nbsp;", "undefined entity"),
        ("</yiwen-root><yiwen-root>", "junk"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "entity declarations"),
    ],
)
def test_malformed_xml_is_refused_with_its_place(source: str, says: str) -> None:
    with pytest.raises(MarkupError, match=says):
        parse_markup(source, XML)


@pytest.mark.parametrize(
    "scrap", ["<a ", "<a x='", "<!--", "</a ", "<![CDATA[", "<?", "<", "&", "&nbsp;", " ", "<b>"]
)
def test_a_flood_takes_no_longer_than_its_length(scrap: str) -> None:
    for source in (scrap * 20_000, scrap * 4_000 + ">"):
        started = time.thread_time()
        parse_markup(source, HTML)
        assert time.thread_time() - started < 3.0
