from __future__ import annotations

import json
from pathlib import Path

import pytest

from predictor.builder.errors import BrokenSet
from predictor.builder.evaluate.parallel_texts import ParallelText, read_parallel_texts

WANTED = [ParallelText(("en", "fr"), "one", ("un",)), ParallelText(("en", "fr"), "two", ("deux",))]


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content", "pair"),
    [
        ("four.tsv", "en\tfr\tone\tun\n\nen\tfr\ttwo\tdeux", None),
        ("bom.tsv", "\ufeffen\tfr\tone\tun\r\nen\tfr\ttwo\tdeux\r\n", None),
        ("header.tsv", "en\tfr\none\tun\ntwo\tdeux\n", None),
        ("two.tsv", "one\tun\ntwo\tdeux\n", ("en", "fr")),
    ],
)
def test_tab_separated_lines(tmp_path: Path, name: str, content: str, pair: tuple[str, str] | None) -> None:
    assert read_parallel_texts(write(tmp_path / name, content), references=None, pair=pair) == WANTED


def test_json_lines_may_have_several_references_and_be_those_of_wmt24(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [
        {"source": "en", "target": "fr", "text": "one", "references": ["un", "l'un"]},
        {"lp": "en-zh_CN", "source": "two", "target": "二", "is_bad_source": False},
        {"lp": "en-zh_CN", "source": "canary", "target": "x", "is_bad_source": True},
    ]
    path = write(tmp_path / "set.jsonl", "\n".join(map(json.dumps, lines)))
    assert read_parallel_texts(path, references=None, pair=None) == [
        ParallelText(("en", "fr"), "one", ("un", "l'un")),
        ParallelText(("en", "zh_CN"), "two", ("二",)),
    ]


def test_two_plain_files_take_their_languages_from_their_endings(tmp_path: Path) -> None:
    path, references = (
        write(tmp_path / "dev.en", "one\n\ntwo\n"),
        write(tmp_path / "dev.fr", "un\nleer\ndeux\n"),
    )
    assert read_parallel_texts(path, references=references, pair=None) == WANTED


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "en\tfr\tone", "line 1 has 3 fields"),
        ("a.tsv", "One\tun", "line 1 has 2 fields.*en⇥fr"),
        ("a.tsv", "en\tfr\tone\t ", "line 1 has no text, or no reference"),
        ("a.tsv", "", "holds no text"),
        ("a.jsonl", "{", "line 1 is not JSON"),
        ("a.jsonl", "[]", "line 1 is no JSON object"),
        ("a.jsonl", '{"text": "one", "reference": "un"}', "does not say its languages"),
        ("a.jsonl", '{"source": "en", "target": "fr", "text": "one", "references": []}', "no reference"),
        ("a.jsonl", '{"source": "en", "target": "fr", "text": 1, "reference": "un"}', "no text"),
        ("a.en", "one", "--references"),
    ],
)
def test_what_cannot_be_read_says_where_and_why(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(BrokenSet, match=message):
        read_parallel_texts(write(tmp_path / name, content), references=None, pair=None)


def test_plain_files_of_different_lengths_are_refused(tmp_path: Path) -> None:
    path, references = write(tmp_path / "dev.en", "one\ntwo\n"), write(tmp_path / "dev.fr", "un\n")
    with pytest.raises(BrokenSet, match=r"2 lines, but .* has 1"):
        read_parallel_texts(path, references=references, pair=None)


def test_a_set_with_its_own_references_takes_no_others(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "en\tfr\tone\tun")
    with pytest.raises(BrokenSet, match="leave --references out"):
        read_parallel_texts(path, references=path, pair=None)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BrokenSet, match="cannot be read as UTF-8"):
        read_parallel_texts(tmp_path / "a.tsv", references=None, pair=None)
