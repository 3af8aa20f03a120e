"""SubRip and WebVTT: times, numbers and line counts stay."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documents.formats import FileFormat, parse_document
from documents.interface import FileFormatError
from documents.subtitle_lines import break_lines, join_lines
from tests.documents.translators import LANGUAGES, nothing, same, texts, translated, upper

SRT = """\
1
00:00:01,000 --> 00:00:02,500
Blue cotton shirt
for a desk lamp

2
00:00:03,000 --> 00:00:04,000 X1:0
<i>Hello</i>, {\\an8}you & me

3
00:00:05,000 --> 00:00:06,000
- Who is it?
- It is me.
"""
VTT = """\
WEBVTT - title

NOTE a note stays

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.500 align:start
<v Anna>Blue &amp; red</v>
<c.loud>shirt</c>

NOTE
another one

00:03.000 --> 00:04.000
one <00:03.500>two
"""


def test_cues_are_units_and_everything_else_stays() -> None:
    assert texts(SRT.encode(), FileFormat.SRT) == [
        "Blue cotton shirt for a desk lamp",
        '<g id="0">Hello</g>, <x id="2"/>you &amp; me',
        "- Who is it?",
        "- It is me.",
    ]
    out = translated(SRT.encode(), FileFormat.SRT, upper).decode()
    head, text = SRT.upper().split("<I>HELLO</I>, {\\AN8}")
    assert out == f"{head}<i>HELLO</i>, {{\\an8}}{text}"


def test_webvtt_keeps_header_notes_styles_and_entities() -> None:
    assert texts(VTT.encode(), FileFormat.VTT) == [
        '<g id="0">Blue &amp; red</g> <g id="2">shirt</g>',
        'one <x id="0"/>two',
    ]
    out = translated(VTT.encode(), FileFormat.VTT, upper).decode()
    translation = VTT.replace("Blue &amp; red</v>\n<c.loud>shirt", "BLUE &amp;\nRED</v> <c.loud>SHIRT")
    assert out == translation.replace("one <00:03.500>two", "ONE <00:03.500>TWO")


def test_an_answer_without_its_codes_gets_them_behind_it() -> None:
    out = translated(SRT.encode(), FileFormat.SRT, lambda unit: "你好" if "<g" in unit.text else unit.text)
    assert "\n你好<i></i>{\\an8}\n" in out.decode()


def test_codes_may_change_their_order() -> None:
    data = b"1\n00:00:01,000 --> 00:00:02,000\n<b>one</b> <i>two</i>\n"
    out = translated(data, FileFormat.SRT, lambda _: '<g id="2">zwei</g> <g id="0">eins</g>')
    assert out == b"1\n00:00:01,000 --> 00:00:02,000\n<i>zwei</i> <b>eins</b>\n"


LINES = st.lists(
    st.text("abc 中文é<&", min_size=1).filter(lambda text: text.strip() and "-" not in text),
    min_size=1,
    max_size=3,
)


@settings(max_examples=60)
@given(st.lists(LINES, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_line_counts_stay(cues: list[list[str]], end: str, is_marked: bool) -> None:
    blocks = [
        end.join([str(number), f"00:00:{number:02},000 --> 00:00:{number:02},900", *lines])
        for number, lines in enumerate(cues, start=1)
    ]
    data = (("\ufeff" if is_marked else "") + (end * 2).join(blocks)).encode()
    assert translated(data, FileFormat.SRT, same) == data
    assert translated(data, FileFormat.SRT, nothing) == data
    out = translated(data, FileFormat.SRT, upper)
    assert out.count(b"\n") == data.count(b"\n")
    assert re.sub(r"\s", "", out.decode()) == re.sub(r"\s", "", data.decode().upper())


@pytest.mark.parametrize(
    ("text", "count", "lines"),
    [
        ("Blue cotton shirt for a desk lamp", 2, ["Blue cotton shirt", "for a desk lamp"]),
        ("蓝色纯棉衬衫，适合夏天穿着。", 2, ["蓝色纯棉衬衫，", "适合夏天穿着。"]),
        ("红色（大号）", 2, ["红色", "（大号）"]),
        ("one", 2, ["one"]),
        ("a b c", 3, ["a", "b", "c"]),
    ],
)
def test_lines_are_broken_where_it_reads_well(text: str, count: int, lines: list[str]) -> None:
    assert break_lines(text, count) == lines


def test_lines_are_joined_as_their_scripts_are_written() -> None:
    assert join_lines(["Blue", "shirt"]) == "Blue shirt"
    assert join_lines(["蓝色，", "衬衫"]) == "蓝色，衬衫"


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"hello\n", FileFormat.SRT), (b"1\nhello\n", FileFormat.VTT), (b"\xff\xff", FileFormat.SRT)],
)
def test_what_is_no_subtitle_file_is_refused(data: bytes, kind: FileFormat) -> None:
    with pytest.raises(FileFormatError):
        parse_document(data, kind, LANGUAGES)
