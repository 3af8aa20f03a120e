"""Debian's promtool, which judges what Prometheus would read."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest


def complaints_about_metrics(page: str) -> str:
    """What ``promtool check metrics`` says about an answer of ``GET /metrics``; empty for a good one."""
    done = _run(["check", "metrics"], page)
    return done.stdout + done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


def check_queries(queries: Sequence[str], directory: Path) -> None:
    """Fail unless every query is PromQL.

    Args:
        queries: in PromQL.
        directory: for a file of rules.
    """
    file = directory / "rules.json"  # which is YAML, too
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    done = _run(["check", "rules", str(file)])
    assert done.returncode == 0, done.stdout + done.stderr


def _run(arguments: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    return subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, check=False)
