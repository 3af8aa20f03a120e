from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.messages import DEFAULT_MARKUP, MarkupOptions, TextFormat
from transformer.texts.markup import (
    AttributePart,
    CdataPart,
    InlineKind,
    KeptPart,
    MarkupPart,
    TextRun,
    parse_markup,
)
from transformer.texts.markup_tokens import MarkupError

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
SCRAPS += [
    "<x id='1'/>",
    "<span translate=no>",
    "</span>",
    "<code>",
    "</code>",
    "{% if a %}",
    "<% a > b %>",
    "  ",
]
SCRAPS += [
    "<ul><li>",
    "<table><tr><td>",
    "<textarea>",
    "<title>",
    "<!-->",
    "<img alt='red'>",
    "<template>",
    "&shy;",
]
SOUP = st.one_of(
    st.lists(st.sampled_from(SCRAPS), max_size=14).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
OPTIONS = st.builds(
    MarkupOptions,
    ignore_tags=st.sampled_from([frozenset[str](), frozenset({"b"})]),
    splitting_tags=st.sampled_from([frozenset[str](), frozenset({"b", "x"})]),
    outline_detection=st.booleans(),
    translate_attributes=st.booleans(),
    translate_cdata=st.booleans(),
)


def range_of(part: MarkupPart) -> tuple[int, int]:
    return (part.value.start, part.value.end) if isinstance(part, AttributePart) else (part.start, part.end)


def runs(
    source: str, text_format: TextFormat = HTML, options: MarkupOptions = DEFAULT_MARKUP
) -> list[TextRun]:
    return [part for part in parse_markup(source, text_format, options) if isinstance(part, TextRun)]


def texts(source: str, text_format: TextFormat = HTML, **options: object) -> list[str]:
    found = runs(source, text_format, MarkupOptions(**options))  # type: ignore[arg-type]
    return [" ".join(run.prose.split()) for run in found]


@given(SOUP, st.sampled_from([HTML, XML]), OPTIONS)
def test_the_parts_joined_are_the_source(
    source: str, text_format: TextFormat, options: MarkupOptions
) -> None:
    try:
        parts = parse_markup(source, text_format, options)
    except MarkupError:
        return
    at = 0
    for part in parts:
        start, end = range_of(part)
        assert start == at < end
        at = end
    assert at == len(source)


@given(SOUP)
def test_each_character_of_a_run_has_its_place_in_the_source(source: str) -> None:
    for run in runs(source):
        at = run.start
        for offset in range(len(run.text)):
            start, end = run.source_start(offset), run.source_end(offset + 1)
            assert at <= start < end <= run.end
            at = start if run.text[offset] != source[start] else end
        for tag in run.tags:
            assert run.start <= tag.start < tag.end <= run.end
            assert 0 <= tag.offset <= len(run.text)


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@given(
    st.lists(
        st.tuples(st.sampled_from(["p", "li", "h1", "div"]), st.text("ab 中&<>\"'", min_size=1, max_size=9))
    )
)
def test_only_the_text_between_tags_is_given_away(elements: list[tuple[str, str]]) -> None:
    source = "".join(
        f'<{tag} title="{n}">{escaped(text)}</{tag}>\n' for n, (tag, text) in enumerate(elements)
    )
    wanted = [" ".join(text.split()) for _, text in elements if text.strip()]
    assert texts(source, HTML) == texts(source, XML) == wanted


@given(st.lists(st.tuples(st.sampled_from(["b", "i", "span", "x"]), st.text("ab 中&<>\"'", max_size=9))))
def test_tags_within_a_sentence_leave_its_text_whole(elements: list[tuple[str, str]]) -> None:
    source = "".join(
        f'<{tag} title="{n}">{escaped(text)}</{tag}>\n' for n, (tag, text) in enumerate(elements)
    )
    wanted = " ".join("".join(f"{text}\n" for _, text in elements).split())
    assert texts(source, HTML) == texts(source, XML) == ([wanted] if wanted else [])


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("<p>Hello <b>you</b>!</p>", ["Hello you!"]),
        ("<script>var a = '<p>no</p>'</script><style>b{}</style>yes", ["yes"]),
        ("<script><!--<script>no</script>no--></script>yes", ["yes"]),
        ("<pre>no <b>no</b> no</pre> yes <code>no</code>", ["yes"]),
        ("<pre><pre>no</pre>no</pre>yes", ["yes"]),
        ('<p translate="no">no <i>no</i></p><p class="x notranslate">no</p>yes', ["yes"]),
        ("<!-- no --><!doctype html><?no no>yes", ["yes"]),
        ("<!-->yes", ["yes"]),
        ("<!--->yes", ["yes"]),
        ("<!--no--!>yes", ["yes"]),
        ("fish &amp; chips &#8364; &copy;", ["fish & chips € ©"]),
        ("&nbsp; yes&#160;\n", ["yes"]),
        ("Blue&nbsp;cotton\n   shirt", ["Blue cotton shirt"]),
        ("yes</p></b>", ["yes"]),
        ("yes<b>yes <a href=", ["yesyes"]),
        ("3 < 4 yes", ["3 < 4 yes"]),
        ("a<br>b<p>c<h1>d</h1><ul><li>e<li>f</ul>", ["a", "b", "c", "d", "e", "f"]),
        ("<title>a &amp; <b>b</title>", ["a & <b>b"]),
        ("Blue <img src=x> <wbr>shirt", ["Blue shirt"]),
        ("<svg><title>no</title><p>yes</p>", ["yes"]),
        ("<textarea>no</textarea><select><option>a<option>b</select>", ["a", "b"]),
        ("<?php if (a > b) { ?>yes<?php } ?>", ["yes"]),
        ("<% if a > b %>yes<% end %>", ["yes"]),
        ("{% if a > 'x' %}yes{% endif %} {# no #}", ["yes"]),
        ("{% yes, <% yes", ["{% yes, <% yes"]),
    ],
)
def test_html_is_read_as_browsers_do(source: str, found: list[str]) -> None:
    assert texts(source) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("<ul><li translate=no>no<li>yes</ul><p>yes</p>", ["yes", "yes"]),
        ("<p translate=no>no<div>yes</div>", ["yes"]),
        ("<p translate=no>no<p>yes", ["yes"]),
        ("<table><tr><td class=notranslate>no<td>yes<tr><td>yes</table>", ["yes", "yes"]),
        ("<dl><dt translate=no>no<dd>yes</dl>", ["yes"]),
        ("<select><option translate=no>no<option>yes</select>yes", ["yes", "yes"]),
        ("<div translate=NO><p>no</div>yes", ["yes"]),
        ("<div translate=no>no<div>no</div>no<br>no</div>yes", ["yes"]),
        ("<div translate=no>no <p translate=yes>yes</p> no</div>", ["yes"]),
        ("<b translate=no>no<p>no</b>yes</p>", ["yes"]),
        ("<p><b translate=no>no</p><p>no</b> yes", ["yes"]),
        ("<span its:translate=no>no</span> yes <span translatable=false>no</span>", ["yes"]),
        ("<img translate=no> yes <input translate=no>yes", ["yes yes"]),
        ("<code translate=yes>yes</code>", ["yes"]),
        ("<head translate=no><title>no</title><p>yes", ["yes"]),
    ],
)
def test_what_is_marked_as_untranslated_ends_where_its_element_does(source: str, found: list[str]) -> None:
    assert texts(source) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('<?xml version="1.0"?>\n<p x="no">yes</p>\n', ["yes"]),
        ('\ufeff<?xml version="1.0"?><p>yes</p>', ["yes"]),
        ("<p>fish &amp; &#x41;</p> tail", ["fish & A", "tail"]),
        ("中文<p>中文</p>é<b/>é", ["中文", "中文", "éé"]),
        ("<p><!-- no -->yes</p>", ["yes"]),
        ("<x:p>yes</x:p>", ["yes"]),
        (
            "<p translate='no'>no</p><string translatable='false'>no</string><p its:translate='no'>no</p>yes",
            ["yes"],
        ),
        ('<p><script>var blue = "no"</script>yes</p>', ["yes"]),
        ('Blue <x id="1"/> <g id="2">cotton</g><b0></b0> shirt', ["Blue cotton shirt"]),
        ("<string>You have <xliff:g id='n'>%d</xliff:g> shirts</string>", ["You have shirts"]),
        (
            '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x.dtd"><p>D&eacute;cor mug</p>',
            ["Décor mug"],
        ),
    ],
)
def test_xml_may_be_a_document_or_a_part_of_one(source: str, found: list[str]) -> None:
    assert texts(source, XML) == found


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, ["a b", "c", "d e"]),
        ({"ignore_tags": frozenset({"b"})}, ["a", "c", "d e"]),
        ({"ignore_tags": frozenset({"item"})}, ["a b d e"]),
        ({"splitting_tags": frozenset({"i"})}, ["a b", "c", "d", "e"]),
        ({"non_splitting_tags": frozenset({"item"})}, ["a b c d e"]),
        ({"outline_detection": False}, ["a b c d e"]),
        ({"outline_detection": False, "splitting_tags": frozenset({"item"})}, ["a b", "c", "d e"]),
    ],
)
def test_callers_say_which_tags_end_a_sentence(options: dict[str, object], found: list[str]) -> None:
    assert texts("a <b>b</b> <item>c</item> d <i>e</i>", XML, **options) == found


