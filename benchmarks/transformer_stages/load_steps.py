"""Measures load steps: rising request rates with Zipf-distributed titles, cache off and on, on 1, 4 and 16 slots.

The steps are from 200 to 1,500 requests/s, scaled to the machine: the misses of the last step use the predictor's
capacity on its largest number of slots, less ``HEADROOM``.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine.service import metric
from benchmarks.transformer_stages import figures, processes
from benchmarks.transformer_stages.job import LoadJob, LoadRequest, Outcome
from benchmarks.transformer_stages.processes import ServerProcess
from benchmarks.transformer_stages.setting import HIT, SHARED, BenchmarkSize, infer_body, require_all, titles
from benchmarks.transformer_stages.titles import cached_for, draw, poisson, zipf

SLOTS = (1, 4, 16)
HITS = 0.35
EXPONENT = 0.8
CATALOGUE = 200_000
"""Size of the catalog, so large that a load does not fill the cache with it."""
DEADLINE_MS = 3_000
PATIENCE_S = 10.0
HEADROOM = 0.9
CALIBRATION_CALLERS = 64
IDLE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class LoadStep:
    """One rate and its requests, the same for every setting."""

    unscaled_per_s: int
    """Requests per second before scaling."""
    rate: float
    at_s: tuple[float, ...]
    texts: tuple[str, ...]
    popular: tuple[tuple[str, str], ...]
    """Titles and translations that are in the cache beforehand."""


def measure(release: Path, size: BenchmarkSize) -> dict[str, Any]:
    """Measure the capacity, then all load steps."""
    stream = titles()
    capacity = _capacity(release, [text for text, _ in islice(stream, int(800 * size.closed_s))], size)
    scale = HEADROOM * capacity / ((1 - HITS) * max(size.steps))
    steps = [_step(unscaled_per_s, scale, size.step_s, stream) for unscaled_per_s in size.steps]
    rows = [row for slots in SLOTS for row in _run(release, slots, steps, size)]
    return {
        "capacity_titles_per_s": capacity,
        "scale": scale,
        "exponent": EXPONENT,
        "catalogue": CATALOGUE,
        "wanted_hits": HITS,
        "deadline_ms": DEADLINE_MS,
        "step_s": size.step_s,
        "rows": rows,
    }


def _capacity(release: Path, texts: Sequence[str], size: BenchmarkSize) -> float:
    """Titles per second without cache hits on the largest number of slots."""
    with ExitStack() as stack:
        behind = stack.enter_context(processes.predictor(release, slots=max(SLOTS)))
        front = stack.enter_context(processes.transformer(release, behind, memory=False))
        requests = tuple(LoadRequest(front.infer, infer_body([text])) for text in texts)
        seconds = 2 * size.closed_s
        outcome = processes.run_load(LoadJob(requests, callers=CALIBRATION_CALLERS, seconds=seconds))
        require_all(outcome, "calibration")
    return figures.rate(outcome, seconds, 0.2 * seconds)


def _step(unscaled_per_s: int, scale: float, seconds: float, stream: Iterator[tuple[str, str]]) -> LoadStep:
    """The requests of a step; steps share no titles, so that no step fills the cache of another."""
    rng = np.random.default_rng(unscaled_per_s)
    at_s = poisson(unscaled_per_s * scale, seconds, rng) or (
        0.0,
    )  # one at least, however busy the machine is
    popularity = zipf(CATALOGUE, EXPONENT)
    warmed = cached_for(popularity, len(at_s), HITS)
    ranks = draw(popularity, len(at_s), rng)
    popular = [next(stream) for _ in range(warmed)]
    others = {rank: next(stream)[0] for rank in sorted({rank for rank in ranks if rank >= warmed})}
    texts = tuple(popular[rank][0] if rank < warmed else others[rank] for rank in ranks)
    return LoadStep(unscaled_per_s, unscaled_per_s * scale, at_s, texts, tuple(popular))


def _run(release: Path, slots: int, steps: Sequence[LoadStep], size: BenchmarkSize) -> list[dict[str, Any]]:
    """Run every step on ``slots`` slots, with the cache off and on in turn."""
    rows = []
    with ExitStack() as stack:
        url = stack.enter_context(processes.redis_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        behind = stack.enter_context(processes.predictor(release, slots=slots))
        fronts = {
            "off": stack.enter_context(processes.transformer(release, behind, memory=False)),
            "on": stack.enter_context(processes.transformer(release, behind, redis_url=url)),
        }
        _warm(url, release, folder / "titles.tsv", steps)
        for front in fronts.values():
            _settle(front, behind)
        for step in steps:
            for cache, front in fronts.items():
                outcome = figures.within(_load(front, step), DEADLINE_MS / 1000)
                row = {"slots": slots, "cache": cache, "unscaled_per_s": step.unscaled_per_s}
                rows.append(row | _row(step, outcome, size.step_s))
                _wait_until_idle(behind)
    return rows


def _warm(url: str, release: Path, table: Path, steps: Sequence[LoadStep]) -> None:
    pairs = [pair for step in steps for pair in step.popular]
    table.write_text("".join(f"{text}\t{translation}\n" for text, translation in pairs), encoding="utf-8")
    processes.warm(url, release, table, len(pairs))


def _settle(front: ServerProcess, behind: ServerProcess) -> None:
    """Warm up with a few translations."""
    texts = [f"Titanium Water Bottle with Lid, {number}ml" for number in range(100, 116)]
    outcome = processes.run_load(
        LoadJob(tuple(LoadRequest(front.infer, infer_body([text])) for text in texts))
    )
    require_all(outcome, "warming up")
    _wait_until_idle(behind)


def _load(front: ServerProcess, step: LoadStep) -> Outcome:
    requests = tuple(LoadRequest(front.infer, infer_body([text], DEADLINE_MS)) for text in step.texts)
    return processes.run_load(LoadJob(requests, at_s=step.at_s, patience_s=PATIENCE_S, marks=(HIT, SHARED)))


def _row(step: LoadStep, outcome: Outcome, seconds: float) -> dict[str, Any]:
    answered = [sample for sample in outcome.samples if sample.status == figures.OK]
    found = len([sample for sample in answered if sample.mark == 0])
    return {
        "planned_per_s": step.rate,
        "offered_per_s": len(step.at_s) / seconds,
        "achieved_per_s": figures.rate(outcome, seconds, 0.0),
        "hit_share": found / len(outcome.samples),
        "shared_share": len([sample for sample in answered if sample.mark == 1]) / len(outcome.samples),
        **figures.spread_ms(outcome.samples),
        **figures.fates(outcome.samples),
        "generator_late_p99_ms": figures.percentile([s.late_s for s in outcome.samples], 0.99) * 1e3,
    }


def _wait_until_idle(behind: ServerProcess) -> None:
    end = time.monotonic() + IDLE_TIMEOUT_S
    while any(metric(behind.url, f"yiwen_predictor_{name}") for name in ("slots_used", "waiting_sequences")):
        if time.monotonic() > end:
            raise SystemExit("the predictor is still busy long after the load has ended")
        time.sleep(0.05)
