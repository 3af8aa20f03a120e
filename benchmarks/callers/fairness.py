"""How much one caller's flood delays another caller's single texts.

The small caller sends single titles at Poisson times; the flooding one keeps a few requests of a thousand titles in
flight, each caller from a process of its own. All titles are distinct, so that nothing is cached. Rounds alternate:
the small caller alone, the flood alone, and both. That is done for each ``YIWEN_BULK_SLOWDOWN``, since what the small
caller gains by it the flood loses.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.callers.service import Service, running, with_key
from benchmarks.transformer_stages import processes
from benchmarks.transformer_stages.figures import fates, spread_ms
from benchmarks.transformer_stages.job import LoadJob, LoadRequest, RequestSample, Target
from benchmarks.transformer_stages.setting import infer_body, titles
from benchmarks.transformer_stages.titles import poisson
from transformer.callers.key_file import ApiKey, hash_key

SMALL, FLOOD = "small-caller", "flooding-caller"
LEAD_S = 1.5
"""The flood begins so much before the small caller."""
BODIES = 40
"""Distinct requests of the flood in a round; more than it gets answered."""


@dataclass(frozen=True, slots=True)
class FairnessLoad:
    """What is sent."""

    rounds: int = 3
    seconds: float = 12.0
    """Of the small caller, in each half of a round."""
    rate: float = 20.0
    """Texts of the small caller a second."""
    flood_requests: int = 4
    """Requests of the flooding caller in flight."""
    flood_texts: int = 1000
    """Texts of each of them."""
    threads: int = 1
    """Of the predictor."""
    slots: int = 16
    """Of the predictor."""
    slowdowns: tuple[str, ...] = ("",)
    """Values of ``YIWEN_BULK_SLOWDOWN``, each measured by itself; empty for the default."""


def measure(release: Path, load: FairnessLoad) -> list[dict[str, Any]]:
    """For each slowdown the small caller's latencies alone and beside the flood, and the flood's texts a second."""
    texts = (text for text, _ in titles())
    return [_measure(release, load, slowdown, texts) for slowdown in load.slowdowns]


def _measure(release: Path, load: FairnessLoad, slowdown: str, texts: Iterator[str]) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    alone: list[RequestSample] = []
    beside: list[RequestSample] = []
    floods: list[tuple[float, float]] = []
    keys = [ApiKey(id=secret, sha256=hash_key(secret)) for secret in (SMALL, FLOOD)]
    settings = {"YIWEN_THREADS": str(load.threads)} | ({"YIWEN_BULK_SLOWDOWN": slowdown} if slowdown else {})
    with (
        running(release, keys, slots=load.slots, settings=settings) as service,
        ThreadPoolExecutor(2) as background,
    ):
        (target,) = service.targets
        processes.run_load(_small(target, texts, load, rng))  # warm-up
        for _ in range(load.rounds):
            alone += processes.run_load(_small(target, texts, load, rng)).samples
            flood = background.submit(processes.run_load, _flood(target, texts, load))
            time.sleep(LEAD_S)
            flood_alone = _texts_per_s(service, load.seconds / 3)
            counting = background.submit(_texts_per_s, service, load.seconds)
            small = processes.run_load(_small(target, texts, load, rng)).samples
            beside += small
            floods.append((flood_alone, counting.result() - len(small) / load.seconds))
            flood.result()
    first, second = spread_ms(alone), spread_ms(beside)
    return {
        "slowdown": slowdown or "default",
        "alone": {**first, **fates(alone)},
        "beside": {**second, **fates(beside)},
        "p50_ratio": _ratio(second["p50_ms"], first["p50_ms"]),
        "p99_ratio": _ratio(second["p99_ms"], first["p99_ms"]),
        "flood_alone_texts_per_s": [round(each, 1) for each, _ in floods],
        "flood_texts_per_s": [round(each, 1) for _, each in floods],
    }


def markdown(found: list[dict[str, Any]]) -> str:
    """The figures as a table."""
    lines = [
        "| slowdown | small caller | P50 ms | P95 ms | P99 ms | answered | not | to alone | flood, texts/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        for name, ratio, flood in (
            ("alone", "", each["flood_alone_texts_per_s"]),
            ("beside", _shown(each["p99_ratio"], 2), each["flood_texts_per_s"]),
        ):
            row = each[name]
            figures = " | ".join(_shown(row[f"p{share}_ms"]) for share in (50, 95, 99))
            failed = sum(row[kind] for kind in ("refused", "too_late", "unanswered", "other"))
            speeds = ", ".join(map(str, flood))
            lines.append(
                f"| {each['slowdown']} | {name} | {figures} | {row['ok']} | {failed} | {ratio} | {speeds} |"
            )
    return "\n".join(lines)


def _small(target: Target, texts: Iterator[str], load: FairnessLoad, rng: np.random.Generator) -> LoadJob:
    at_s = poisson(load.rate, load.seconds, rng)
    caller = with_key(target, SMALL)
    requests = [LoadRequest(caller, infer_body([text])) for text in islice(texts, len(at_s))]
    return LoadJob(tuple(requests), at_s=at_s, patience_s=30.0)


def _flood(target: Target, texts: Iterator[str], load: FairnessLoad) -> LoadJob:
    caller = with_key(target, FLOOD)
    bodies = [infer_body(list(islice(texts, load.flood_texts)), deadline_ms=60_000) for _ in range(BODIES)]
    return LoadJob(
        tuple(LoadRequest(caller, body) for body in bodies),
        callers=load.flood_requests,
        seconds=load.seconds * 4 / 3 + LEAD_S,
        patience_s=90.0,
    )


def _texts_per_s(service: Service, seconds: float) -> float:
    """Texts that the predictor finishes a second, over the next seconds."""
    before, began = service.generated(), time.monotonic()
    time.sleep(seconds)
    after, ended = service.generated(), time.monotonic()
    return (after - before) / (ended - began)


def _ratio(over: float | None, under: float | None) -> float | None:
    return None if over is None or not under else round(over / under, 2)


def _shown(value: float | None, digits: int = 1) -> str:
    return "over the limit" if value is None else f"{value:.{digits}f}"
