"""Transformers and predictors of two versions in all four pairs, on one release: what callers get."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.skew.requests import Answer, Request, ask_all, statuses
from tests.skew.versions import Version
from tests.transformer.redis_server import running_redis

NO_CACHE = {"YIWEN_CACHE_BYTES": "0"}
SLOTS = {"YIWEN_THREADS": "1", "YIWEN_SLOTS": "8"}
SMALL_QUEUE = {"YIWEN_THREADS": "1", "YIWEN_SLOTS": "1", "YIWEN_QUEUE_TOKENS": "512"}
FLOOD_CALLERS = 64


@dataclass(frozen=True)
class PairResult:
    """What the callers of one pair got."""

    transformer: str
    predictor: str
    statuses: str
    differing: int
    """Answers that differ from those of the same transformer before its own version's predictor."""
    hits: int = 0
    """Texts that the second pass over a Redis of all pairs found there."""
    flooded: str = ""
    """Statuses of a flood before a predictor with a short queue."""
    is_sound: bool = True


def try_pairs(release: Path, versions: Sequence[Version], requests: Sequence[Request]) -> list[PairResult]:
    """Send the same requests through all pairs: without a cache, then twice over one Redis, then as a flood."""
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis(release.parent)).url
        behind = {v.name: stack.enter_context(v.running("predictor", release, **SLOTS)) for v in versions}
        short = {
            v.name: stack.enter_context(v.running("predictor", release, **SMALL_QUEUE)) for v in versions
        }
        found = {
            (front.name, back.name): _try_pair(
                release, front, behind[back.name], short[back.name], redis, requests
            )
            for front in versions
            for back in versions
        }
    return [_judged(pair, answers, found[pair[0], pair[0]]) for pair, answers in found.items()]


@dataclass(frozen=True)
class _Answers:
    uncached: list[Answer]
    shared: list[Answer]
    again: list[Answer]
    flood: list[Answer]


def _try_pair(
    release: Path, front: Version, predictor: str, short: str, redis: str, requests: Sequence[Request]
) -> _Answers:
    at, before_short = {"YIWEN_PREDICTOR_URL": predictor}, {"YIWEN_PREDICTOR_URL": short}
    with front.running("transformer", release, **at, **NO_CACHE) as url:
        uncached = asyncio.run(ask_all(url, requests))
    with front.running("transformer", release, **at, **NO_CACHE, YIWEN_REDIS_URL=redis) as url:
        shared = asyncio.run(ask_all(url, requests))
        again = asyncio.run(ask_all(url, requests))
    with front.running("transformer", release, **before_short, **NO_CACHE) as url:
        flood = asyncio.run(ask_all(url, [each for each in requests if each.kind == "infer"], FLOOD_CALLERS))
    return _Answers(uncached, shared, again, flood)


def _judged(pair: tuple[str, str], answers: _Answers, own: _Answers) -> PairResult:
    every = [*answers.uncached, *answers.shared, *answers.again]
    differing = sum(
        mine.content != wanted.content
        for mine, wanted in zip(every, [*own.uncached, *own.uncached, *own.uncached], strict=True)
    )
    flooded = {each.status for each in answers.flood}
    is_sound = not differing and all(each.status == 200 for each in every) and flooded <= {200, 429}
    hits = sum(each.cache.count("hit") for each in answers.again)
    return PairResult(*pair, statuses(every), differing, hits, statuses(answers.flood), is_sound)
