"""Starts and stops the processes of a run on free ports, and runs loads on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis

from benchmarks.engine.processes import ROOT
from benchmarks.engine.service import free_port
from benchmarks.transformer_stages.job import LoadJob, Outcome, Target, outcome_from_json
from benchmarks.transformer_stages.setting import MODEL
from cli.serve import is_ready

PYTHON = sys.executable
START_TIMEOUT_S = 60.0
LOAD_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running server process."""

    port: int
    process: psutil.Process
    grpc_port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def infer(self) -> Target:
        return Target(self.port, f"/v2/models/{MODEL}/infer")

    @property
    def grpc_infer(self) -> Target:
        return Target(self.grpc_port, "/inference.GRPCInferenceService/ModelInfer", {})

    def cpu_s(self) -> float:
        """Processor time so far, seconds."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


def start_module(
    module: str, *arguments: str, env: Mapping[str, str], root: Path = ROOT
) -> subprocess.Popen[bytes]:
    """Start ``python -m module`` of the checkout ``root``; its logs are written, as in a cluster, and discarded."""
    python = PYTHON if root == ROOT else str(root / ".venv" / "bin" / "python")
    null = subprocess.DEVNULL
    return subprocess.Popen([python, "-m", module, *arguments], env=env, cwd=root, stdout=null, stderr=null)


def run_module(
    module: str, *arguments: str, env: Mapping[str, str], text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m module`` to its end, with ``text`` as its input."""
    return subprocess.run(
        [PYTHON, "-m", module, *arguments],
        input=text,
        env=env,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=LOAD_TIMEOUT_S,
        check=False,
    )


def run_load(job: LoadJob, generator: str = "generator") -> Outcome:
    """Run a load in a separate process, over HTTP, or over gRPC with ``grpc_load``."""
    module = f"benchmarks.transformer_stages.{generator}"
    done = run_module(module, env=os.environ, text=job.to_json())
    if done.returncode:
        raise SystemExit(f"the load generator failed: {done.stderr.strip()[-2000:]}")
    return outcome_from_json(done.stdout)


@contextmanager
def echo(*, quiet: bool) -> Iterator[ServerProcess]:
    """Run a bare model on KServe's server."""
    port, grpc_port = free_port(), free_port()
    arguments = ["--model_name", MODEL, "--http_port", str(port), "--grpc_port", str(grpc_port)]
    arguments += ["--quiet"] if quiet else []
    with running_server(
        "benchmarks.transformer_stages.echo", {}, port, *arguments, grpc_port=grpc_port
    ) as server:
        yield server


@contextmanager
def canned() -> Iterator[ServerProcess]:
    """Run the server with a fixed answer."""
    port = free_port()
    with running_server("benchmarks.transformer_stages.canned", {}, port, str(port)) as server:
        yield server


@contextmanager
def predictor(
    release: Path, *, slots: int, further: Mapping[str, str] | None = None, root: Path = ROOT
) -> Iterator[ServerProcess]:
    """Run the predictor of the checkout ``root`` on ONNX Runtime, with ``further`` settings."""
    port = free_port()
    own = {"YIWEN_BACKEND": "onnxruntime", "YIWEN_SLOTS": str(slots), **(further or {})}
    environment = service_settings(release, port, quiet=True) | own
    with running_server("predictor", environment, port, root=root) as server:
        yield server


@contextmanager
def transformer(
    release: Path,
    behind: ServerProcess,
    *,
    redis_url: str = "",
    memory: bool = True,
    quiet: bool = True,
    grpc: bool = False,
    further: Mapping[str, str] | None = None,
    root: Path = ROOT,
) -> Iterator[ServerProcess]:
    """Run a transformer in front of ``behind``; without Redis and memory it has no cache.

    Args:
        release: its release.
        behind: its predictor.
        redis_url: empty for none.
        memory: whether it has a cache in memory.
        quiet: whether it logs warnings only.
        grpc: whether it serves gRPC.
        further: settings.
        root: of its checkout.
    """
    port, grpc_port = free_port(), free_port() if grpc else 0
    own = {"YIWEN_PREDICTOR_URL": behind.url, "YIWEN_REDIS_URL": redis_url}
    own |= {"YIWEN_GRPC_PORT": str(grpc_port)}
    own |= {} if memory else {"YIWEN_CACHE_BYTES": "0"}
    environment = service_settings(release, port, quiet=quiet) | own | dict(further or {})
    with running_server("transformer", environment, port, grpc_port=grpc_port, root=root) as server:
        yield server


@contextmanager
def redis_server() -> Iterator[str]:
    """Run an empty Redis without persistence; gives its URL."""
    if shutil.which("redis-server") is None:
        raise SystemExit("redis-server is not installed: apt-get install redis-server")
    port = free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}"
    try:
        with redis.Redis.from_url(url, retry_on_error=[redis.ConnectionError], retry=_patiently()) as client:
            client.ping()
        yield url
    finally:
        process.terminate()
        process.wait()


def empty(redis_url: str) -> None:
    """Remove all entries from Redis."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()


def warm(redis_url: str, release: Path, table: Path, titles: int) -> None:
    """Put the pairs of ``table`` into Redis with `yiwen cache warm`, and check that all are stored."""
    command = ["cache", "warm", str(table), "--release", str(release), "--from", "en", "--to", "zh"]
    done = run_module("cli", *command, env={**_environment(), "YIWEN_REDIS_URL": redis_url})
    with redis.Redis.from_url(redis_url) as client:
        stored = client.dbsize()
    if done.returncode or stored < titles:
        raise SystemExit(f"yiwen cache warm stored {stored} of {titles} titles: {done.stderr.strip()}")


@contextmanager
def running_server(
    module: str,
    environment: Mapping[str, str],
    port: int,
    *arguments: str,
    grpc_port: int = 0,
    root: Path = ROOT,
) -> Iterator[ServerProcess]:
    """Run ``python -m module``; gives it when ``port`` reports ready.

    Args:
        module: of the checkout ``root``.
        environment: its settings; those of this process are left out.
        port: of its REST.
        arguments: of its command line.
        grpc_port: 0 for none.
        root: of a checkout; another than this one has an environment of its own.
    """
    process = start_module(module, *arguments, env={**_environment(), **environment}, root=root)
    try:
        _wait_until_ready(module, process, port)
        yield ServerProcess(port, psutil.Process(process.pid), grpc_port)
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(module: str, process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while not is_ready(port):
        if process.poll() is not None:
            raise SystemExit(f"{module} ended with code {process.returncode}: start it by hand to see why")
        if time.monotonic() > end:
            raise SystemExit(f"{module} was not ready after {START_TIMEOUT_S:.0f} s")
        time.sleep(0.02)


def service_settings(release: Path, port: int, *, quiet: bool) -> dict[str, str]:
    """Settings of either service with HTTP only."""
    return {
        "YIWEN_RELEASE": str(release),
        "YIWEN_MODEL_NAME": MODEL,
        "YIWEN_HOST": "127.0.0.1",
        "YIWEN_HTTP_PORT": str(port),
        "YIWEN_GRPC_PORT": "0",
        "YIWEN_LOG_LEVEL": "warning" if quiet else "info",
    }


def _environment() -> dict[str, str]:
    """Environment of this process without settings that change the measurement."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("YIWEN_", "OTEL_"))}


def _patiently() -> redis.retry.Retry:
    return redis.retry.Retry(redis.backoff.ConstantBackoff(0.02), 250)
