"""``release.json`` and ``translation.json``: what is read back, and what is refused with which words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from protocol.release import RELEASE_FILE, DecoderShape, Limits, Release, load_release
from protocol.release_documents import ReleaseError
from protocol.translation_spec import load_translation_spec, translation_schema_of
from protocol.version import package_version
from tests.releases import TRANSLATION

RELEASE = Release(
    id="0123456789abcdef",
    name="small",
    family="LlamaForCausalLM",
    precision="float32",
    decoder=DecoderShape(2, 48, 3, 1, 16, 96, 300),
    limits=Limits(256, 32),
    stop_token_ids=(3, 4),
    languages=("en", "zh"),
    provenance={"checkpoint": "small", "versions": {"numpy": "2.0"}, "checkpoint_bytes": 12},
    files={"weights.bin": "ab" * 32},
)


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_a_release_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path / RELEASE_FILE, RELEASE.to_json())
    assert load_release(tmp_path) == RELEASE


@pytest.mark.parametrize(
    ("edit", "schema"),
    [
        ({}, 1),
        ({"templates": []}, 1),
        ({"template": "{source_name}: {text}"}, 2),
        ({"template": "{#context}{context} {/context}{text}"}, 2),
        ({"templates": [{"template": "{text}", "sources": ["en"]}]}, 2),
        ({"sampling": {"temperature": 0.5}}, 2),
        ({"tags": {"opening": "<s>", "closing": "</s>"}}, 2),
    ],
)
def test_what_the_first_version_would_leave_out_has_a_schema_that_it_refuses(
    tmp_path: Path, edit: dict[str, Any], schema: int
) -> None:
    document = {**TRANSLATION, **edit}
    assert translation_schema_of(document) == schema
    for number in (1, 2):
        load_translation_spec(write(tmp_path / "translation.json", {**document, "schema": number}))
    with pytest.raises(ReleaseError, match="has schema 3, this version reads 1 and 2"):
        load_translation_spec(write(tmp_path / "translation.json", {**document, "schema": 3}))


@pytest.mark.parametrize(
    ("builder", "fix"),
    [
        ("99.0.0", f"yiwen 99.0.0 built the release, and this is {package_version()}: use that version"),
        (package_version(), "docs/releases.md shows a whole one"),
        (None, "docs/releases.md shows a whole one"),
    ],
)
def test_a_field_that_another_version_knows_is_refused_with_that_version(
    tmp_path: Path, builder: str | None, fix: str
) -> None:
    versions = {} if builder is None else {"yiwen": builder}
    write(tmp_path / RELEASE_FILE, {**RELEASE.to_json(), "provenance": {"versions": versions}})
    path = write(tmp_path / "translation.json", {**TRANSLATION, "voices": []})
    with pytest.raises(ReleaseError, match="unknown field voices") as raised:
        load_translation_spec(path)
    assert fix in str(raised.value)
    write(path, {**TRANSLATION, "guards": {"checks": ["politeness"]}})
    with pytest.raises(ReleaseError, match=r"guards\.checks may name") as raised:
        load_translation_spec(path)
    assert ("use that version" in str(raised.value)) == ("use that version" in fix)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"id": 7}, "id must be a string, not a number; rebuild the release"),
        ({"stop_token_ids": [1, "2"]}, r"stop_token_ids\[1\] must be a whole number, not a string"),
        ({"limits": {"max_sequence_tokens": 8}}, r"limits\.candidates is missing"),
        ({"limits": [8, 2]}, "limits must be an object"),
        ({"file": {}}, "unknown field file.*did you mean files"),
        ({"schema": 2}, "has schema 2, this version reads 1"),
    ],
)
def test_a_release_with_a_broken_field_is_refused(tmp_path: Path, edit: dict[str, Any], says: str) -> None:
    path = write(tmp_path / RELEASE_FILE, {**RELEASE.to_json(), **edit})
    with pytest.raises(ReleaseError, match=says) as raised:
        load_release(tmp_path)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"pairs": [["en"]]}, r"pairs\[0\]"),
        ({"pairs": [["en", "fr"]]}, "two different known languages"),
        ({"stop_tokens": "<|end|>"}, "stop_tokens must be a list, not a string"),
        ({"languages": {"en": {"name": "English", "prompt": "en"}}}, r"languages\.en\.script is missing"),
        ({"tempalte": "x"}, "unknown field tempalte.*did you mean template"),
        ({"limits": {**TRANSLATION["limits"], "max_new_tokens": 0}}, "max_new_tokens must be positive"),
        (
            {"limits": {**TRANSLATION["limits"], "max_new_tokens": 1.5}},
            "max_new_tokens must be a whole number",
        ),
    ],
)
def test_a_translation_with_a_broken_field_is_refused(
    tmp_path: Path, edit: dict[str, Any], says: str
) -> None:
    path = write(tmp_path / "translation.json", {**TRANSLATION, **edit})
    with pytest.raises(ReleaseError, match=says):
        load_translation_spec(path)


def test_whole_numbers_do_for_a_ratio(tmp_path: Path) -> None:
    limits = {**TRANSLATION["limits"], "new_tokens_per_source_token": 2}
    spec = load_translation_spec(write(tmp_path / "translation.json", {**TRANSLATION, "limits": limits}))
    assert spec.limits.new_tokens(10) == 2 * 10 + spec.limits.extra_new_tokens


def test_a_directory_without_a_release_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="is not a release: build one"):
        load_release(tmp_path)


def test_importing_the_format_does_not_import_pydantic() -> None:
    program = "import sys, protocol.release; sys.exit('pydantic' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=False).returncode
        == 0
    )
