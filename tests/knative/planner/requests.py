"""Plan requests for tests, from flat arguments."""

from __future__ import annotations

from typing import Any

from knative.planner.request import SLO, CapacityRequest, ServiceWorkload
from knative.simulator.load.workload import Traffic


def plan_request(
    qps: float,
    p99_s: float,
    hit_rate: float = 0.0,
    traffic: Traffic | None = None,
    **limits: Any,
) -> CapacityRequest:
    workload = ServiceWorkload(qps, hit_rate, traffic or Traffic())
    return CapacityRequest(workload, SLO(p99_s), **limits)
