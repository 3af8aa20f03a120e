"""The process of a system: reads its configuration, checks tokens or times runs, prints one JSON line.

A system only implements how to run requests; all systems are measured by the same code.
"""

from __future__ import annotations

import abc
import argparse
import gc
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.engine.workloads import SCALES, Request, Workload, reference_requests, workload

# Enough steps to start thread pools and to grow caches to the size that the timed runs need.
WARM_UP_TOKENS = 8


class Unavailable(Exception):
    """The system cannot run here; the table shows the message instead of figures."""


@dataclass(frozen=True)
class Config:
    """Configuration of one process, passed as JSON on its command line."""

    phase: str  # "reference": write the reference tokens; "check": compare with them; "time": measure
    variant: str
    checkpoint: str
    cache: str
    vocab_size: int
    threads: int = 2
    scale: str = "full"
    workloads: tuple[str, ...] = ()
    strategies: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # by workload; a workload that is absent: all
    reference: str = ""
    release: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Config:
        return cls(**json.loads(text))


class System(abc.ABC):
    """A loaded system, ready to run requests."""

    @abc.abstractmethod
    def run(self, work: Workload, strategy: str) -> list[list[int]]:
        """Generate exactly `n_out` greedy tokens for each request, in the order of the requests."""

    @abc.abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of the libraries used."""

    def strategies(self, work: Workload) -> tuple[str, ...]:
        """Strategies to try for `work`; the best one counts."""
        return ("default",)

    def sample(self, work: Workload) -> Workload:
        """A representative part of `work`; only a system that serves one request at a time may shorten it."""
        return work

    def score(self, prompt: Sequence[int], tokens: Sequence[int]) -> list[float] | None:
        """Log-probabilities of `tokens` after `prompt`, if the system returns them."""
        return None


@dataclass(frozen=True)
class Sample:
    """One timed run of one workload."""

    workload: str
    strategy: str
    requests: int
    of_requests: int  # more than `requests` if only a part was run, see `System.sample`
    tokens: int
    wall_s: float
    first_wall_s: float | None  # the same requests with one token each: the prefill
    whole_tokens_per_s: float
    decode_tokens_per_s: float | None


def main(open_system: Callable[[Config], System]) -> int:
    """Run one phase and print its result as the last line of stdout."""
    parser = argparse.ArgumentParser(description="one system's process; started by benchmarks.engine")
    parser.add_argument("--config", required=True, help="JSON, see harness.Config")
    config = Config.from_json(parser.parse_args().config)
    phases = {"reference": _reference, "check": _check, "time": _time}
    try:
        result = phases[config.phase](open_system(config), config)
    except Unavailable as why:
        result = {"unavailable": str(why)}
    print(json.dumps({"phase": config.phase, "variant": config.variant, **result}), flush=True)
    return 0


def _reference(system: System, config: Config) -> dict[str, Any]:
    requests = reference_requests(config.vocab_size, SCALES[config.scale])
    # One at a time: a padded batch is not the ground truth.
    rows = [system.run(Workload("reference", (request,), 1), "default")[0] for request in requests]
    log_probs = [system.score(request.prompt, row) for request, row in zip(requests, rows, strict=True)]
    return {"tokens": rows, "log_probs": log_probs, "versions": system.versions()}


def _check(system: System, config: Config) -> dict[str, Any]:
    """Compare greedy tokens and log-probabilities with the reference.

    Both, because a random model repeats tokens, which hides a wrong rotary embedding; log-probabilities show it.
    """
    if not config.reference:
        return {"tokens_equal_hf": None, "versions": system.versions()}
    reference = json.loads(Path(config.reference).read_text(encoding="utf-8"))
    requests = reference_requests(config.vocab_size, SCALES[config.scale])
    work = Workload("reference", requests, len(requests))
    rows = system.run(work, system.strategies(work)[0])
    _expect_lengths(requests, rows)
    ends = reference["eos_ids"]
    equal = [_equal(row, expected, ends) for row, expected in zip(rows, reference["tokens"], strict=True)]
    differences = [
        abs(ours - theirs)
        for request, tokens, expected in zip(
            requests, reference["tokens"], reference["log_probs"], strict=True
        )
        for ours, theirs in zip(system.score(request.prompt, tokens) or (), expected, strict=False)
    ]
    return {
        "tokens_equal_hf": all(equal),
        "rows_equal_hf": f"{sum(equal)}/{len(equal)}",
        "log_prob_max_diff_hf": max(differences) if differences else None,
        "versions": system.versions(),
    }


def _equal(row: list[int], expected: list[int], eos_ids: list[int]) -> bool:
    # Some systems cannot emit the end token without stopping, and omit it; from there on rows may differ.
    end = next((at for at, token in enumerate(expected) if token in eos_ids), len(expected))
    return row[:end] == expected[:end]


def _time(system: System, config: Config) -> dict[str, Any]:
    samples = []
    for name in config.workloads:
        whole = workload(name, config.vocab_size, SCALES[config.scale])
        work = system.sample(whole)
        strategies = config.strategies.get(name) or system.strategies(work)
        for strategy in strategies:
            system.run(work.shortened(WARM_UP_TOKENS), strategy)
            samples.append(asdict(_measure(system, work, strategy, len(whole.requests))))
    return {"samples": samples, "versions": system.versions()}


def _measure(system: System, work: Workload, strategy: str, of_requests: int) -> Sample:
    first_wall_s = decode = None
    if work.uniform:
        first_wall_s = _wall_s(system, work.shortened(1), strategy)
    wall_s = _wall_s(system, work, strategy)
    if first_wall_s is not None and wall_s > first_wall_s:
        decode = (work.tokens_out - len(work.requests)) / (wall_s - first_wall_s)
    return Sample(
        workload=work.name,
        strategy=strategy,
        requests=len(work.requests),
        of_requests=of_requests,
        tokens=work.tokens_out,
        wall_s=wall_s,
        first_wall_s=first_wall_s,
        whole_tokens_per_s=work.tokens_out / wall_s,
        decode_tokens_per_s=decode,
    )


def _wall_s(system: System, work: Workload, strategy: str) -> float:
    gc.collect()
    start = time.perf_counter()
    rows = system.run(work, strategy)
    elapsed = time.perf_counter() - start
    _expect_lengths(work.requests, rows)
    return elapsed


def _expect_lengths(requests: Sequence[Request], rows: Sequence[Sequence[int]]) -> None:
    wanted, got = [request.n_out for request in requests], [len(row) for row in rows]
    if wanted != got:
        raise RuntimeError(
            f"the system generated {got} tokens where {wanted} were asked for: its figures would lie"
        )
