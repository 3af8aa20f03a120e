"""Measures cache hits: requests/s and latency compared with a bare KServe model, and many texts in one request.

Every system gets the same requests and has a turn in every round, so that a slowdown of the machine affects all of
them. Figures are medians over the rounds; ratios are medians of the rounds' ratios.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.transformer_stages import figures, processes
from benchmarks.transformer_stages.job import LoadJob, LoadRequest, Outcome
from benchmarks.transformer_stages.processes import ServerProcess
from benchmarks.transformer_stages.setting import (
    HIT,
    SHARED,
    BenchmarkSize,
    deepl_body,
    grpc_body,
    infer_body,
    require_all,
    some_titles,
)
from benchmarks.transformer_stages.titles import poisson

TITLES = 1024
CALLERS = 32
TEXTS = 64
TEXTS_CALLERS = 4
SKIPPED_SHARE = 0.15
"""Seconds at the start of a closed loop that are not counted."""
TRIALS = (
    "echo",
    "one",
    "many",
    "echo, logging",
    "one, logging",
    "echo, gRPC",
    "one, gRPC",
    "one, from Redis",
    "one, DeepL's API",
    "generator",
)
RATIOS = {
    "one_to_echo": ("one", "echo", 1),
    "one_to_echo_logging": ("one, logging", "echo, logging", 1),
    "grpc_to_echo": ("one, gRPC", "echo, gRPC", 1),
    "redis_to_echo": ("one, from Redis", "echo", 1),
    "deepl_to_one": ("one, DeepL's API", "one", 1),
    "texts_many_to_one": ("many", "one", TEXTS),
    "texts_many_to_echo": ("many", "echo", TEXTS),
}
"""Pairs of trials to compare, with the texts per request of the first for each of the second."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A system and its requests."""

    server: ServerProcess
    texts: int = 1
    hits: bool = True
    grpc: bool = False
    deepl: bool = False
    """Whether it is asked over DeepL's API, whose answers do not say whether they are hits."""

    @property
    def generator(self) -> str:
        """Module of the load generator."""
        return "grpc_load" if self.grpc else "generator"

    def requests(self, titles: list[str]) -> tuple[LoadRequest, ...]:
        """Requests with every title once, ``texts`` titles each."""
        if self.grpc:
            return tuple(LoadRequest(self.server.grpc_infer, grpc_body([title])) for title in titles)
        if self.deepl:
            target = replace(self.server.infer, path="/v2/translate")
            return tuple(LoadRequest(target, deepl_body([title])) for title in titles)
        groups = [titles[start : start + self.texts] for start in range(0, len(titles), self.texts)]
        return tuple(LoadRequest(self.server.infer, infer_body(group)) for group in groups)


def measure(release: Path, size: BenchmarkSize) -> dict[str, Any]:
    """Measure rates and latencies."""
    pairs = some_titles(TITLES)
    titles = [text for text, _ in pairs]
    with ExitStack() as stack:
        trials = _start(stack, release, pairs)
        for name, trial in trials.items():
            _fill(name, trial, titles)
        rates = _rates(trials, titles, size)
        return {**rates, "latency": _latency(trials, titles, rates, size)}


def _start(stack: ExitStack, release: Path, pairs: list[tuple[str, str]]) -> dict[str, Trial]:
    url = stack.enter_context(processes.redis_server())
    table = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "titles.tsv"
    table.write_text("".join(f"{text}\t{translation}\n" for text, translation in pairs), encoding="utf-8")
    processes.warm(url, release, table, len(pairs))
    behind = stack.enter_context(processes.predictor(release, slots=16))

    def transformer(*, grpc: bool = False, quiet: bool = True, memory: bool = True) -> ServerProcess:
        return stack.enter_context(
            processes.transformer(release, behind, redis_url=url, grpc=grpc, quiet=quiet, memory=memory)
        )

    plain, bare = transformer(grpc=True), stack.enter_context(processes.echo(quiet=True))
    servers = (
        Trial(bare, hits=False),
        Trial(plain),
        Trial(plain, texts=TEXTS),
        Trial(stack.enter_context(processes.echo(quiet=False)), hits=False),
        Trial(transformer(quiet=False)),
        Trial(bare, hits=False, grpc=True),
        Trial(plain, grpc=True),
        Trial(transformer(memory=False)),
        Trial(plain, hits=False, deepl=True),
        Trial(stack.enter_context(processes.canned()), hits=False),
    )
    return dict(zip(TRIALS, servers, strict=True))


