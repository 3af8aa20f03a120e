"""Rules with a faster clock, and what a picture says."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from benchmarks.monitoring.component import (
    filled,
    panels,
    rule_groups,
    shortened_duration,
    shortened_groups,
    shortened_query,
)
from benchmarks.monitoring.pictures import LINE_COLORS, draw, gapped, legend_of, readable
from benchmarks.monitoring.prometheus import Prometheus, Series
from tests.promtool import check_rules


@pytest.mark.parametrize(
    ("text", "factor", "shorter"),
    [
        ("5m", 60, "5000ms"),
        ("1d", 60, "1440000ms"),
        ("30s", 4, "7500ms"),
        ("1s", 1e6, "1ms"),
        ("2h", 1, "7200000ms"),
    ],
)
def test_durations_are_divided(text: str, factor: float, shorter: str) -> None:
    assert shortened_duration(text, factor) == shorter


def test_ranges_become_shorter_and_thresholds_stay() -> None:
    query = 'sum_over_time(count(up{pod="5m"})[1d:1m]) / rate(x_total[5m]) > 10'
    shorter = 'sum_over_time(count(up{pod="5m"})[1440000ms:1000ms]) / rate(x_total[5000ms]) > 10'
    assert shortened_query(query, 60) == shorter


def test_prometheus_takes_the_shorter_rules(tmp_path: Path) -> None:
    groups = shortened_groups(rule_groups(), 60)
    check_rules(groups, tmp_path)
    (alert,) = (
        rule for group in groups for rule in group["rules"] if rule.get("alert") == "YiwenPredictorNotFound"
    )
    assert alert["for"] == "30000ms"


def test_no_variable_of_grafana_is_left() -> None:
    queries = [filled(query, namespace="n", window="1m") for panel in panels() for _, query in panel.queries]
    assert len(queries) > 60
    assert [query for query in queries if "$" in query] == []


def test_legends_and_units_are_as_grafana_writes_them() -> None:
    assert legend_of("{{status}} {{code}}", {"status": "429", "code": "queue_full"}) == "429 queue_full"
    assert legend_of("{{pod}}", {}) == ""
    written = [readable(0.25, unit) for unit in ("percentunit", "s", "reqps", "h", "short")]
    assert written == ["25 %", "250 ms", "0.25/s", "0.25 h", "0.25"]
    assert readable(3 * 2**20, "bytes") == "3 MiB"
    assert [readable(value, "short") for value in (999.4, 1234.5)] == ["999", "1,234"]
    assert readable(float("nan"), "percentunit") == "nan"


class _Recorded(Prometheus):
    """Gives the same lines for every query but those of other programs."""

    def query_range(self, expr: str, start: float, end: float, step_s: float) -> list[Series]:
        if "kube_" in expr or "DCGM" in expr:
            return []
        times = tuple(start + number * step_s for number in range(int((end - start) / step_s) + 1))
        values = (float("nan"), *map(float, range(1, len(times))))
        return [
            Series({"pod": pod}, times, tuple(factor * value for value in values))
            for factor, pod in enumerate("abcdefg", 1)
        ]


def test_a_dashboard_is_drawn(tmp_path: Path) -> None:
    uid = "yiwen-autoscaling"
    (file,) = draw(
        _Recorded("http://nowhere"), tmp_path, namespace="n", start=0, end=60, window="1m", only=[uid]
    )
    assert file == tmp_path / f"{uid}.png"
    with Image.open(file) as image:
        found = {color for _, color in image.convert("RGB").getcolors(256) or []}
    # Each line keeps its own.
    assert {tuple(bytes.fromhex(color[1:])) for color in LINE_COLORS} <= found


def test_no_line_crosses_steps_without_a_value() -> None:
    minutes, values = gapped(Series({}, (60.0, 120.0, 300.0), (1.0, 2.0, 3.0)), 0.0, 60.0)
    assert minutes == [1.0, 2.0, 5.0, 5.0]
    assert [str(value) for value in values] == ["1.0", "2.0", "nan", "3.0"]
