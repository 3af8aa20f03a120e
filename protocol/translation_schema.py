"""The JSON Schema of ``translation.json``: ``docs/translation.schema.json`` is what this prints."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from protocol.release import TRANSLATION_SCHEMA, TranslationSpec


def translation_schema() -> dict[str, Any]:
    """The schema (draft 2020-12), derived from the types that the document is read with."""
    schema = TypeAdapter(TranslationSpec).json_schema()
    schema["properties"]["schema"] = {"const": TRANSLATION_SCHEMA}
    schema["required"] = ["schema", *schema["required"]]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "translation.json"}


if __name__ == "__main__":
    print(json.dumps(translation_schema(), indent=2))
