"""What the steps of :mod:`transformer.pipeline` know of a request, besides its texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.deadline import Deadline
from protocol.messages import TranslateRequest


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request in progress."""

    headers: Mapping[str, str]
    """Sent on to the predictor, as :func:`transformer.predictors.client.forwarded_headers` makes them."""
    max_new_tokens: int | None
    """The caller's limit for each answer, in tokens."""
    deadline: Deadline
    options: Mapping[str, str] = field(default_factory=dict)
    """What else each translation depends on, as :func:`options_of` returns it: a part of every cache key."""


def options_of(request: TranslateRequest) -> dict[str, str]:
    """The options of a request on which its translations depend, for :func:`transformer.cache.cache_key.cache_key`.

    A limit that cuts answers short is one. The text format is none: a segment has the same translation in all
    formats.
    """
    return {} if request.max_new_tokens is None else {"max_new_tokens": str(request.max_new_tokens)}
