"""Processes of the service that a Prometheus watches, each in the place of a pod."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.monitoring.prometheus import Prometheus
from tests.forkserver import ForkedProcess, start_module
from tests.transformer.process import environment

PATIENCE_S = 90.0
"""For what takes seconds on a machine that does nothing else."""
MODEL = "random"


@dataclass(frozen=True)
class Pod:
    """A process of one of the services."""

    name: str
    port: int
    process: ForkedProcess
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def page(self) -> str:
        """What it answers on /metrics."""
        return httpx.get(f"{self.url}/metrics", timeout=PATIENCE_S).text

    def wait_until(self, state: str) -> None:
        """Wait until it is ``live`` or ``ready``."""

        def answers() -> bool:
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
            try:
                return httpx.get(f"{self.url}/v2/health/{state}").status_code == 200
            except httpx.TransportError:
                return False

        eventually(answers, f"{self.name} is {state}")


@contextmanager
def running(
    module: str, port: int, release: Path, settings: Mapping[str, str], *, name: str = ""
) -> Iterator[Pod]:
    """``python -m MODULE`` over a release, not waited for."""
    own = {
        "YIWEN_RELEASE": str(release), "YIWEN_MODEL_NAME": MODEL, "YIWEN_HTTP_PORT": str(port),
        "YIWEN_GRPC_PORT": "0",
    }  # fmt: skip
    if module == "predictor":
        own |= {"YIWEN_THREADS": "1"}
    with tempfile.NamedTemporaryFile("w+") as log:
        process = start_module(module, env=environment(**{**own, **settings}), stderr=log)
        try:
            yield Pod(name or f"{module}-0", port, process, Path(log.name))
        finally:
            process.kill()
            process.wait()


def eventually(holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until something holds; the test fails if it does not for long."""
    end = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end, f"not within {patience_s:.0f} s: {what}"
        time.sleep(0.05)


def all_are_read(prometheus: Prometheus, namespace: str, pods: int) -> bool:
    """Whether the newest reading of each pod succeeded."""
    return prometheus.value(f'sum(up{{namespace="{namespace}"}})') == pods
