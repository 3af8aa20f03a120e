"""Plans that were written are read back, and made again for another load."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from knative.planner import capacity
from knative.planner.candidates import make_candidates
from knative.planner.errors import PlanError
from knative.planner.hardware.catalogue import GPUS
from knative.planner.plan import make_plan
from knative.planner.replan import read_plan
from knative.planner.report import to_json
from knative.planner.request import ServiceWorkload
from knative.simulator.load.workload import Traffic
from tests.knative.planner.requests import plan_request
from tests.knative.planner.test_gpus import SEVEN_B


@pytest.fixture(scope="module", autouse=True)
def _simulated_briefly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capacity, "REQUESTS", 200)
        patch.setattr(capacity, "SECONDS", 1.0)
        yield


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    candidates = make_candidates(SEVEN_B, [GPUS["h200"]], 512, ())
    whole = [c for c in candidates if (c.gpu_slice.name, c.precision) == ("full", "int8")]
    traffic = Traffic(texts_per_request={1: 0.9, 4: 0.1})
    plan = make_plan(whole, plan_request(qps=20, p99_s=2.0, traffic=traffic))
    document: dict[str, Any] = json.loads(json.dumps(to_json(plan)))
    return document


def test_a_written_plan_is_read_back_and_made_again_for_what_came(written: dict[str, Any]) -> None:
    planned = read_plan(written, "plan.json")
    assert (planned.replicas, planned.gpus, planned.cost) == (1, 1, 3.6)
    assert planned.request.workload.traffic.mean_texts == pytest.approx(1.3)
    same = planned.for_load(planned.request.workload)
    assert (same.replicas, same.cost, same.p99_s) == (planned.replicas, planned.cost, planned.p99_s)
    more = planned.for_load(ServiceWorkload(600.0))
    assert more.replicas > 1
    assert more.cost == pytest.approx(3.6 * more.gpus)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"best_profile": None}, "has no plan: nothing met its objective"),
        ({"options": []}, "is not what yiwen plan -o writes"),
        ({"best_profile": {"schema": 0}}, "is not what yiwen plan -o writes"),
        ({"request": {}}, "is not what yiwen plan -o writes .*workload"),
    ],
)
def test_what_is_no_plan_is_refused(written: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        read_plan({**written, **changes}, "plan.json")
    with pytest.raises(PlanError, match="has no plan"):
        read_plan({}, "plan.json")
