"""The transformer as a process of its own, as it runs in a pod."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from tests.forkserver import ROOT as ROOT
from tests.forkserver import ForkedProcess, start_module

START_S = 60.0


@dataclass(frozen=True, slots=True)
class Transformer:
    url: str
    process: ForkedProcess


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
    command = ["--release", str(release), "--predictor_host", predictor_url]
    command += ["--http_port", str(port), "--grpc_port", "0", *arguments]
    with tempfile.TemporaryFile("w+") as log:
        process = start_module(
            "transformer",
            *command,
            env=environment(**(settings or {})),
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        served = Transformer(f"http://127.0.0.1:{port}", process)
        try:
            _wait_until(until, served, log)
            yield served
        finally:
            process.terminate()
            process.wait(timeout=START_S)


def _wait_until(state: str, served: Transformer, log: IO[str]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if served.process.poll() is not None:
            log.seek(0)
            raise AssertionError(log.read())
        try:
            if httpx.get(f"{served.url}/v2/health/{state}").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the transformer did not become {state}")
