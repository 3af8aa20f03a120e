"""Debian's promtool, which judges what Prometheus would read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    check_rules([{"name": "queries", "rules": rules}], directory)


def check_rules(groups: Sequence[Mapping[str, Any]], directory: Path) -> None:
    """Fail unless Prometheus would take these groups of rules; ``directory`` is for a file."""
    file = _written(directory / "rules.json", {"groups": groups})
    done = _run(["check", "rules", "--lint-fatal", str(file)])
    assert done.returncode == 0, done.stdout + done.stderr


def complaints_about_alerts(
    groups: Sequence[Mapping[str, Any]], tests: Sequence[Mapping[str, Any]], directory: Path
) -> str:
    """What ``promtool test rules`` says about groups of rules; empty where all tests hold.

    Args:
        groups: of rules.
        tests: the list ``tests`` of a file of unit tests.
        directory: for both files.
    """
    _written(directory / "rules.json", {"groups": groups})
    unit_tests = {"rule_files": ["rules.json"], "evaluation_interval": "1m", "tests": tests}
    done = _run(["test", "rules", str(_written(directory / "tests.json", unit_tests))])
    return done.stdout + done.stderr if done.returncode else ""


def queries_without_result(queries: Sequence[str], series: Iterable[str], directory: Path) -> list[str]:
    """Those of the queries that fail or have no result over some series.

    Args:
        queries: in PromQL.
        series: each has a value a minute, and it grows.
        directory: for a file.
    """
    inputs = [{"series": each, "values": "0+1x60"} for each in series]
    # promtool prints the result of a query where it is not the expected one.
    tests = [{"expr": query, "eval_time": "60m", "exp_samples": []} for query in queries]
    unit_tests = {"tests": [{"interval": "1m", "input_series": inputs, "promql_expr_test": tests}]}
    done = _run(["test", "rules", str(_written(directory / "tests.json", unit_tests))])
    found = re.split(r"^ *expr: ", done.stdout + done.stderr, flags=re.MULTILINE)[1:]
    with_result = {json.loads(each[: each.index(", time:")]) for each in found if "got:" in each}
    return [query for query in queries if query not in with_result]


def _written(file: Path, content: Mapping[str, Any]) -> Path:
    """The file, with JSON in it, which is YAML, too."""
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def _run(arguments: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    return subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, check=False)
