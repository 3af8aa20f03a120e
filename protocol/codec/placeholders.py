"""The request parameter ``placeholders``: regular expressions of what must survive a translation.

It is a JSON list of strings in a string, the only form that gRPC parameters allow; in JSON it may be the list itself.
"""

from __future__ import annotations

import json

from protocol.codec.parameters import Parameters
from protocol.errors import InvalidRequest

MAX_EXPRESSIONS = 32
MAX_EXPRESSION_CHARACTERS = 500
_NAME = "placeholders"


def placeholders_of(parameters: Parameters) -> tuple[str, ...]:
    """The expressions of a request; empty without the parameter.

    Raises:
        InvalidRequest: it is no list of strings, or too long.
    """
    given = parameters.values.get(_NAME)
    if given is None:
        return ()
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = None
    if not isinstance(given, list) or not all(isinstance(each, str) and each for each in given):
        raise InvalidRequest(
            f'parameter {_NAME} must be a JSON list of regular expressions, as ["<<[a-z]+>>"]'
        )
    if len(given) > MAX_EXPRESSIONS:
        raise InvalidRequest(
            f"parameter {_NAME} has {len(given)} expressions, at most {MAX_EXPRESSIONS} are taken"
        )
    if any(len(each) > MAX_EXPRESSION_CHARACTERS for each in given):
        raise InvalidRequest(
            f"an expression of parameter {_NAME} is longer than {MAX_EXPRESSION_CHARACTERS} characters"
        )
    return tuple(given)


def format_placeholders(expressions: tuple[str, ...]) -> str | None:
    """The parameter for ``expressions``; None for none."""
    return json.dumps(expressions, ensure_ascii=False) if expressions else None
