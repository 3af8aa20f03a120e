"""The rules and dashboards of the component monitoring, and the same with every time made shorter by a factor."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.engine.processes import ROOT

COMPONENT = ROOT / "inferenceservices" / "components" / "monitoring"
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+)([smhd])")
_RANGE = re.compile(r"\[[^]]+\]")


class Panel(NamedTuple):
    """One question of a dashboard."""

    dashboard: str
    """Its uid."""
    question: str
    note: str
    """What the question does not say; may be empty."""
    unit: str
    """In Grafana's words."""
    queries: tuple[tuple[str, str], ...]
    """The legend and the PromQL of each, with Grafana's variables."""


def rule_groups() -> list[dict[str, Any]]:
    """The groups of the PrometheusRule."""
    groups: list[dict[str, Any]] = yaml.safe_load((COMPONENT / "rules.yaml").read_text("utf-8"))["spec"][
        "groups"
    ]
    return groups


def panels() -> list[Panel]:
    """The panels of all dashboards, as Grafana reads them."""
    return [panel for path in sorted((COMPONENT / "dashboards").glob("*.json")) for panel in _panels_of(path)]


def titles() -> dict[str, str]:
    """The title of each dashboard by its uid."""
    paths = sorted((COMPONENT / "dashboards").glob("*.json"))
    return {path.stem: json.loads(path.read_text("utf-8"))["title"] for path in paths}


def _panels_of(path: Path) -> Iterator[Panel]:
    for panel in json.loads(path.read_text("utf-8"))["panels"]:
        queries = tuple((target["legendFormat"], target["expr"]) for target in panel["targets"])
        unit = panel["fieldConfig"]["defaults"]["unit"]
        yield Panel(path.stem, panel["title"], panel.get("description", ""), unit, queries)


def filled(query: str, *, namespace: str, window: str) -> str:
    """A panel's query with the values that Grafana would put in.

    Args:
        query: with ``$namespace`` and ``$__rate_interval``.
        namespace: chosen in the dashboard.
        window: for rates, such as ``1m``.
    """
    return query.replace("$namespace", namespace).replace("$__rate_interval", window)


def shortened_duration(text: str, factor: float) -> str:
    """A duration of Prometheus such as ``5m``, divided; in milliseconds, and 1 ms at least."""

    def shorter(match: re.Match[str]) -> str:
        return f"{max(1, round(int(match[1]) * SECONDS[match[2]] * 1000 / factor))}ms"

    return _DURATION.sub(shorter, text)


def shortened_query(query: str, factor: float) -> str:
    """A query whose ranges, and the steps of its subqueries, are divided; thresholds stay as they are."""
    return _RANGE.sub(lambda match: shortened_duration(match[0], factor), query)


def shortened_groups(groups: Sequence[Mapping[str, Any]], factor: float) -> list[dict[str, Any]]:
    """Groups of rules in which everything happens ``factor`` times as fast: ranges and ``for``."""
    return [{**group, "rules": [_shortened(rule, factor) for rule in group["rules"]]} for group in groups]


def _shortened(rule: Mapping[str, Any], factor: float) -> dict[str, Any]:
    shorter = {**rule, "expr": shortened_query(rule["expr"], factor)}
    if "for" in rule:
        shorter["for"] = shortened_duration(rule["for"], factor)
    return shorter
