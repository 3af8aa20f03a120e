"""Markdown as the format of a text: blocks, marks and code stay, a paragraph's lines are one text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from protocol.messages import CacheStatus, TextFormat, TranslateRequest
from protocol.translation_spec import TranslationSpec
from tests.transformer.texts.test_tag_placement import translated
from transformer.texts.bounds import TextBounds
from transformer.texts.documents import work_items
from transformer.texts.languages import Languages
from transformer.texts.markdown import parse_markdown
from transformer.texts.markup import KeptPart, TextRun
from transformer.texts.segments import split_request

MARKDOWN = TextFormat.MARKDOWN
PLACED = [
    ("Blue **cotton** shirt", "**纯棉**蓝色衬衫"),
    ("# Blue *cotton* shirt #", "# *纯棉*蓝色衬衫 #"),
    ("Blue\ncotton\nshirt", "纯棉蓝色衬衫"),
    ('> Blue\n> [cotton](/x "y")\n> shirt', '> [纯棉](/x "y")蓝色衬衫'),
    ("Blue shirt.\n  Red shirt.\n\n\nHello", "蓝色衬衫.\n  红色衬衫.\n\n\n你好"),
    ("- Blue shirt\n- [ ] red shirt\n  1. hello", "- 蓝色衬衫\n- [ ] 红色衬衫\n  1. 你好"),
    (
        "| Blue | red \\| hello |\n|---|:-:|\n| shirt | `cup` |",
        "| 蓝色 | 红色\\|你好 |\n|---|:-:|\n| 衬衫 | `cup` |",
    ),
    ("Blue ![shirt](a.png)shirt", "蓝色![shirt](a.png)衬衫"),
    ("Blue <b>cotton</b> shirt<br>", "<b>纯棉</b>蓝色衬衫<br>"),
    ("```\nBlue shirt\n```\n\n    red shirt\n\nHello", "```\nBlue shirt\n```\n\n    red shirt\n\n你好"),
    (
        "---\ntitle: blue\n---\nHello [shirt][a]\n\n[a]: /red",
        "---\ntitle: blue\n---\n你好[衬衫][a]\n\n[a]: /red",
    ),
    ("Use `npm i` to install", "用`npm i`以安装"),
    ("Blue \\*shirt\\* &amp; cup", "蓝色\\*衬衫\\*&杯子"),
    ("Hello\\\nblue shirt", "你好\\\n蓝色衬衫"),
    ("Blue shirt\r\n==========\r\n\r\nHello", "蓝色衬衫\r\n==========\r\n\r\n你好"),
    ("**Blue shirt**", "**蓝色衬衫**"),
    ("Blue _cotton_ shirt", "*纯棉*蓝色衬衫"),
    ("_Blue_ (__cotton__) shirt.", "_蓝色_(__纯棉__)衬衫."),
    ("Hello <https://a.b/c>", "你好 <https://a.b/c>"),
]


@pytest.mark.parametrize(("source", "wanted"), PLACED)
def test_marks_are_put_around_what_corresponds(spec: TranslationSpec, source: str, wanted: str) -> None:
    answer = translated(source, spec, MARKDOWN, answers={"Use npm i to install": "用npm i以安装"})
    assert (answer.text, answer.flags) == (wanted, ())


@pytest.mark.parametrize(
    "source", ["", "\n\n", "`npm i`", "```\nblue shirt\n```", "![shirt](a.png)", "---\n"]
)
def test_what_holds_no_words_needs_no_model(spec: TranslationSpec, source: str) -> None:
    answer = translated(source, spec, MARKDOWN)
    assert (answer.text, answer.cache) == (source, CacheStatus.BYPASS)


def test_a_sentence_is_the_plain_sentence(spec: TranslationSpec) -> None:
    def items(text: str, text_format: TextFormat) -> set[str]:
        request = TranslateRequest((text,), ("en",), ("zh",), text_format=text_format)
        return {item.text for item in work_items(split_request(request, Languages(spec), TextBounds(100)))}

    assert items("Blue\nshirt", MARKDOWN) == items("Blue shirt", TextFormat.TEXT)
    assert items("# Blue **cotton**\n", MARKDOWN) >= items("Blue cotton", TextFormat.TEXT)


ANSWERS = [
    "# 你好", "- 你好", "1. 你好", "> 你好", "*你好*", "[你好](x)", "`你好`", "<b>你好", "&amp; 你好",
    "你好\n\n- 你好", "a | b 你好",
]  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_becomes_no_mark_and_no_block(spec: TranslationSpec, answer: str) -> None:
    written = translated("Hello\n", spec, MARKDOWN, answers={"Hello": answer}).text
    before, block, after = MarkdownIt("commonmark").enable("table").parse(written)
    assert (before.type, after.type) == ("paragraph_open", "paragraph_close")
    (text,) = {"".join(child.content for child in block.children or ())}
    assert text == " ".join(answer.split())
    assert all(child.type in ("text", "text_special") for child in block.children or ())


def test_a_lost_code_is_flagged(spec: TranslationSpec) -> None:
    answer = translated(
        "Use `npm i` to install", spec, MARKDOWN, answers={"Use npm i to install": "用以安装"}
    )
    assert "`npm i`" in answer.text
    assert answer.flags == ("markup",)


BLOCKS = st.sampled_from(
    [
        "# Blue *cotton*", "Red **shirt**\nblue", "> blue\n> _red_", "- cup\n- [cup](/a_b)", "1. `code` blue", "***",
        "~~~\nblue\n~~~", "| a | red |\n|--|--|\n| `c` | cup |", "<div>\nblue\n</div>", "[x]: /y", "    blue",
        "blue <i>red</i>", "a * b _ c ` d", "- [x] red",
    ]
)  # fmt: skip


def structure(text: str) -> list[str]:
    """Types of all tokens, and of the marks within blocks in any order."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    marks = ("text", "softbreak", "text_special")
    return [
        f"{token.type} {sorted(child.type for child in token.children or () if child.type not in marks)}"
        for token in tokens
    ]


@settings(max_examples=60)
@given(st.lists(BLOCKS, max_size=5), st.sampled_from(["\n\n", "\n\n\n", "\r\n\r\n"]))
def test_the_structure_of_any_document_stays(spec: TranslationSpec, blocks: list[str], between: str) -> None:
    source = between.join(blocks)
    assert structure(translated(source, spec, MARKDOWN).text) == structure(source)


@given(st.text("ab*_[]()`<>|#-\\&;!\n \r", max_size=60))
def test_the_parts_of_any_text_are_the_text(text: str) -> None:
    at = 0
    for part in parse_markdown(text):
        assert isinstance(part, KeptPart | TextRun)
        assert part.start == at
        at = part.end
    assert at == len(text)


def test_marks_without_partners_take_no_longer_than_their_length(spec: TranslationSpec) -> None:
    for flood in ("![a", "[a ", "*a_b ", "`a``b", "<a "):
        text = "Blue shirt " + flood * 10_000
        started = time.process_time()
        assert len(parse_markdown(text)) <= 2
        assert time.process_time() - started < 2
