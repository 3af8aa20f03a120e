"""Predictors come and go with the load: Knative's autoscaler with slices that run out, and KEDA with a Prometheus."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import pytest

from tests.cluster.conftest import require
from tests.cluster.features import Features
from tests.cluster.installation import Site, own_namespace, unschedulable
from tests.cluster.kubectl import KubectlError, eventually, kubectl
from tests.cluster.load import Answer, Load, Summary
from tests.cluster.node import a_node
from tests.cluster.prometheus import apply_prometheus, url_of
from tests.cluster.releases import titles

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.slow]

SLICE = "nvidia.com/mig-2g.20gb"
"""Other ones than test_nodes.py plays meanwhile."""
SLICES = 2
MOST = 4
RATE_PER_S = 20.0
SENSITIVE = {
    "autoscaling.knative.dev/target-utilization-percentage": "10",
    "autoscaling.knative.dev/window": "10s",
    "autoscaling.knative.dev/scale-down-delay": "0s",
}
"""A pod for every tenth of a request in flight, and minutes as seconds."""
HELD_S = 10.0
AT_ONCE = 16
"""Texts in flight for KEDA: against 70 % of four slots, they ask for more predictors than there may be."""
KEDA_MOST = 3
UP_S, DOWN_S = 150.0, 150.0


@contextmanager
def slices_on_a_node(count: int) -> Iterator[None]:
    """Give a node of the cluster slices that nothing stands behind, as a device plugin would."""
    node = a_node()
    places = [f"/status/{each}/{SLICE.replace('/', '~1')}" for each in ("capacity", "allocatable")]
    words = ("patch", "node", node, "--subresource=status", "--type=json", "-p")
    kubectl(*words, json.dumps([{"op": "add", "path": place, "value": str(count)} for place in places]))
    try:
        yield
    finally:
        with suppress(KubectlError):
            kubectl(*words, json.dumps([{"op": "remove", "path": place} for place in places]))


def ready(site: Site) -> int:
    """Number of ready predictors."""
    return len(site.installation.ready_pods("predictor") or [])


def test_knative_scales_as_far_as_slices_go_and_back(knative: Site, figures: dict[str, Any]) -> None:
    spec = {"minReplicas": 1, "maxReplicas": MOST, "scaleTarget": 1, "annotations": SENSITIVE}
    site = knative.with_overlay(spec={"predictor": spec}, devices={SLICE: "1"})
    with slices_on_a_node(SLICES), site.serving():
        began = time.monotonic()
        with Load(site.service, titles(f"slices-{time.time()}"), RATE_PER_S) as load:
            eventually("predictors on all slices", lambda: ready(site) == SLICES, UP_S)
            figures["up_after_s"] = round(time.monotonic() - began)
            eventually("a predictor without a slice", lambda: unschedulable(site.installation), UP_S)
            assert gpus(site) == (SLICE, 0)
            time.sleep(HELD_S)
            assert ready(site) == SLICES
        ended = time.monotonic()
        eventually(
            "one predictor again", lambda: len(site.installation.staying_pods("predictor")) == 1, DOWN_S
        )
        figures["down_after_s"] = round(time.monotonic() - ended)
        assert ready(site) == 1
        figures |= load.summary().figures()
        load.summary().assert_whole()


def gpus(site: Site) -> tuple[str, int]:
    """The device that a new revision needs, and how many of it nodes have free, by ``yiwen rollout status``."""
    status = subprocess.run(
        [sys.executable, "-m", "cli", "rollout", "status", "yiwen", "-n", site.installation.namespace, "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (found,) = json.loads(status.stdout)["gpus"]
    return found["resource"], found["nodes_free"]


def test_keda_scales_by_the_queries_of_the_manifest(
    standard: Site, features: Features, tmp_path_factory: pytest.TempPathFactory, figures: dict[str, Any]
) -> None:
    require(features, "Prometheus")
    with own_namespace(features, "prometheus", tmp_path_factory.mktemp("prometheus")) as monitoring:
        apply_prometheus(monitoring, standard.installation.namespace, features.prometheus)
        down = {"autoScaling": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}}}
        overlay = standard.overlay
        site = standard.with_overlay(
            values={**overlay.values, "prometheus": url_of(monitoring.namespace)},
            spec={**overlay.spec, "predictor": {"minReplicas": 1, "maxReplicas": KEDA_MOST, **down}},
        )
        with site.serving():
            began = time.monotonic()
            answers = ask_until(site, lambda: ready(site) == KEDA_MOST)
            figures |= {"texts": len(answers), "up_after_s": round(time.monotonic() - began)}
            ended = time.monotonic()
            eventually(
                "one predictor again", lambda: len(site.installation.staying_pods("predictor")) == 1, DOWN_S
            )
            figures["down_after_s"] = round(time.monotonic() - ended)
    summary = Summary(answers)
    summary.assert_whole()
    assert not summary.unrouted, summary.unrouted[:3]


def ask_until(site: Site, is_enough: Callable[[], bool]) -> list[Answer]:
    """Translate texts, many at once, until something holds; gives the answers.

    Raises:
        AssertionError: it did not hold in time.
    """
    texts, answers = titles(f"keda-{time.time()}"), []
    end = time.monotonic() + UP_S
    while time.monotonic() < end:
        for _ in range(5):
            answers += site.service.translate_all(list(islice(texts, AT_ONCE)))
        if is_enough():
            return answers
    raise AssertionError(f"not within {UP_S:.0f} s: {ready(site)} predictors are ready")
