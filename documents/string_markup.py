"""Whether a string of an application holds HTML, or is a message of ICU MessageFormat."""

from __future__ import annotations

import re

from protocol.messages import TextFormat

_HTML_TAG = re.compile(
    r"</?(?:a|abbr|b|big|blockquote|br|code|div|em|font|h[1-6]|hr|i|img|kbd|li|mark|ol|p|q|s|small|span|strong|sub|sup"
    r"|table|td|th|tr|u|ul)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_ICU_CHOICE = re.compile(r"(?<![{$#%])\{\s*[\w.-]{1,64}\s*,\s*(?:plural|selectordinal|select)\s*,")


def format_of_string(text: str) -> TextFormat:
    """ICU if the text has a plural or select argument, HTML if it has one of the common tags."""
    if is_icu_message(text):
        return TextFormat.ICU
    return TextFormat.HTML if _HTML_TAG.search(text) else TextFormat.TEXT


def is_icu_message(text: str) -> bool:
    """Whether the text has a plural, selectordinal or select argument."""
    return _ICU_CHOICE.search(text) is not None
