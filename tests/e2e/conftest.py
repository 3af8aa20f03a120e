"""The whole service, as `yiwen serve` starts it: two real processes on free ports, over a small random release."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import httpx
import psutil
import pytest

from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from tests.e2e.endless_release import build_endless_release
from tests.forkserver import ForkedProcess, start_module
from tests.metric_samples import sample_sum
from tests.ports import free_ports

CHECKPOINT = Path(__file__).parents[2] / "examples" / "demo_model" / "checkpoint"
CALLERS = 200


@dataclass(frozen=True)
class Service:
    """A running pair."""

    process: subprocess.Popen[str] | ForkedProcess
    url: str
    grpc: str
    predictor_url: str
    predictor_grpc: str

    def processes(self) -> dict[str, psutil.Process]:
        """The transformer and the predictor, by the ports they listen on: forked ones have no command line."""
        ports = {name: int(url.rpartition(":")[2]) for name, url in self._urls.items()}
        listening = {
            connection.laddr.port: child
            for child in psutil.Process(self.process.pid).children()
            for connection in child.connections()
            if connection.status == psutil.CONN_LISTEN
        }
        return {name: listening[port] for name, port in ports.items()}

    @property
    def _urls(self) -> dict[str, str]:
        return {"transformer": self.url, "predictor": self.predictor_url}

    def metric(self, selector: str) -> float:
        """Sum of a metric's samples on the predictor."""
        return sample_sum(httpx.get(f"{self.predictor_url}/metrics").text, selector)


@contextmanager
def running_service(
    release_dir: Path, log: Path, forked: bool = True, /, **environment: str
) -> Iterator[Service]:
    """A pair that is ready; whatever happens inside, no process outlives the block.

    Args:
        release_dir: of its release.
        log: file for what the processes write to stderr.
        forked: started by the fork server, in a twentieth of the time; False for the command that users run.
        environment: settings.
    """
    http, grpc, predictor_http, predictor_grpc = free_ports(4)
    command = ["serve", "--release", str(release_dir), "--http-port", str(http), "--grpc-port", str(grpc)]
    command += ["--predictor-http-port", str(predictor_http), "--predictor-grpc-port", str(predictor_grpc)]
    environ = {**os.environ, "YIWEN_HOST": "127.0.0.1", "YIWEN_THREADS": "1", **environment}
    process: subprocess.Popen[str] | ForkedProcess
    with log.open("w") as stderr:
        if forked:
            process = start_module("tests.e2e.forked_serve", *command, env=environ, stderr=stderr)
        else:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli", *command], env=environ, stderr=stderr, text=True
            )
    service = Service(
        process,
        f"http://127.0.0.1:{http}",
        f"127.0.0.1:{grpc}",
        f"http://127.0.0.1:{predictor_http}",
        f"127.0.0.1:{predictor_grpc}",
    )
    try:
        end = time.monotonic() + 60
        while "serving on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        yield service
    finally:
        if process.poll() is None:
            supervisor = psutil.Process(process.pid)
            family = [supervisor, *supervisor.children()]
            process.send_signal(signal.SIGTERM)
            for member in psutil.wait_procs(family, timeout=10)[1]:
                member.kill()
            process.wait()


def stop_service(service: Service) -> int:
    service.process.send_signal(signal.SIGTERM)
    return service.process.wait(timeout=40)


@pytest.fixture(scope="session")
def service_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service") / "stderr.log"


@pytest.fixture(scope="session")
def service(random_release_dir: Path, service_log: Path) -> Iterator[Service]:
    """One pair for all tests that leave it as they found it."""
    with running_service(random_release_dir, service_log, YIWEN_SLOTS="2") as service:
        yield service
        assert stop_service(service) == 0


@pytest.fixture(scope="session")
def endless_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A slot and a connection for each of :data:`CALLERS`, over a model that never stops by itself."""
    directory = tmp_path_factory.mktemp("endless")
    release = build_endless_release(directory)
    settings = {
        "YIWEN_SLOTS": str(CALLERS),
        "YIWEN_MAX_CONNECTIONS": str(2 * CALLERS),
        "YIWEN_PREDICTOR_GROUPS_IN_FLIGHT": str(CALLERS),
        # A busy machine takes minutes for what takes seconds elsewhere.
        "YIWEN_DEFAULT_DEADLINE_MS": "600000",
        "YIWEN_MAX_DEADLINE_MS": "600000",
    }
    with running_service(release, directory / "log", **settings) as service:
        yield service


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The demo release, served for the tests of one module."""
    directory = tmp_path_factory.mktemp("demo")
    request = BuildRequest(checkpoint=CHECKPOINT, out=directory / "demo", name="demo")
    build_release(request, built_at=datetime(2026, 1, 1, tzinfo=timezone.utc), reporter=SilentReporter())
    with running_service(directory / "demo", directory / "log") as service:
        yield service
