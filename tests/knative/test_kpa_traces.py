"""Decisions of Knative's own autoscaler for random loads, which the port must make as well.

``data/kpa-traces.jsonl.gz`` holds 300 loads, and what the Go code of Knative Serving 1.21
(``knative.dev/serving`` v0.48.1, ``pkg/autoscaler/scaling`` and ``pkg/autoscaler/aggregation``) decided at each tick.
One load a line:

- ``algorithm``, ``panic_window`` (s) and ``spec``, the decider's fields; ``first_ready``: ready pods at the start
- ``samples``: ``at`` (s after ``EPOCH``) and ``value``, recorded in both windows
- ``ticks``: ``at``, ``ready`` pods, averages ``stable`` and ``panic``, ``valid`` (false: no data), ``desired`` pods
  and ``excess`` burst capacity

A sample comes before a tick of the same time.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from knative.autoscaler.decider import Autoscaler
from knative.autoscaler.targets import DeciderSpec
from knative.autoscaler.windows import TimedFloat64Buckets, WeightedFloat64Buckets

EPOCH = 1_700_000_000.0
BUCKETS = {"linear": TimedFloat64Buckets, "weightedExponential": WeightedFloat64Buckets}


def traces() -> list[dict[str, Any]]:
    with gzip.open(Path(__file__).parent / "data" / "kpa-traces.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


TRACES = traces()


def test_there_are_300_loads_with_some_thousand_decisions() -> None:
    assert len(TRACES) == 300
    assert sum(len(trace["ticks"]) for trace in TRACES) > 5_000


@pytest.mark.parametrize("algorithm", BUCKETS)
def test_golden_decisions_for_random_loads(algorithm: str) -> None:
    for number, trace in enumerate(TRACES):
        if trace["algorithm"] == algorithm:
            replay(trace, f"trace {number}")


def replay(trace: dict[str, Any], name: str) -> None:
    fields = dict(trace["spec"])
    autoscaler = Autoscaler(
        DeciderSpec(**{key: value for key, value in fields.items() if key != "first_ready"}),
        now=EPOCH,
        ready=fields["first_ready"],
    )
    buckets = BUCKETS[trace["algorithm"]]
    stable, panic = buckets(fields["stable_window"]), buckets(trace["panic_window"])
    samples = list(trace["samples"] or [])
    for tick in trace["ticks"]:
        while samples and samples[0]["at"] <= tick["at"]:
            sample = samples.pop(0)
            for window in (stable, panic):
                window.record(EPOCH + sample["at"], sample["value"])
        now, where = EPOCH + tick["at"], f"{name} at {tick['at']} s"
        assert stable.is_empty(now) is not tick["valid"], where
        if not tick["valid"]:
            continue
        averages = stable.window_average(now), panic.window_average(now)
        assert averages == pytest.approx((tick["stable"], tick["panic"]), rel=1e-12, abs=1e-12), where
        result = autoscaler.scale(now, tick["ready"], *averages)
        assert (result.desired_pod_count, result.excess_burst_capacity) == (
            tick["desired"],
            tick["excess"],
        ), where
