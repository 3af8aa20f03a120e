"""The form of a text that is translated, cached and compared. Pure."""

from __future__ import annotations

import unicodedata


def normal_text(text: str) -> str:
    """``text`` in Unicode NFC, without outer white space."""
    return unicodedata.normalize("NFC", text.strip())
