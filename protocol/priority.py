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
_URGENCY = re.compile(r"(?:\A|,)\s*u=([0-7])\s*(?:\Z|[,;])")


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
