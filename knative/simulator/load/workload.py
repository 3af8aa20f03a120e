"""The workload of a simulation: token counts, cache keys and canary draws of all requests.

All random numbers are drawn here, before the simulation begins, except the choice of two pods, which Knative makes at
random as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from knative.simulator.errors import SimulationError
from knative.simulator.load.trace import Floats, Integers, Trace

Booleans = npt.NDArray[np.bool_]


MAX_CHARS = 1_000_000
"""Largest mean length of a text."""
MAX_TEXTS = 1_024
"""Most texts of a request, as ``YIWEN_MAX_TEXTS``."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Lengths of texts where the trace has none. The defaults are assumptions; take your own from a log."""

    chars: float = 60.0
    """Mean characters of a text, e.g. of a product's title."""
    spread: float = 0.4
    """Standard deviation of the characters over their mean; lengths are log-normal."""
    prompt_tokens_per_char: float = 0.3
    template_tokens: int = 8
    """Tokens of the prompt template, without the text."""
    new_tokens_per_char: float = 0.35
    """Tokens of the answer per character of the text, without the stop token."""
    budget: float = 2.0
    """Tokens that a request reserves at admission per token of its answer."""
    texts_per_request: int | dict[int, float] = 1
    """Texts of each request, or the share of requests by their number of texts, as in ``{1: 0.9, 64: 0.1}``."""

    def __post_init__(self) -> None:
        """Check the numbers (SimulationError)."""
        rules = (
            (self.chars >= 1, "chars must be at least 1"),
            (self.chars <= MAX_CHARS, f"chars must be at most {MAX_CHARS:,}"),
            (0 <= self.spread <= 3, "spread must be from 0 to 3"),
            (self.prompt_tokens_per_char > 0, "prompt_tokens_per_char must be above 0"),
            (self.template_tokens >= 0, "template_tokens must not be negative"),
            (self.new_tokens_per_char > 0, "new_tokens_per_char must be above 0"),
            (self.budget >= 1, "budget must be at least 1"),
            (
                bool(self.text_counts) and all(1 <= count <= MAX_TEXTS for count in self.text_counts),
                f"texts_per_request must be from 1 to {MAX_TEXTS:,}",
            ),
            (
                all(0 < share < float("inf") for share in self.text_counts.values()),
                "texts_per_request must have shares above 0",
            ),
        )
        for holds, rule in rules:
            if not holds:
                raise SimulationError(f"traffic: {rule}")

    @property
    def text_counts(self) -> dict[int, float]:
        """Weights of the numbers of texts of a request."""
        texts = self.texts_per_request
        return texts if isinstance(texts, dict) else {texts: 1.0}

    @property
    def mean_texts(self) -> float:
        """Mean number of texts of a request."""
        counts = self.text_counts
        return sum(count * share for count, share in counts.items()) / sum(counts.values())

    def share_with_misses(self, hit_rate: float) -> float:
        """Share of requests that have a text which the cache lacks, if it has a share ``hit_rate`` of texts."""
        counts = self.text_counts
        all_hits = sum(share * hit_rate**count for count, share in counts.items())
        return 1 - all_hits / sum(counts.values())


@dataclass(frozen=True, slots=True)
class CacheModel:
    """Behavior of the transformers' cache, which all replicas share, as with Redis."""

    KINDS: ClassVar[tuple[str, ...]] = ("none", "rate", "zipf", "keys")

    kind: str = "none"
    """``none``; ``rate``: each request is a hit at random, with probability ``rate``; ``zipf``: texts drawn from a
    Zipf distribution, cached for ``ttl_s`` once answered; ``keys``: the same over the trace's own keys."""
    rate: float = 0.0
    """Share of hits."""
    texts: int = 100_000
    """Number of distinct texts."""
    exponent: float = 1.0
    """Text number k comes with weight 1 / k ** exponent."""
    ttl_s: float = 7 * 86_400.0
    """Lifetime of an entry in seconds, as ``YIWEN_REDIS_TTL_S``."""
    warm: float = 0.0
    """Share of the requests whose text is cached at the start, the most frequent texts first."""

    def __post_init__(self) -> None:
        """Check the numbers (SimulationError)."""
        rules = (
            (self.kind in self.KINDS, f"kind must be one of {', '.join(self.KINDS)}"),
            (0 <= self.rate <= 1, "rate must be from 0 to 1"),
            (1 <= self.texts <= 100_000_000, "texts must be from 1 to 100 million"),
            (self.exponent >= 0, "exponent must not be negative"),
            (self.ttl_s > 0, "ttl_s must be above 0"),
            (0 <= self.warm <= 1, "warm must be from 0 to 1"),
        )
        for holds, rule in rules:
            if not holds:
                raise SimulationError(f"cache: {rule}")


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """A trace with all lengths, keys and draws. All arrays have the length N, the number of texts."""

    times: Floats  # [N] seconds, rising
    seconds: float
    chars: Integers  # [N]
    prompt_tokens: Integers  # [N]
    new_tokens: Integers  # [N] the stop token included
    reserved_tokens: Integers  # [N] reserved at admission
    keys: Integers  # [N] text; -1: unknown; -2: a hit of a hit rate
    draws: Floats  # [N] uniform in [0, 1), for the choice of the revision
    too_long: Booleans  # [N] prompt and answer exceed the shortest slot: 413
    starts: Integers | None = None  # [R] first text of each request; None: each text is a request

    def __len__(self) -> int:
        return len(self.times)

    def by_request(self) -> Workload:
        """The same with one row a request: sums of characters and tokens, what the first text has otherwise."""
        starts = self.starts
        if starts is None:
            return self

        def total(values: Integers) -> Integers:
            return np.asarray(np.add.reduceat(values, starts), np.int64)

        return Workload(
            self.times[starts],
            self.seconds,
            total(self.chars),
            total(self.prompt_tokens),
            total(self.new_tokens),
            total(self.reserved_tokens),
            self.keys[starts],
            self.draws[starts],
            np.logical_or.reduceat(self.too_long, starts),
        )


