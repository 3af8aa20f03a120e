"""The JSON Schema of ``translation.json``: ``docs/translation.schema.json`` is what this prints."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from protocol.translation_spec import TRANSLATION_SCHEMAS, TranslationSpec


def translation_schema() -> dict[str, Any]:
    """The schema (draft 2020-12), derived from the types that the document is read with.

    It has no defaults, which a version of Yiwen may change without another form of document.
    """
    schema: dict[str, Any] = _without_defaults(TypeAdapter(TranslationSpec).json_schema())
    schema["properties"]["schema"] = {"enum": list(TRANSLATION_SCHEMAS)}
    schema["required"] = ["schema", *schema["required"]]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "translation.json"}


def _without_defaults(part: Any) -> Any:  # noqa: ANN401 - any part of a schema
    if isinstance(part, list):
        return [_without_defaults(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {key: _without_defaults(value) for key, value in part.items() if key != "default"}


if __name__ == "__main__":
    print(json.dumps(translation_schema(), indent=2))
