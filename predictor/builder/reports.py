"""The JSON files in a release's ``reports/``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protocol.files import write_atomically
from protocol.release import REPORTS_DIR


def write_json_report(directory: Path, name: str, document: Mapping[str, Any]) -> Path:
    """Replace ``reports/NAME`` of a release atomically.

    Args:
        directory: of the release.
        name: of the file.
        document: its content.

    Returns:
        The file's path.

    Raises:
        OSError: it cannot be written.
    """
    path = directory / REPORTS_DIR / name
    write_atomically(path, json.dumps(document, indent=2, sort_keys=True) + "\n")
    return path
