"""One request under way: what every step of :mod:`transformer.pipeline` has to know of it besides its texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.messages import TranslateRequest


@dataclass(frozen=True, slots=True)
class Journey:
    """One request under way."""

    headers: Mapping[str, str]
    """What travels on to the predictor, as :func:`transformer.predictors.client.travelling_headers` makes it."""
    max_new_tokens: int | None
    """The caller's bound for each answer, in tokens."""
    deadline: float
    """On the pipeline's clock, seconds."""
    allowed_s: float
    """From arrival to ``deadline``."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What else makes each translation what it is, as :func:`options_of` returns it: a part of every cache key."""


def options_of(request: TranslateRequest) -> dict[str, str]:
    """What of a request makes its translations what they are, for :func:`transformer.cache.cache_key.cache_key`.

    A bound that cuts answers short does, none does not. A text's format does not: a segment's translation is the same
    wherever it stands.
    """
    return {} if request.max_new_tokens is None else {"max_new_tokens": str(request.max_new_tokens)}
