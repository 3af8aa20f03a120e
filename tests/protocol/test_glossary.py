from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidRequest, TooLong
from protocol.glossary import (
    MAX_GLOSSARY_CHARACTERS,
    MAX_GLOSSARY_ENTRIES,
    MAX_TERM_CHARACTERS,
    format_glossary,
    load_release_glossary,
    normalize_term,
    parse_glossary,
)
from protocol.messages import Glossary
from protocol.release_documents import ReleaseError

PAIRS = (("en", "zh"), ("zh", "en"))
SECRET = "Mandrake"


def test_terms_are_read_in_their_order_and_in_one_form() -> None:
    read = parse_glossary('{"terms": {" T  shirt\\n": "T恤", "cafe\\u0301": "咖啡馆"}, "keep": ["AcmeCorp"]}')
    assert read == Glossary((("T shirt", "T恤"), ("caf\u00e9", "咖啡馆")), ("AcmeCorp",))


def test_repeated_terms_are_kept_for_validation() -> None:
    assert parse_glossary('{"terms": {"a": "b", "a": "c"}}').terms == (("a", "b"), ("a", "c"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "JSON"),
        ("{", "not JSON"),
        ("[" * 30_000, "not JSON"),
        ("[]", "must be JSON like"),
        ("null", "must be JSON like"),
        ('{"words": {}}', "unknown part; known are terms, keep"),
        ('{"terms": [["a", "b"]]}', "terms must be an object and keep a list"),
        ('{"keep": {"a": "b"}}', "terms must be an object and keep a list"),
        ('{"keep": "a"}', "terms must be an object and keep a list"),
        ('{"keep": [], "keep": []}', "names a part twice"),
        ('{"terms": {"Mandrake": ""}}', r"the translation of terms\[0\] must be a string that is not empty"),
        ('{"terms": {"a": "b", " ": "Mandrake"}}', r"terms\[1\] must be a string"),
        ('{"terms": {"Mandrake": null}}', "must be a string"),
        ('{"keep": ["a", 3]}', r"keep\[1\] must be a string"),
        ('{"keep": ["Mandrake\\ud800"]}', r"keep\[0\] holds half of a surrogate pair"),
        (
            json.dumps({"keep": [SECRET * 40]}),
            f"keep.0. has 320 characters, a term may have {MAX_TERM_CHARACTERS}",
        ),
    ],
)
def test_what_is_no_glossary_is_400_and_says_where(text: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as failure:
        parse_glossary(text)
    assert SECRET not in failure.value.message
    assert failure.value.message.startswith("parameter glossary")


def test_one_that_is_too_large_is_413_and_says_the_limit() -> None:
    with pytest.raises(TooLong, match=f"at most {MAX_GLOSSARY_CHARACTERS} are taken"):
        parse_glossary('{"keep": ["' + "a" * MAX_GLOSSARY_CHARACTERS + '"]}')
    many = {"terms": {f"t{number}": "x" for number in range(MAX_GLOSSARY_ENTRIES)}, "keep": ["y"]}
    with pytest.raises(TooLong, match=f"{MAX_GLOSSARY_ENTRIES + 1} entries, at most {MAX_GLOSSARY_ENTRIES}"):
        parse_glossary(json.dumps(many))


terms = st.text(min_size=1, max_size=20).map(normalize_term).filter(bool)


@given(
    glossary=st.builds(
        Glossary,
        terms=st.lists(st.tuples(terms, terms), max_size=6).map(tuple),
        keep=st.lists(terms, max_size=6).map(tuple),
    )
)
def test_what_is_written_is_read_back(glossary: Glossary) -> None:
    assert parse_glossary(format_glossary(glossary)) == glossary


def write(directory: Path, document: object) -> Path:
    path = directory / "glossary.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_a_release_has_one_for_each_pair_and_keeps_some_in_all(tmp_path: Path) -> None:
    own = {"source": "en", "target": "zh", "terms": {"shirt": "衬衫"}, "keep": ["Acme"]}
    path = write(tmp_path, {"schema": 1, "keep": ["Yiwen"], "pairs": [own]})
    assert load_release_glossary(path, PAIRS).pairs == {
        ("en", "zh"): Glossary((("shirt", "衬衫"),), ("Yiwen", "Acme")),
        ("zh", "en"): Glossary(keep=("Yiwen",)),
    }


def test_a_release_without_one_has_an_empty_one(tmp_path: Path) -> None:
    assert load_release_glossary(tmp_path / "glossary.json", PAIRS).pairs == {}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "must be JSON like"),
        ({"keep": []}, "its schema must be 1"),
        ({"schema": 1, "terms": {}}, "known are schema, keep, pairs"),
        ({"schema": 1, "keep": "a"}, "keep a list"),
        ({"schema": 1, "pairs": {}}, "pairs must be a list"),
        ({"schema": 1, "pairs": [3]}, "must be JSON like"),
        (
            {"schema": 1, "pairs": [{"source": "en", "target": "fr"}]},
            r"pairs\[0\] must be one of the release",
        ),
        ({"schema": 1, "pairs": [{"source": "en", "target": "zh"}] * 2}, r"pairs\[1\] must be one of"),
        (
            {"schema": 1, "pairs": [{"source": "en", "target": "zh", "terms": {"a": 1}}]},
            r"pairs\[0\]: the translation of terms\[0\]",
        ),
    ],
)
def test_a_releases_that_is_wrong_says_which_file_and_why(
    tmp_path: Path, document: object, says: str
) -> None:
    with pytest.raises(ReleaseError, match=says) as failure:
        load_release_glossary(write(tmp_path, document), PAIRS)
    assert "glossary.json" in str(failure.value)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "glossary.json"
    path.write_bytes(b"\xff")
    with pytest.raises(ReleaseError, match="cannot be read"):
        load_release_glossary(path, PAIRS)
