"""A real OCI registry on a free port: Debian's docker-registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ports import free_port

PROGRAM = "docker-registry"


@dataclass(frozen=True, slots=True)
class RegistryServer:
    host: str
    root: Path

    def blob_path(self, digest: str) -> Path:
        """Where a blob's bytes lie."""
        algorithm, _, value = digest.partition(":")
        return self.root / "docker/registry/v2/blobs" / algorithm / value[:2] / value / "data"

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(f"http://{self.host}/v2/{path}", **options)


@contextmanager
def running_registry(directory: Path, auth: dict[str, Any] | None = None) -> Iterator[RegistryServer]:
    """The registry, with its files in a directory.

    Args:
        directory: for its files.
        auth: section of the configuration; None lets everybody in.
    """
    if shutil.which(PROGRAM) is None:
        missing = "docker-registry is not installed: apt-get install docker-registry"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    host = f"127.0.0.1:{free_port()}"
    root = directory / "registry"
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(root)}},
        "http": {"addr": host, "secret": "the same in every replica"},
        **({"auth": auth} if auth else {}),
    }
    path = directory / "config.json"  # which is YAML too
    path.write_text(json.dumps(config))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(path)], stdout=log, stderr=log)
    try:
        _wait_until_it_answers(host, process)
        yield RegistryServer(host, root)
    finally:
        process.terminate()
        process.wait()


def _wait_until_it_answers(host: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(500):
        if process.poll() is not None:
            raise AssertionError(f"docker-registry ended with {process.returncode}")
        try:
            httpx.get(f"http://{host}/v2/")
        except httpx.TransportError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("docker-registry did not answer")
