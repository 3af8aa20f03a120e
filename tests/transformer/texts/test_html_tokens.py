"""The tokens of HTML are those of html5lib, which implements the WHATWG standard; beside it, their places."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

import html5lib
import pytest
from html5lib._tokenizer import HTMLTokenizer
from html5lib.constants import tokenTypes
from hypothesis import given
from hypothesis import strategies as st

from transformer.texts.html_tokens import HtmlTokenizer
from transformer.texts.markup_tokens import MarkupToken, TokenKind, attributes_of
from transformer.texts.open_elements import HtmlElements

NAMES = {number: name for name, number in tokenTypes.items()}
Plain = tuple[str, object]


class RecordingTokenizer(HTMLTokenizer):
    """Keeps the tokens that the tree is built of."""

    def __iter__(self) -> Iterator[Any]:
        for token in super().__iter__():
            self.parser.taken.append(_plain_token(token))
            yield token


class RecordingParser(html5lib.HTMLParser):
    """Sets the tokenizer's state as the tree says."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Plain] = []

    def mainLoop(self) -> None:  # noqa: N802  the library's name
        self.tokenizer.__class__ = RecordingTokenizer
        super().mainLoop()


def _plain_token(token: Any) -> Plain:
    kind = NAMES[token["type"]]
    if kind in ("Characters", "SpaceCharacters"):
        return "text", token["data"]
    if kind in ("StartTag", "EmptyTag"):
        # Names alone: html5lib decodes entities in values, which the standard does in some cases only.
        return "start", (
            token["name"],
            frozenset(name for name, value in dict(token["data"]).items() if value),
        )
    return {"EndTag": "end", "Comment": "other", "Doctype": "other"}.get(kind, "error"), token.get("name")


def expected(source: str) -> list[Plain]:
    parser = RecordingParser()
    parser.parseFragment(source)
    return _merged(parser.taken)


def found(source: str) -> list[Plain]:
    elements, tokenizer = HtmlElements(), HtmlTokenizer(source)
    plain: list[Plain] = []
    at = 0
    for token in tokenizer.tokens():
        assert token.start == at < token.end
        at = token.end
        plain.append(_own_token(source, token))
        if token.kind is TokenKind.START:
            elements.start(token.name, says=None, is_empty=False)
        elif token.kind is TokenKind.END:
            elements.end(token.name)
        tokenizer.in_foreign = elements.in_foreign
    assert at == len(source)
    return _merged(plain)


def _own_token(source: str, token: MarkupToken) -> Plain:
    raw = source[token.start : token.end]
    match token.kind:
        case TokenKind.TEXT:
            return "text", html.unescape(raw)
        case TokenKind.RAW_TEXT:
            return "text", raw
        case TokenKind.START:
            sizes: dict[str, int] = {}
            for each in attributes_of(source, token):
                sizes.setdefault(each.name, each.end - each.start)
            return "start", (token.name, frozenset(name for name, size in sizes.items() if size))
        case TokenKind.END:
            return "end", token.name
        case _:
            # What the standard drops, at the end of the source or as "</>", is kept here.
            is_dropped = raw == "</>" or not raw.startswith(("<!", "<?", "</"))
            is_dropped = is_dropped or (re.match(r"</[A-Za-z]", raw) is not None)
            return ("error" if is_dropped else "other"), None


def _merged(tokens: list[Plain]) -> list[Plain]:
    """Tokens without errors, and with neighbouring texts as one."""
    merged: list[Plain] = []
    for kind, value in tokens:
        if kind == "error":
            continue
        if kind == "text" and merged and merged[-1][0] == "text":
            merged[-1] = ("text", f"{merged[-1][1]}{value}")
        else:
            merged.append((kind, None if kind == "other" else value))
    return [each for each in merged if each != ("text", "")]


PARTS = [
    "<p",
    "<b>",
    "</b>",
    "<br",
    "<a href=",
    "<!--",
    "-->",
    "--!>",
    "<!-->",
    "<!--->",
    "<!",
    "<?x",
    ">",
    "/>",
    "/",
]
PARTS += [
    "'",
    '"',
    "=",
    " ",
    "\n",
    "a",
    "é",
    "&amp;",
    "&lt",
    "&#65;",
    "&#x41",
    "&nosuch;",
    "&notit;",
    "<",
    "</",
    "</>",
]
PARTS += [
    "<script>",
    "</script>",
    "<script",
    "<style>",
    "</style",
    "<textarea>",
    "</textarea>",
    "<title>",
    "</title>",
]
PARTS += [
    "<xmp>",
    "</xmp>",
    "<!DOCTYPE html>",
    "<![CDATA[",
    "]]>",
    "class=x",
    "checked='1'",
    "</p>",
    "<B ID=1>",
    "-",
    "!",
]
SOURCES = st.lists(st.sampled_from(PARTS), max_size=16).map("".join)


@given(SOURCES)
def test_tokens_are_those_of_the_standard(source: str) -> None:
    assert found(source) == expected(source)


SCRIPTS = [
    "<!--",
    "-->",
    "<script>",
    "</script>",
    "<script ",
    "</script ",
    "</scriptx>",
    "a",
    "--",
    ">",
    "<!-->",
    "</p>",
]


@given(st.lists(st.sampled_from(SCRIPTS), max_size=12).map("".join))
def test_a_script_ends_where_the_standard_says(source: str) -> None:
    assert found(f"<script>{source}") == expected(f"<script>{source}")


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("<a b='c' d=e f>", ["b", "d"]),
        ('<a B="c" b=d>', ["b", "b"]),
        ("<a =b=c>", ["=b"]),
        ("<a/b=c/d>", ["b"]),
        ("<a b = 'c'e='f'>", ["b", "e"]),
    ],
)
def test_attributes_have_their_values_ranges(source: str, names: list[str]) -> None:
    (token,) = HtmlTokenizer(source).tokens()
    values = list(attributes_of(source, token))
    assert [each.name for each in values] == names
    assert all(
        source[each.start : each.end].strip("'\"=/ ") == source[each.start : each.end] for each in values
    )


@pytest.mark.parametrize(
    "source",
    [
        "<% a > '<b>' %>",
        "{% a <b> %}",
        "{# <b> #}",
        "<?php a > b; ?>",
        "<?= $a->b ?>",
        "<? if (a > b) ?>",
        "<?php a",
    ],
)
def test_a_template_tag_is_one_token(source: str) -> None:
    (token,) = HtmlTokenizer(source).tokens()
    assert token.kind is TokenKind.TEMPLATE
    assert [each.kind for each in HtmlTokenizer(f"<p {source} c>").tokens()][:1] in (
        [TokenKind.START],
        [TokenKind.OTHER],
    )
