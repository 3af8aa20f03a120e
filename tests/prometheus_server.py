"""Debian's Prometheus as a process, which scrapes given addresses five times a second."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

START_S = 60.0


@contextmanager
def running_prometheus(directory: Path, targets: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Run it; yields its URL.

    Args:
        directory: for its configuration and data.
        targets: labels by address, such as ``127.0.0.1:8080``.
    """
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    static = [{"targets": [address], "labels": dict(labels)} for address, labels in targets.items()]
    # As kube-state-metrics is scraped: what its series say of pods counts, not the target's own labels.
    job = {"job_name": "all", "scrape_interval": "200ms", "honor_labels": True, "static_configs": static}
    config = directory / "prometheus.json"
    config.write_text(json.dumps({"scrape_configs": [job]}), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = ["prometheus", f"--config.file={config}", f"--web.listen-address={address}"]
    command += [f"--storage.tsdb.path={directory / 'data'}", "--log.level=error"]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        end = time.monotonic() + START_S
        while not _is_ready(address):
            assert process.poll() is None, (directory / "prometheus.log").read_text()
            assert time.monotonic() < end, "Prometheus is not ready"
            time.sleep(0.02)
        yield f"http://{address}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/-/ready").status_code == 200
    except httpx.HTTPError:
        return False
