"""The processes of one measurement: predictors of one thread each, a round-robin proxy, a transformer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.engine.processes import ROOT
from benchmarks.engine.service import free_port, wait_until_ready

MODEL = "demo"
SLOTS = 16
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Stack:
    """A running service."""

    port: int
    """Of the transformer."""
    predictor_ports: tuple[int, ...]
    transformer: psutil.Process
    others: tuple[psutil.Process, ...]
    """Predictors and proxy."""

    def transformer_cpu_s(self) -> float:
        """Processor time of the transformer so far, seconds."""
        return _cpu_s(self.transformer)

    def cpu_s(self) -> float:
        """The same of all processes."""
        return sum(_cpu_s(process) for process in (self.transformer, *self.others))


@contextmanager
def running(release: Path, predictors: int) -> Iterator[Stack]:
    """A service that caches nothing."""
    with ExitStack() as stack:
        ports = tuple(free_port() for _ in range(predictors))
        processes = []
        for port in ports:
            settings = _settings(release, port) | {"YIWEN_THREADS": "1", "YIWEN_SLOTS": str(SLOTS)}
            processes.append(stack.enter_context(_process("predictor", settings)))
            wait_until_ready(processes[-1], port)
        middle = free_port()
        proxy = _process("benchmarks.prediction.round_robin", {}, middle, *ports)
        processes.append(stack.enter_context(proxy))
        _wait_for_port(middle)
        front = free_port()
        settings = _settings(release, front) | {
            "YIWEN_PREDICTOR_URL": f"http://127.0.0.1:{middle}",
            "YIWEN_CACHE_BYTES": "0",
        }
        transformer = stack.enter_context(_process("transformer", settings))
        wait_until_ready(transformer, front)
        others = tuple(psutil.Process(process.pid) for process in processes)
        yield Stack(front, ports, psutil.Process(transformer.pid), others)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def _process(module: str, settings: Mapping[str, str], *arguments: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("YIWEN_")}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        env={**environment, **settings},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _settings(release: Path, port: int) -> dict[str, str]:
    return {
        "YIWEN_RELEASE": str(release),
        "YIWEN_MODEL_NAME": MODEL,
        "YIWEN_HOST": "127.0.0.1",
        "YIWEN_HTTP_PORT": str(port),
        "YIWEN_GRPC_PORT": "0",
        "YIWEN_LOG_LEVEL": "warning",
    }


def _wait_for_port(port: int) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("the proxy did not start")
