"""YAML: values are translated, all else is as it was, as PyYAML reads it."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from documents.formats import FileFormat, parse_document
from documents.interface import DocumentLanguages, FileFormatError
from tests.documents.test_json import upper_values
from tests.documents.translators import LANGUAGES, nothing, same, texts, translated, upper

FILE = """\
# a comment
menu: &menu
  file: Open file   # opens
  quit: 'Don''t quit'
  "no": "no"
  yes: on
  count: 12
  text: |
    one
      two

    three
  folded: >-
    four
    five
  list: [a b, 'c', {d: e f}]
  tagged: !custom text
  anchored: &x hello
  alias: *x
more:
  <<: *menu
  wide: several words
    on two lines
---
other: document
"""


def test_only_values_change_and_keep_their_style() -> None:
    out = translated(FILE.encode(), FileFormat.YAML, upper).decode()
    expected = FILE
    for old, new in (
        ("Open file ", "OPEN FILE "),
        ("'Don''t quit'", "'DON''T QUIT'"),
        (': "no"', ': "NO"'),
        ("one\n      two\n\n    three", "ONE\n      TWO\n\n    THREE"),
        (">-\n    four\n    five", "|-\n    FOUR FIVE"),
        ("[a b, 'c', {d: e f}]", "[A B, 'C', {d: E F}]"),
        ("&x hello", "&x HELLO"),
        ("several words\n    on two lines", "SEVERAL WORDS ON TWO LINES"),
        ("document", "DOCUMENT"),
    ):
        expected = expected.replace(old, new)
    assert out == expected
    assert translated(FILE.encode(), FileFormat.YAML, same) == FILE.encode()
    assert translated(FILE.encode(), FileFormat.YAML, nothing) == FILE.encode()


@pytest.mark.parametrize(
    "answer",
    [
        *(
            "yes",
            "12",
            "- a",
            "a: b",
            "a #b",
            "# a",
            "",
            " a ",
            "a, b",
            "{a}",
            "*a",
            "a\nb",
            "\n",
            "\ta",
            "null",
        ),
        *(
            "a\u2028b",
            "~",
            "2024-01-01",
            "...",
            "a:",
            "'",
            '"',
            "\\",
            "中：文",
            "\x07",
            "=",
            "<<",
            "!x",
            "\ufeff",
        ),
    ],
)
@pytest.mark.parametrize("value", ["a", "'a'", '"a"', "|\n  a\n", ">-\n  a\n", "&b a", "[a]"])
def test_any_answer_means_itself(answer: str, value: str) -> None:
    data = f"key: {value}\nnext: 1\n".encode()
    read = yaml.safe_load(translated(data, FileFormat.YAML, lambda _: answer))
    assert read == {"key": [answer] if value == "[a]" else answer, "next": 1}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab :#-'\"\n,[中é", max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc:", min_size=1), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=60)
@given(
    VALUES, st.sampled_from([None, "'", '"', "|", ">"]), st.sampled_from([None, True, False]), st.booleans()
)
def test_any_file_keeps_what_is_no_text(
    value: object, style: str | None, flow: bool | None, crlf: bool
) -> None:
    text = yaml.safe_dump(value, default_style=style, default_flow_style=flow, allow_unicode=True, width=30)
    data = (text.replace("\n", "\r\n") if crlf else text).encode()
    assert translated(data, FileFormat.YAML, same) == data
    assert yaml.safe_load(translated(data, FileFormat.YAML, upper)) == upper_values(yaml.safe_load(data))


def test_the_root_key_of_a_rails_file_becomes_the_targets() -> None:
    data = b"en:\n  hello: hello\n"
    assert translated(data, FileFormat.YAML, upper) == b"zh:\n  hello: HELLO\n"
    assert translated(data, FileFormat.YAML, same, DocumentLanguages("zh")) == data
    assert texts(b"a: 1\n", FileFormat.YAML) == []


@pytest.mark.parametrize("data", [b"a: [", b"a: *b", b"\xff", b"a: \x07", b"[" * 5_000, b"a: b: c"])
def test_what_is_not_yaml_is_refused(data: bytes) -> None:
    with pytest.raises(FileFormatError):
        parse_document(data, FileFormat.YAML, LANGUAGES)
