"""Writes Grafana's dashboards of the component monitoring, from the questions and queries in its dashboards.yaml.

`make check` fails if one is out of date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

COMPONENT = Path(__file__).resolve().parent.parent / "inferenceservices" / "components" / "monitoring"
SOURCE = COMPONENT / "dashboards.yaml"
DIRECTORY = COMPONENT / "dashboards"
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 12, 8
"""Of a panel; Grafana's grid has 24 columns."""


def read_source(path: Path = SOURCE) -> dict[str, Any]:
    """The dashboards as they are written by hand, by uid."""
    dashboards: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return dashboards


def dashboard(uid: str, source: Mapping[str, Any]) -> dict[str, Any]:
    """One dashboard in Grafana's JSON model."""
    return {
        "uid": uid,
        "title": source["title"],
        "tags": ["yiwen"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": [_panel(number, panel) for number, panel in enumerate(source["panels"])],
    }


def _variables() -> list[dict[str, Any]]:
    namespaces = "label_values(yiwen_build_info, namespace)"
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {
            "name": "namespace",
            "label": "Namespace",
            "type": "query",
            "datasource": DATA_SOURCE,
            "definition": namespaces,
            "query": {"query": namespaces, "refId": "namespaces"},
            "refresh": 2,  # whenever the time range changes
        },
    ]


def _panel(number: int, panel: Mapping[str, Any]) -> dict[str, Any]:
    row, column = divmod(number, 24 // WIDTH)
    return {
        "id": number + 1,
        "title": panel["question"],
        "description": panel.get("note", ""),
        "type": "timeseries",
        "datasource": DATA_SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel["unit"]}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATA_SOURCE,
                "expr": query["expr"].replace("$window", "$__rate_interval"),
                "legendFormat": query["legend"],
            }
            for index, query in enumerate(panel["queries"])
        ],
    }


def files() -> dict[Path, str]:
    """The text of every dashboard by its file."""
    return {
        DIRECTORY / f"{uid}.json": json.dumps(dashboard(uid, source), indent=1, ensure_ascii=False) + "\n"
        for uid, source in read_source().items()
    }


def main() -> int:
    """Write the dashboards; with --check, only check that they are up to date."""
    wanted = files()
    present = {path: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.json")}
    if "--check" in sys.argv[1:]:
        if present == wanted:
            return 0
        print("dashboards/ is not up to date: run python scripts/write_dashboards.py", file=sys.stderr)
        return 1
    for path in present.keys() - wanted.keys():
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