def draw_workload(
    trace: Trace, traffic: Traffic, cache: CacheModel, *, max_sequence_tokens: int, seed: int
) -> Workload:
    """Draw what the trace does not contain.

    Args:
        trace: arrivals.
        traffic: distribution of lengths.
        cache: distribution of texts.
        max_sequence_tokens: longest prompt and answer together; longer ones are too long.
        seed: equal seeds give equal workloads, whatever else the scenario says.

    Raises:
        SimulationError: the cache needs keys, and the trace has none; or the trace has keys, which are of one text
            each, and requests have several texts.
    """
    trace, starts = _texts(trace, traffic, seed)
    chars, prompt, new = _lengths(trace, traffic, seed)
    too_long = prompt + new > max_sequence_tokens
    reserved = prompt + np.minimum(new * traffic.budget, max_sequence_tokens - prompt).astype(np.int64)
    draws = np.random.default_rng([seed, 4]).random(len(trace))
    return Workload(
        trace.times,
        trace.seconds,
        chars,
        prompt,
        new,
        reserved,
        _keys(trace, cache, seed),
        draws,
        too_long,
        starts,
    )


def warm_keys(workload: Workload, cache: CacheModel) -> Integers:
    """Keys that are cached at the start: the most frequent ones, up to a share ``cache.warm`` of all requests."""
    keys, counts = np.unique(workload.keys[workload.keys >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    covered = np.cumsum(counts[order]) <= cache.warm * counts.sum()
    warm: Integers = keys[order][covered].astype(np.int64)
    return warm


def _texts(trace: Trace, traffic: Traffic, seed: int) -> tuple[Trace, Integers | None]:
    """``trace`` with a row for each text, and the first row of each request; None if each has one text."""
    weights = traffic.text_counts
    if set(weights) == {1} or not len(trace):
        return trace, None
    if trace.keys is not None:
        raise SimulationError(
            "traffic: texts_per_request has no effect on a trace with keys, which are of one text each: take one out"
        )
    shares = np.array(list(weights.values()), float)
    rng = np.random.default_rng([seed, 5])
    counts = rng.choice(np.array(list(weights), np.int64), len(trace), p=shares / shares.sum())

    def each(values: Integers | None) -> Integers | None:
        return None if values is None else np.repeat(values, counts)

    times = np.repeat(trace.times, counts)
    texts = Trace(times, trace.seconds, each(trace.chars), each(trace.prompt_tokens), each(trace.new_tokens))
    return texts, np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int64)


def _lengths(trace: Trace, traffic: Traffic, seed: int) -> tuple[Integers, Integers, Integers]:
    rng = np.random.default_rng([seed, 2])
    sigma = np.sqrt(np.log1p(traffic.spread**2))
    drawn = rng.lognormal(np.log(traffic.chars) - sigma**2 / 2, sigma, len(trace))
    chars = trace.chars if trace.chars is not None else np.maximum(1, np.rint(drawn)).astype(np.int64)
    prompt, new = trace.prompt_tokens, trace.new_tokens
    if prompt is None:
        prompt = traffic.template_tokens + np.ceil(chars * traffic.prompt_tokens_per_char).astype(np.int64)
    if new is None:
        new = 1 + np.ceil(chars * traffic.new_tokens_per_char).astype(np.int64)
    return chars, prompt, new


def _keys(trace: Trace, cache: CacheModel, seed: int) -> Integers:
    rng = np.random.default_rng([seed, 3])
    nothing = np.full(len(trace), -1, np.int64)
    if cache.kind == "none":
        return nothing
    if cache.kind == "rate":
        nothing[rng.random(len(trace)) < cache.rate] = -2
        return nothing
    if cache.kind == "keys":
        if trace.keys is None:
            raise SimulationError(
                "the cache goes by keys, and the trace has none: add a column key, or give a rate or zipf"
            )
        return trace.keys
    weights = np.arange(1, cache.texts + 1, dtype=float) ** -cache.exponent
    cumulated = np.cumsum(weights)
    drawn: Integers = np.searchsorted(cumulated, rng.random(len(trace)) * cumulated[-1], side="right")
    return drawn
