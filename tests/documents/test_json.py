"""JSON and ARB: values are translated, all else is as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documents.formats import FileFormat, parse_document
from documents.interface import FileFormatError
from protocol.messages import TextFormat
from tests.documents.translators import LANGUAGES, nothing, same, texts, translated, upper

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def upper_values(value: object) -> object:
    if isinstance(value, str):
        return value.upper()
    if isinstance(value, list):
        return [upper_values(each) for each in value]
    if isinstance(value, dict):
        return {key: each if key == "$schema" else upper_values(each) for key, each in value.items()}
    return value


@settings(max_examples=60)
@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_only_values_change(value: object, ascii_only: bool, indent: int | None) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    assert translated(data, FileFormat.JSON, same) == data
    assert translated(data, FileFormat.JSON, nothing) == data
    out = translated(data, FileFormat.JSON, lambda unit: unit.text.upper())
    assert json.loads(out) == upper_values(value)


def test_layout_and_order_stay_byte_for_byte() -> None:
    data = b'\xef\xbb\xbf{ "b" : "one",\r\n\t"a":[1.50, "two" , null],"b":"one" }\r\n'
    out = b'\xef\xbb\xbf{ "b" : "ONE",\r\n\t"a":[1.50, "TWO" , null],"b":"ONE" }\r\n'
    assert translated(data, FileFormat.JSON, upper) == out


def test_a_file_of_escapes_stays_one() -> None:
    assert translated(b'["caf\\u00e9 a"]', FileFormat.JSON, upper) == b'["CAF\\u00c9 A"]'
    assert translated('["café a"]'.encode(), FileFormat.JSON, upper) == '["CAFÉ A"]'.encode()


def test_a_units_place_is_its_key_and_its_text_says_its_format() -> None:
    document = parse_document(
        b'{"menu": {"file": ["Open", "a <b>bold</b> one", "1 < 2 > 0", "{n, plural, other {<b>#</b> files}}"]}}',
        FileFormat.JSON,
        LANGUAGES,
    )
    assert [unit.place for unit in document.units] == [
        "key menu.file.0",
        "key menu.file.1",
        "key menu.file.2",
        "key menu.file.3",
    ]
    assert [unit.text_format for unit in document.units] == [
        TextFormat.TEXT,
        TextFormat.HTML,
        TextFormat.TEXT,
        TextFormat.ICU,
    ]


@pytest.mark.parametrize("data", [b"{", b'{"a": }', b'{"a": "b"} x', b"", b'"\xff"', b"[" * 100_000])
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(FileFormatError):
        parse_document(data, FileFormat.JSON, LANGUAGES)


def test_metadata_of_a_bundle_stays_and_its_locale_is_set() -> None:
    data = b'{"@@locale": "en", "hi": "Hello", "@hi": {"description": "A greeting"}}'
    assert texts(data, FileFormat.ARB) == ["Hello"]
    out = b'{"@@locale": "zh", "hi": "HELLO", "@hi": {"description": "A greeting"}}'
    assert translated(data, FileFormat.ARB, upper) == out


def test_a_bundles_plurals_are_messages_of_icu() -> None:
    data = b'{"n": "{n, plural, =0{No files} other{{n} files}}", "hi": "Hello {name}, {{n}}"}'
    units = parse_document(data, FileFormat.ARB, LANGUAGES).units
    assert [unit.text_format for unit in units] == [TextFormat.ICU, TextFormat.TEXT]
