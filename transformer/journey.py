"""One request under way: what every step of :mod:`transformer.pipeline` has to know of it besides its texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Journey:
    """One request under way."""

    headers: Mapping[str, str]
    """What travels on to the predictor, as :func:`transformer.client.travelling_headers` makes it."""
    max_new_tokens: int | None
    """The caller's bound for each answer, in tokens."""
    deadline: float
    """On the pipeline's clock, seconds."""
    allowed_s: float
    """From arrival to ``deadline``."""
