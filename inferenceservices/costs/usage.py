"""What a service's pods used, and what they did for whom, in a span of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PREDICTOR, TRANSFORMER = "predictor", "transformer"


class CostError(Exception):
    """No costs can be computed from what was given; the message says what is wrong and how to fix it."""


@dataclass(frozen=True, slots=True)
class PodUse:
    """One pod."""

    name: str
    component: str
    """``predictor`` or ``transformer``."""
    seconds: float
    """In which it ran."""
    busy_seconds: float | None = None
    """In which a predictor had work; None where that is not known."""
    slice: str = ""
    """MIG profile, ``full`` for a whole GPU, empty where that is not known or there is none."""
    node_type: str = ""
    """Instance type of its node; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class TrafficUse:
    """What was done for a language pair or a caller."""

    texts: float = 0.0
    missed_texts: float = 0.0
    """Texts that neither the cache nor another request's generation answered."""
    characters: float = 0.0
    """Of all texts, Unicode code points."""
    missed_characters: float = 0.0
    prompt_tokens: float = 0.0
    """Of the missed texts; 0 where that is not known."""
    generated_tokens: float = 0.0

    def __add__(self, other: TrafficUse) -> TrafficUse:
        return TrafficUse(
            self.texts + other.texts,
            self.missed_texts + other.missed_texts,
            self.characters + other.characters,
            self.missed_characters + other.missed_characters,
            self.prompt_tokens + other.prompt_tokens,
            self.generated_tokens + other.generated_tokens,
        )

    @property
    def hit_share(self) -> float:
        """Share of the texts that needed no generation of their own; 0 without texts."""
        return 1 - self.missed_texts / self.texts if self.texts else 0.0


@dataclass(frozen=True, slots=True)
class ServiceUse:
    """All of it."""

    seconds: float
    """Length of the span."""
    pods: tuple[PodUse, ...]
    pairs: Mapping[str, TrafficUse]
    """By language pair, such as ``en-zh``."""
    callers: Mapping[str, TrafficUse] = field(default_factory=dict)
    """By the id of the caller's API key; empty where callers have none."""
    requests: float = 0.0
    """Answered with success."""
    peak_requests_per_s: float = 0.0
    """In the busiest five minutes, or in the whole span where it is shorter than an hour."""
    peak_predictors: int = 0
    """Most predictor pods at a time."""
    p99_s: float | None = None
    """Seconds within which 99 % of the successful requests were answered, streams left out; None: not known."""

    @property
    def total(self) -> TrafficUse:
        """Of all pairs."""
        return sum(self.pairs.values(), TrafficUse())
