"""Markdown: blocks and marks stay, as markdown-it reads them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from documents.formats import FileFormat
from tests.documents.translators import nothing, same, texts, translated, upper

FILE = """\
---
title: kept
---

# A *blue* heading ##

A paragraph with **bold _and_ more**, `code *x*`,
a [link](http://a.b/c_(d) "title") & an ![image](x.png).

> quote one\\
> quote two

- item __one__
  goes on
- [ ] a task
  1. nested

| a | b \\| c |
|---|:-:|
| `d` | e |

```python
kept = "code"
```

    kept code

Setext
======

See [foo], [foo][], [that][foo] and [not].[^1]

[foo]: http://foo.example

<div>kept</div>

A file_name_here, 2 * 3 * 4, \\*stars\\* &copy; <b>x</b> <http://auto.link>
"""


def test_texts_are_found_with_their_marks_as_codes() -> None:
    assert texts(FILE.encode(), FileFormat.MARKDOWN) == [
        'A <g id="0">blue</g> heading',
        'A paragraph with <g id="0">bold <g id="1">and</g> more</g>, <x id="4"/>, '
        'a <g id="5">link</g> &amp; an <x id="7"/>.',
        "quote one",
        "quote two",
        'item <g id="0">one</g> goes on',
        '<x id="0"/> a task',
        "nested",
        "a",
        'b <x id="0"/> c',
        '<x id="0"/>',
        "e",
        "Setext",
        'See <g id="0">foo</g>, <g id="2">foo</g>, <g id="4">that</g> and [not].<x id="8"/>',
        'A file_name_here, 2 * 3 * 4, <x id="4"/>stars<x id="5"/> <x id="6"/> <x id="7"/>x<x id="8"/> <x id="9"/>',
    ]


def test_translations_stand_in_their_places() -> None:
    out = translated(FILE.encode(), FileFormat.MARKDOWN, upper).decode()
    expected = FILE
    for old, new in (
        ("A *blue* heading", "A *BLUE* HEADING"),
        (
            'A paragraph with **bold _and_ more**, `code *x*`,\na [link](http://a.b/c_(d) "title") & an !',
            'A PARAGRAPH WITH **BOLD _AND_ MORE**, `code *x*`, A [LINK](http://a.b/c_(d) "title") & AN !',
        ),
        ("quote one\\\n> quote two", "QUOTE ONE\\\n> QUOTE TWO"),
        ("item __one__\n  goes on", "ITEM __ONE__ GOES ON"),
        ("a task\n  1. nested", "A TASK\n  1. NESTED"),
        ("| a | b \\| c |", "| A | B \\| C |"),
        ("| e |", "| E |"),
        ("Setext", "SETEXT"),
        ("See [foo], [foo][], [that][foo] and [not]", "SEE [FOO][foo], [FOO][foo], [THAT][foo] AND [NOT]"),
        ("A file_name_here", "A FILE_NAME_HERE"),
        ("\\*stars\\*", "\\*STARS\\*"),
        ("<b>x</b>", "<b>X</b>"),
    ):
        assert old in expected
        expected = expected.replace(old, new)
    assert out == expected
    assert translated(FILE.encode(), FileFormat.MARKDOWN, same) == FILE.encode()
    assert translated(FILE.encode(), FileFormat.MARKDOWN, nothing) == FILE.encode()


@pytest.mark.parametrize("answer", ["# x", "## x", "- x", "1. x", "> x", ">x", "```", "==="])
def test_an_answer_does_not_become_another_block(answer: str) -> None:
    wanted = "1\\. x" if answer == "1. x" else f"\\{answer}"
    assert translated(b"text\n", FileFormat.MARKDOWN, lambda _: answer) == f"{wanted}\n".encode()
    assert [token.type for token in MarkdownIt().parse(wanted)] == [
        "paragraph_open",
        "inline",
        "paragraph_close",
    ]


BLOCKS = st.lists(
    st.sampled_from(
        [
            "# a *b*",
            "a **b**\nc `d`",
            "> a\n> b",
            "- a\n- b\n\n  c",
            "1. a [b](c)",
            "| a | b |\n|-|-|\n| c | d |",
            "```\na\n```",
            "    a",
            "***",
            "a  \nb",
            "a_b *c* __d__ ~~e~~ *f",
            "<p>a</p>",
            "[a]: b",
            "[a] é中",
            "a\n---",
        ]
    ),
    max_size=6,
)


def shape(text: str) -> list[str]:
    """Types of all tokens; a soft break is a space."""
    kinds: list[str] = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        kinds.append(token.type)
        kinds += [child.type for child in token.children or () if child.type not in ("softbreak", "text")]
    return kinds


@settings(max_examples=60)
@given(BLOCKS, st.sampled_from(["\n\n", "\r\n\r\n"]))
def test_the_structure_of_any_document_stays(blocks: list[str], between: str) -> None:
    data = between.join(blocks).encode()
    assert translated(data, FileFormat.MARKDOWN, same) == data
    assert shape(translated(data, FileFormat.MARKDOWN, upper).decode()) == shape(data.decode())
