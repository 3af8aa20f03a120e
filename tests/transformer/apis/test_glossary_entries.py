"""Entries of glossaries of DeepL's API."""

from __future__ import annotations

import pytest

from protocol.errors import InvalidRequest
from transformer.apis.glossary_entries import entries_tsv, parse_entries


@pytest.mark.parametrize(
    ("text", "entries_format", "entries"),
    [
        ("shirt\tT恤\n\nlamp\t灯\n", "tsv", {"shirt": "T恤", "lamp": "灯"}),
        ("shirt\tT恤\r\nshirt\tT恤", "tsv", {"shirt": "T恤"}),
        ('shirt,T恤,en,zh\n"a,b","c\nd"', "csv", {"shirt": "T恤", "a,b": "c d"}),
    ],
)
def test_entries_are_read(text: str, entries_format: str, entries: dict[str, str]) -> None:
    assert parse_entries(text, entries_format) == entries
    assert parse_entries(entries_tsv(entries), "tsv") == entries


@pytest.mark.parametrize(
    ("text", "entries_format", "words"),
    [
        ("shirt\tT恤\nlamp\t灯\nshirt\t衬衫", "tsv", "line 3 has another translation of an earlier term"),
        ("shirt\tT恤\nlamp", "tsv", "line 2 is no pair"),
        ("shirt\tT恤\ten", "tsv", "line 1 is no pair"),
        ("shirt\t ", "tsv", "line 1 has an empty or too long term"),
        ("x" * 2_000 + "\ty", "tsv", "line 1 has an empty or too long term"),
        ('"' + "x" * 200_000 + '",y', "csv", "they are no CSV"),
        (" \n", "csv", "there are none"),
        ("shirt\tT恤", "xls", "'entries_format' not supported"),
        ("\n".join(f"{number}\ty" for number in range(20_001)), "tsv", "more than 20000"),
    ],
)
def test_what_would_be_lost_or_is_no_entry_is_refused_by_its_line(
    text: str, entries_format: str, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse_entries(text, entries_format)
