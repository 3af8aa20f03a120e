"""Measures what tracing costs a cache hit: off, at 5 % of the requests, and of every one.

The same transformer three times, each with a turn in every round, so that a slowdown of the machine affects all.
Spans go to a server that accepts everything. Ratios are of processor time, medians of the rounds' ratios.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.transformer_stages import figures, processes
from benchmarks.transformer_stages.hits import CALLERS
from benchmarks.transformer_stages.job import LoadJob, LoadRequest
from benchmarks.transformer_stages.processes import ServerProcess
from benchmarks.transformer_stages.setting import (
    HIT,
    SHARED,
    BenchmarkSize,
    infer_body,
    require_all,
    some_titles,
)

TITLES = 256
TURNS = 4
"""Turns of each system for one of the other stages: the differences are small."""
SHARES = {"off": None, "5 %": "0.05", "100 %": "1"}


def measure(release: Path, size: BenchmarkSize) -> dict[str, Any]:
    """Measure the processor time of hits, milliseconds a request."""
    titles = [text for text, _ in some_titles(TITLES)]
    cpu_ms: dict[str, list[float]] = {name: [] for name in SHARES}
    with ExitStack() as stack:
        servers = _start(stack, release)
        for server in servers.values():
            _cpu_ms(server, titles, 0.0)
        for number in range(size.rounds * TURNS):
            order = list(servers.items())
            for name, server in order[number % len(order) :] + order[: number % len(order)]:
                cpu_ms[name].append(_cpu_ms(server, titles, size.closed_s))
    ratios = {name: figures.middle_ratio(cpu_ms[name], cpu_ms["off"]) for name in SHARES}
    return {
        "cpu_ms": {name: median(each) for name, each in cpu_ms.items()},
        "ratios": ratios,
        "rounds": cpu_ms,
    }


def _start(stack: ExitStack, release: Path) -> dict[str, ServerProcess]:
    """The transformers, and all titles in their Redis."""
    pairs = some_titles(TITLES)
    url = stack.enter_context(processes.redis_server())
    table = Path(stack.enter_context(TemporaryDirectory())) / "titles.tsv"
    table.write_text("".join(f"{text}\t{translation}\n" for text, translation in pairs), encoding="utf-8")
    processes.warm(url, release, table, len(pairs))
    behind = stack.enter_context(processes.predictor(release, slots=16))
    collector = stack.enter_context(processes.canned())
    return {
        name: stack.enter_context(
            processes.transformer(release, behind, redis_url=url, further=_settings(collector, share))
        )
        for name, share in SHARES.items()
    }


def _settings(collector: ServerProcess, share: str | None) -> dict[str, str]:
    if share is None:
        return {}
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": share,
    }


def _cpu_ms(server: ServerProcess, titles: list[str], seconds: float) -> float:
    """Processor time of one request in ``seconds`` of load; 0 sends each title once, which fills the memory."""
    requests = tuple(LoadRequest(server.infer, infer_body([title])) for title in titles)
    job = LoadJob(requests, callers=CALLERS, seconds=seconds, marks=(HIT, SHARED))
    before = server.cpu_s()
    outcome = processes.run_load(job)
    if seconds:
        require_all(outcome, "tracing", mark=0)
    return (server.cpu_s() - before) / len(outcome.samples) * 1e3
