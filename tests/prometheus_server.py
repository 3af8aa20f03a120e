"""Debian's Prometheus as a process, which scrapes given addresses five times a second."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.monitoring.prometheus import prometheus_process


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
    with prometheus_process(directory, {"scrape_configs": [job]}) as url:
        yield url
