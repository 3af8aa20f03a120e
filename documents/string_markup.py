"""Whether a string of an application holds HTML."""

from __future__ import annotations

import re

from protocol.messages import TextFormat

_HTML_TAG = re.compile(
    r"</?(?:a|abbr|b|big|blockquote|br|code|div|em|font|h[1-6]|hr|i|img|kbd|li|mark|ol|p|q|s|small|span|strong|sub|sup"
    r"|table|td|th|tr|u|ul)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)


def format_of_string(text: str) -> TextFormat:
    """HTML if the text has one of its common tags."""
    return TextFormat.HTML if _HTML_TAG.search(text) else TextFormat.TEXT
