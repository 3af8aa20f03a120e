"""The JSON files that a checkpoint may have beside its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from predictor.builder.errors import BrokenText


def read_optional_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty if the file is missing or holds something else.

    Raises:
        BrokenText: it cannot be read, or is no JSON.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BrokenText(f"{path} cannot be read: {error}") from error
    return document if isinstance(document, dict) else {}