def _fill(name: str, trial: Trial, titles: list[str]) -> None:
    """Send all requests once, so that Redis' entries are also in memory, and all code has run."""
    if trial.grpc:
        return  # another trial fills this server
    outcome = processes.run_load(LoadJob(trial.requests(titles), callers=CALLERS, marks=(HIT, SHARED)))
    require_all(outcome, name, mark=0 if trial.hits else None)


def _rates(trials: dict[str, Trial], titles: list[str], size: BenchmarkSize) -> dict[str, Any]:
    """Requests/s in a closed loop, and processor time per request."""
    measured: dict[str, list[float]] = {name: [] for name in trials}
    cpu_ms: dict[str, list[float]] = {name: [] for name in trials}
    generator: list[float] = []
    for number in range(size.rounds):
        for name, trial in _turn(trials, number):
            before = trial.server.cpu_s()
            outcome = _closed(name, trial, titles, size)
            cpu_ms[name].append((trial.server.cpu_s() - before) / len(outcome.samples) * 1e3)
            measured[name].append(figures.rate(outcome, size.closed_s, SKIPPED_SHARE * size.closed_s))
            if name != "generator" and not trial.grpc:
                generator.append(outcome.cpu_s / outcome.wall_s)
    return {
        "requests_per_s": measured,
        "server_cpu_ms": cpu_ms,
        "generator_cpu_share": max(generator),
        "ratios": {
            name: times * figures.middle_ratio(measured[over], measured[under])
            for name, (over, under, times) in RATIOS.items()
        },
        "ratios_by_cpu": {
            name: times * figures.middle_ratio(cpu_ms[under], cpu_ms[over])
            for name, (over, under, times) in RATIOS.items()
        },
    }


def _closed(name: str, trial: Trial, titles: list[str], size: BenchmarkSize) -> Outcome:
    callers = CALLERS if trial.texts == 1 else TEXTS_CALLERS
    marks = ("\x03hit", "\x06shared") if trial.grpc else (HIT, SHARED)  # in protobuf: length, then bytes
    job = LoadJob(trial.requests(titles), callers=callers, seconds=size.closed_s, marks=marks)
    outcome = processes.run_load(job, trial.generator)
    require_all(outcome, name, mark=0 if trial.hits else None)
    return outcome


def _latency(
    trials: dict[str, Trial], titles: list[str], rates: dict[str, Any], size: BenchmarkSize
) -> dict[str, Any]:
    """P50 and P99 of each round in an open loop, both systems at half of the slower one's throughput."""
    compared = ("echo", "one")
    load = min(median(rates["requests_per_s"][name]) for name in compared) / 2
    spreads: dict[str, list[dict[str, float | None]]] = {name: [] for name in (*compared, "generator")}
    late_ms: list[float] = []
    for number in range(size.rounds):
        at_s = poisson(load, size.open_s, np.random.default_rng(number))
        for name, trial in _turn({name: trials[name] for name in spreads}, number):
            each = trial.requests(titles)
            requests = tuple(each[place % len(each)] for place in range(len(at_s)))
            outcome = processes.run_load(LoadJob(requests, at_s=at_s, marks=(HIT, SHARED)))
            require_all(outcome, name, mark=0 if trial.hits else None)
            spreads[name].append(figures.spread_ms(outcome.samples))
            late_ms.append(figures.percentile([s.late_s for s in outcome.samples], 0.99) * 1e3)
    p99 = {name: [spread["p99_ms"] or 0.0 for spread in spreads[name]] for name in compared}
    return {
        "requests_per_s": load,
        "rounds": spreads,
        "generator_late_p99_ms": median(late_ms),
        "p99_one_to_echo": figures.middle_ratio(p99["one"], p99["echo"]),
    }


def _turn(trials: dict[str, Trial], number: int) -> list[tuple[str, Trial]]:
    """The trials of a round; each round starts with another one."""
    order = list(trials.items())
    start = number % len(order)
    return order[start:] + order[:start]
