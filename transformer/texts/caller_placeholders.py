"""Finds what a caller's own regular expressions say must survive. Pure.

RE2 runs them in linear time. What they match is a kept term of the text: verified, masked and part of the cache key
as the terms of a glossary are, but flagged as a placeholder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

import re2

from protocol.errors import InvalidRequest
from transformer.texts.terms import Term

_MAX_MEMORY_BYTES = 1 << 20
"""Of one compiled expression."""


class _ExpressionMatch(Protocol):
    """What a compiled expression finds."""

    def span(self) -> tuple[int, int]: ...


class _CompiledExpression(Protocol):
    """The part of RE2's compiled expressions that is used; the library has no types."""

    def finditer(self, text: str) -> Iterable[_ExpressionMatch]: ...


class CallerPlaceholders:
    """The expressions of one request."""

    def __init__(self, expressions: Sequence[str]) -> None:
        """Compile them.

        Raises:
            InvalidRequest: one is no expression of RE2, or too large.
        """
        self._compiled = [_compiled(number, each) for number, each in enumerate(expressions)]

    def terms(self, text: str) -> list[Term]:
        """The matches in ``text``, in order and without overlap; of those that begin together the first one's."""
        found: list[Term] = []
        spans = [match.span() for expression in self._compiled for match in expression.finditer(text)]
        for start, end in sorted(spans, key=lambda span: span[0]):
            if start < end and (not found or found[-1].end <= start):
                found.append(Term(start, end, text[start:end], None, is_placeholder=True))
        return found


@lru_cache(maxsize=256)
def _compiled(number: int, expression: str) -> _CompiledExpression:
    options = re2.Options()
    options.max_mem = _MAX_MEMORY_BYTES
    options.log_errors = False
    try:
        compiled: _CompiledExpression = re2.compile(expression, options=options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise InvalidRequest(f"parameter placeholders[{number}] is no expression of RE2: {reason}") from None
    return compiled
