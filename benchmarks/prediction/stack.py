"""The processes of one measurement: predictors of one thread each, a round-robin proxy, a transformer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.service import free_port
from benchmarks.transformer_stages.processes import Server, running_server, service_settings

SLOTS = 16


@dataclass(frozen=True, slots=True)
class Stack:
    """A running service."""

    transformer: Server
    predictors: tuple[Server, ...]
    proxy: Server

    def cpu_s(self) -> float:
        """Processor time of all processes so far, seconds."""
        return sum(server.cpu_s() for server in (self.transformer, *self.predictors, self.proxy))


@contextmanager
def running(release: Path, predictors: int) -> Iterator[Stack]:
    """A service that caches nothing."""
    with ExitStack() as stack:
        behind = []
        for port in [free_port() for _ in range(predictors)]:
            settings = service_settings(release, port, quiet=True)
            settings |= {"YIWEN_THREADS": "1", "YIWEN_SLOTS": str(SLOTS)}
            behind.append(stack.enter_context(running_server("predictor", settings, port)))
        middle, front = free_port(), free_port()
        # The proxy says what a predictor says, and those are ready.
        arguments = (str(middle), *(str(server.port) for server in behind))
        proxy = stack.enter_context(
            running_server("benchmarks.prediction.round_robin", {}, middle, *arguments)
        )
        settings = service_settings(release, front, quiet=True)
        settings |= {"YIWEN_PREDICTOR_URL": proxy.url, "YIWEN_CACHE_BYTES": "0"}
        transformer = stack.enter_context(running_server("transformer", settings, front))
        yield Stack(transformer, tuple(behind), proxy)