def test_attributes_and_cdata_are_parts_on_demand() -> None:
    source = (
        '<meta name="description" content="m"><meta name=viewport content=n><p title="t">a <img alt=\'i\'> b'
        "<b translate=no title=u>c</b><input placeholder=x aria-label=y value=z></p>"
    )
    parts = parse_markup(source, HTML, MarkupOptions(translate_attributes=True))
    found = [source[part.value.start : part.value.end] for part in parts if isinstance(part, AttributePart)]
    (run,) = [part for part in parts if isinstance(part, TextRun)]
    inner = [source[each.start : each.end] for tag in run.tags for each in tag.attributes]
    assert found == ["m", "t"]
    assert inner == ["i", "x", "y"]
    source = "<a><![CDATA[plain]]> <![CDATA[<p>Red <b>shoe</b></p>]]></a>"
    assert texts(source, XML) == []
    parts = parse_markup(source, XML, MarkupOptions(translate_cdata=True))
    assert [source[part.start : part.end] for part in parts if isinstance(part, CdataPart)] == ["plain"]
    assert [part.text for part in parts if isinstance(part, TextRun)] == ["Red shoe"]
    assert isinstance(parts[-1], KeptPart)


def test_a_run_knows_its_tags() -> None:
    source = "a <b>b</b><!-- c --> <code>d &amp; e</code> <svg><text>no</text></svg>f"
    (run,) = runs(source)
    assert run.text == "a b d & e f"
    assert [(tag.kind, tag.offset, source[tag.start : tag.end]) for tag in run.tags] == [
        (InlineKind.OPEN, 2, "<b>"),
        (InlineKind.CLOSE, 3, "</b>"),
        (InlineKind.COMMENT, 3, "<!-- c -->"),
        (InlineKind.KEPT, 4, "<code>d &amp; e</code>"),
        (InlineKind.POINT, 10, "<svg><text>no</text></svg>"),
    ]
    assert run.prose == "a b  f"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("<a>", "mismatched tag"),
        ("a\n<b></c>", "line 2, column 5"),
        ("</a>", "mismatched tag"),
        ("a & b", "not well-formed"),
        ("&nbsp;", "undefined entity"),
        ("</yiwen-root><yiwen-root>", "junk|no start tag"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "entity declarations"),
    ],
)
def test_malformed_xml_is_refused_with_its_place(source: str, says: str) -> None:
    with pytest.raises(MarkupError, match=says):
        parse_markup(source, XML)


FLOODS = [
    "<a ",
    "<a x='",
    "<!--",
    "</a ",
    "<![CDATA[",
    "<?",
    "<",
    "&",
    "&nbsp;",
    " ",
    "<b>",
    "<p>",
    "<div>",
    "<li>",
]
FLOODS += [
    "<b><p>",
    "</b>",
    "<td>",
    "<table>",
    "<svg>",
    "{%",
    "<%",
    "<?php ",
    "<title>",
    "<script><!--",
    "<a>x</p>",
]


@pytest.mark.parametrize("scrap", FLOODS)
@pytest.mark.untraced
def test_a_flood_takes_no_longer_than_its_length(scrap: str) -> None:
    for source in (scrap * 20_000, scrap * 4_000 + ">"):
        started = time.thread_time()
        parse_markup(source, HTML)
        assert time.thread_time() - started < 3.0
