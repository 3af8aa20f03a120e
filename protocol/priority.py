"""The header ``Priority`` of RFC 9218, by which a transformer tells the predictor what may wait.

It is a header and no parameter of the request, so that a predictor that does not know it answers as before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

PRIORITY_HEADER = "priority"
DEFAULT_URGENCY = 3
"""Of a request without the header; 0 is the most urgent, 7 the least."""
BULK_URGENCY = 5
"""Of work beyond its caller's share."""
SECOND_ATTEMPT_GAIN = 1
"""A second attempt is so much more urgent than the first: it has waited once, and a stream may wait for it."""
_URGENCY = re.compile(r"(?:\A|,)\s*u=([0-7])\s*(?:\Z|[,;])")


def urgency_for(*, is_bulk: bool, is_second_attempt: bool) -> int:
    """How urgent prompts are; a second attempt of bulk is bulk still.

    Args:
        is_bulk: whether they are beyond their caller's share.
        is_second_attempt: whether they follow an answer that was flagged.
    """
    return (BULK_URGENCY if is_bulk else DEFAULT_URGENCY) - SECOND_ATTEMPT_GAIN * is_second_attempt


def priority_headers(urgency: int) -> dict[str, str]:
    """The header of a request; none for the default."""
    return {} if urgency == DEFAULT_URGENCY else {PRIORITY_HEADER: f"u={urgency}"}


def urgency_of(headers: Mapping[str, str]) -> int:
    """A request's urgency; the default if the header is missing or cannot be read.

    Args:
        headers: names in lower case.
    """
    found = _URGENCY.search(headers.get(PRIORITY_HEADER, ""))
    return int(found[1]) if found else DEFAULT_URGENCY
