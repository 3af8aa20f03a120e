"""Java's properties and Apple's strings: values are translated, all else is as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.formats import FileFormat, format_of, parse_document
from documents.interface import FileFormatError
from protocol.messages import TextFormat
from tests.documents.translators import LANGUAGES, nothing, same, texts, translated, upper

PROPERTIES, STRINGS = FileFormat.PROPERTIES, FileFormat.STRINGS

PROPERTIES_FILE = rb"""# The title
# of the page
title = Blue \
    cotton \
  shirt
! kept
key\ with\:signs:a\tvalue
empty=
  indented   two words
url=http\://a.b/c
number = 12

caf\u00e9=caf\u00e9
last=no line end"""


def test_values_of_properties_are_found_with_their_keys_and_comments() -> None:
    units = parse_document(PROPERTIES_FILE, PROPERTIES, LANGUAGES).units
    assert [(unit.place, unit.text) for unit in units] == [
        ("key title", "Blue cotton shirt"),
        ("key key with:signs", "a\tvalue"),
        ("key indented", "two words"),
        ("key url", "http://a.b/c"),
        ("key number", "12"),
        ("key café", "café"),
        ("key last", "no line end"),
    ]
    assert [unit.context for unit in units[:3]] == ["The title\nof the page", "kept", ""]


def test_all_but_the_values_of_properties_stays() -> None:
    out = translated(PROPERTIES_FILE, PROPERTIES, lambda unit: unit.text.upper().replace("É", "É好😀\n"))
    assert (
        out
        == rb"""# The title
# of the page
title = BLUE COTTON SHIRT
! kept
key\ with\:signs:A\tVALUE
empty=
  indented   TWO WORDS
url=HTTP\://A.B/C
number = 12

caf\u00e9=CAF\u00c9\u597d\ud83d\ude00\n
last=NO LINE END"""
    )


@pytest.mark.parametrize(
    ("data", "out"),
    [
        ("a=é\r\nb=x\r".encode(), "a=É好\r\nb=X好\r".encode()),
        ("a=é\n".encode("latin-1"), "a=É".encode("latin-1") + b"\\u597d\n"),
        (b"a=e\n", b"a=E\\u597d\n"),
        ("\ufeffa=é".encode(), "\ufeffa=É好".encode()),
    ],
)
def test_properties_keep_their_encoding(data: bytes, out: bytes) -> None:
    assert translated(data, PROPERTIES, lambda unit: unit.text.upper() + "好") == out


def test_messages_with_arguments_are_read_as_java_reads_them() -> None:
    data = b"a={0} of {1}, it''s\nb={0\nc=plain {x}\nd={n, plural, other {# files}}\ne='{'0'}' {0}\n"
    formats = [unit.text_format for unit in parse_document(data, PROPERTIES, LANGUAGES).units]
    icu, text = TextFormat.ICU, TextFormat.TEXT
    assert formats == [icu, text, text, icu, icu]


PIECES = st.text("ab \\=:#!\n\r\t\fé好u0'\"/*;", max_size=8)


@given(st.lists(PIECES, max_size=6).map("".join))
def test_any_properties_keep_their_bytes(text: str) -> None:
    data = text.encode()
    assert translated(data, PROPERTIES, same) == data
    assert translated(data, PROPERTIES, nothing) == data
    answers = [f"{each}x\n\\ é" for each in texts(data, PROPERTIES)]
    again = texts(translated(data, PROPERTIES, lambda unit: f"{unit.text}x\n\\ é"), PROPERTIES)
    assert again == answers


STRINGS_FILE = r"""/* Title of
   the page */
"title" = "Blue \"cotton\" shirt";
// Not here: "a" = "b";
unquoted = 'it is';
"same";
"lines" = "one
two\nthree\U4e2d";
"empty" = "" ;
"""


def test_values_of_strings_are_found_with_their_keys_and_comments() -> None:
    units = parse_document(STRINGS_FILE.encode(), STRINGS, LANGUAGES).units
    assert [(unit.place, unit.text, unit.context) for unit in units] == [
        ("key title", 'Blue "cotton" shirt', "Title of the page"),
        ("key unquoted", "it is", 'Not here: "a" = "b";'),
        ("key lines", "one\ntwo\nthree中", ""),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_all_but_the_values_of_strings_stays(encoding: str) -> None:
    out = translated(STRINGS_FILE.encode(encoding), STRINGS, upper)
    assert (
        out.decode(encoding)
        == r"""/* Title of
   the page */
"title" = "BLUE \"COTTON\" SHIRT";
// Not here: "a" = "b";
unquoted = 'IT IS';
"same";
"lines" = "ONE
TWO
THREE中";
"empty" = "" ;
"""
    )


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=4))
def test_any_strings_are_read_again_as_they_were_written(pairs: list[tuple[str, str]]) -> None:
    def quoted(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    readable = [(key.replace("\0", ""), value.replace("\0", "")) for key, value in pairs]
    data = "".join(f"{quoted(key)} = {quoted(value)};\n" for key, value in readable).encode()
    values = [value for _, value in readable if value.strip()]
    assert texts(data, STRINGS) == values
    assert translated(data, STRINGS, same) == data
    out = translated(data, STRINGS, lambda unit: f'{unit.text}"\\x')
    assert texts(out, STRINGS) == [f'{value}"\\x' for value in values]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'"a" = "b"', "line 1: .*no semicolon"),
        (b'\n"a" "b";', 'line 2: .*"key" = "value";'),
        (b'"a" = "b;\n', "line 1: this is no string"),
        (b"\n\n{}", "line 3"),
        (b"\xff\xfe\x00", "UTF-16"),
    ],
)
def test_what_is_no_strings_file_is_refused_with_its_line(data: bytes, says: str) -> None:
    with pytest.raises(FileFormatError, match=says):
        parse_document(data, STRINGS, LANGUAGES)


def test_the_formats_go_by_their_suffixes() -> None:
    assert format_of("messages_en.properties") is PROPERTIES
    assert format_of("en.lproj/Localizable.strings") is STRINGS
