"""What a PromQL query asks for: enough of its grammar to check names and labels."""

from __future__ import annotations

import re
from typing import NamedTuple

WORDS = {
    *("sum", "count", "max", "min", "avg", "topk", "count_values", "and", "or", "unless"),
    *("rate", "increase", "histogram_quantile", "present_over_time", "min_over_time", "sum_over_time"),
}
"""Functions, aggregations and operators that our queries use."""
_STRING = re.compile(r'"[^"]*"')
_GROUPING = re.compile(r"\b(?:by|on|group_left)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_][\w:]*)\s*(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


class Matcher(NamedTuple):
    """One condition of a selector."""

    label: str
    operator: str
    value: str


class Selector(NamedTuple):
    """A metric's name and the conditions on its labels."""

    name: str
    matchers: tuple[Matcher, ...]


def selectors(query: str) -> list[Selector]:
    """Every selector of a query; what is neither a keyword nor a function counts as one."""
    text = re.sub(r"\[[^]]*\]", "", _GROUPING.sub("", query))
    found = []
    for name, inside in _SELECTOR.findall(_without_loose_strings(text)):
        if name not in WORDS:
            found.append(Selector(name, tuple(Matcher(*parts) for parts in _MATCHER.findall(inside))))
    return found


def grouping_labels(query: str) -> set[str]:
    """Labels that a query groups or joins by."""
    return {label.strip() for inside in _GROUPING.findall(query) for label in inside.split(",")} - {""}


def _without_loose_strings(text: str) -> str:
    """The query without the strings that stand outside of braces."""
    parts = re.split(r"(\{[^}]*\})", text)
    return "".join(part if part.startswith("{") else _STRING.sub("", part) for part in parts)
