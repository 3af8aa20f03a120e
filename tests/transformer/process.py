"""The transformer as a process of its own, as it runs in a pod."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
START_S = 60.0


@dataclass(frozen=True, slots=True)
class Transformer:
    url: str
    process: subprocess.Popen[str]


def environment(**settings: str) -> dict[str, str]:
    """This process' environment without its own settings, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("YIWEN_")}
    return {**kept, "YIWEN_HOST": "127.0.0.1", **settings}


@contextmanager
def running_transformer(
    release: Path,
    predictor_url: str,
    *arguments: str,
    settings: Mapping[str, str] | None = None,
    until: str = "ready",
) -> Iterator[Transformer]:
    """``python -m transformer`` on a free port, ``live`` or ``ready``."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "transformer", "--release", str(release)]
    command += ["--predictor_host", predictor_url, "--http_port", str(port), "--grpc_port", "0", *arguments]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(**(settings or {})),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    served = Transformer(f"http://127.0.0.1:{port}", process)
    try:
        _wait_until(until, served)
        yield served
    finally:
        process.terminate()
        process.communicate(timeout=START_S)


def _wait_until(state: str, served: Transformer) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if served.process.poll() is not None:
            raise AssertionError(served.process.communicate()[1])
        try:
            if httpx.get(f"{served.url}/v2/health/{state}").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the transformer did not become {state}")
