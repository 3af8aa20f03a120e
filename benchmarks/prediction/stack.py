"""The processes of one measurement: predictors with one thread each, a round-robin proxy, a transformer.

Also reads their processor time by thread, so that waiting for a core does not count as work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Protocol

import psutil

from benchmarks.engine.service import free_port
from benchmarks.transformer_stages.job import Target
from benchmarks.transformer_stages.processes import ServerProcess, running_server, service_settings
from knative.profiling.measurement import MetricCounters, connected

SLOTS = 16


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor seconds of the processes and counters of the predictors, summed over all predictors."""

    transformer_s: float
    proxy_s: float
    request_s: float
    """The predictors' main threads, which read requests and write answers."""
    step_s: float
    """The predictors' other threads, which run steps."""
    steps: float
    prompt_tokens: float
    generated_tokens: float

    def since(self, before: Spent) -> Spent:
        """Difference to an earlier reading."""
        return Spent(*(now - then for now, then in zip(astuple(self), astuple(before), strict=True)))

    def counters(self) -> MetricCounters:
        """The counters as in a predictor's metrics, with processor time instead of step time."""
        return MetricCounters(self.steps, self.step_s, self.prompt_tokens, self.generated_tokens)

    @property
    def total_s(self) -> float:
        """Processor seconds of all processes."""
        return self.transformer_s + self.proxy_s + self.request_s + self.step_s


@dataclass(frozen=True, slots=True)
class Stack:
    """A running service."""

    transformer: ServerProcess
    predictors: tuple[ServerProcess, ...]
    proxy: ServerProcess

    def spent(self) -> Spent:
        """Processor time so far."""
        main_s = [main_thread_s(server.process) for server in self.predictors]
        counters = asyncio.run(read_counters(self.predictors))
        return Spent(
            transformer_s=self.transformer.cpu_s(),
            proxy_s=self.proxy.cpu_s(),
            request_s=sum(main_s),
            step_s=sum(server.cpu_s() for server in self.predictors) - sum(main_s),
            steps=sum(each.steps for each in counters),
            prompt_tokens=sum(each.prompt_tokens for each in counters),
            generated_tokens=sum(each.generated_tokens for each in counters),
        )


class MeasuredPredictor(Protocol):
    """A predictor that can be asked directly."""

    @property
    def url(self) -> str: ...


class MeasuredTransformer(Protocol):
    """The end that callers see."""

    @property
    def infer(self) -> Target: ...


class MeasuredService(Protocol):
    """A running service whose processor time can be read."""

    @property
    def transformer(self) -> MeasuredTransformer: ...

    @property
    def predictors(self) -> Sequence[MeasuredPredictor]: ...

    def spent(self) -> Spent:
        """Processor time so far."""


@contextmanager
def running(release: Path, predictors: int) -> Iterator[Stack]:
    """Run a service without a cache."""
    with ExitStack() as stack:
        behind = []
        for port in [free_port() for _ in range(predictors)]:
            settings = service_settings(release, port, quiet=True)
            settings |= {"YIWEN_THREADS": "1", "YIWEN_SLOTS": str(SLOTS)}
            behind.append(stack.enter_context(running_server("predictor", settings, port)))
        middle, front = free_port(), free_port()
        # The proxy forwards a predictor's answer, and the predictors are ready.
        arguments = (str(middle), *(str(server.port) for server in behind))
        proxy = stack.enter_context(
            running_server("benchmarks.prediction.round_robin", {}, middle, *arguments)
        )
        settings = service_settings(release, front, quiet=True)
        settings |= {"YIWEN_PREDICTOR_URL": proxy.url, "YIWEN_CACHE_BYTES": "0"}
        transformer = stack.enter_context(running_server("transformer", settings, front))
        yield Stack(transformer, tuple(behind), proxy)


def main_thread_s(process: psutil.Process) -> float:
    """Processor time of a process's main thread, seconds."""
    (main,) = [thread for thread in process.threads() if thread.id == process.pid]
    return float(main.user_time + main.system_time)


async def read_counters(servers: Sequence[MeasuredPredictor]) -> list[MetricCounters]:
    """Counters of each predictor."""
    found = []
    for server in servers:
        async with connected(server.url) as predictor:
            found.append(await predictor.counters())
    return found
