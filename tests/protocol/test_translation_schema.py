from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from protocol.translation_schema import translation_schema
from tests.transformer.release import TRANSLATION

PUBLISHED = Path(__file__).parents[2] / "docs" / "translation.schema.json"


def test_the_published_schema_is_that_of_the_code() -> None:
    assert json.loads(PUBLISHED.read_text()) == translation_schema(), (
        "write it again: python -m protocol.translation_schema > docs/translation.schema.json"
    )


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"sentnces": "long"}, []),
        ({"templates": [{"template": "{text}", "target": "zh"}]}, ["templates", 0]),
        ({"stop_tokens": "<|end|>"}, ["stop_tokens"]),
    ],
)
def test_the_schema_finds_unknown_fields_and_wrong_types(change: dict[str, Any], where: list[Any]) -> None:
    validator = jsonschema.Draft202012Validator(translation_schema())
    assert list(validator.iter_errors(TRANSLATION)) == []
    (error,) = validator.iter_errors({**TRANSLATION, **change})
    assert list(error.absolute_path) == where
