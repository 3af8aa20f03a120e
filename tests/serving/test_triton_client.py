"""Triton's own clients, over REST and gRPC: compression, versions, and the parameters that they set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.conftest import MODEL, Server


@pytest.mark.parametrize("surface", ["http", "grpc"])
def test_tritons_client_is_answered(server: Server, surface: str) -> None:
    port = server.http_port if surface == "http" else server.grpc_port
    script = Path(__file__).with_name("triton_client.py")
    ended = subprocess.run(
        [sys.executable, script, surface, f"127.0.0.1:{port}", MODEL],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout)
    assert seen.keys() >= {"plain", "timeout and priority", "gzip", "deflate", "version", "ready"}
    assert [name for name, right in seen.items() if not right] == []
