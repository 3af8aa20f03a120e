"""No predictor without requests: hits without one, and from zero one request and sixty at once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any

import pytest

from tests.cluster.installation import Site
from tests.cluster.kubectl import eventually, kubectl
from tests.cluster.load import Summary
from tests.cluster.releases import titles

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

FAST = {
    "autoscaling.knative.dev/scale-to-zero-pod-retention-period": "0s",
    "autoscaling.knative.dev/scale-down-delay": "0s",
    "autoscaling.knative.dev/window": "10s",
}
"""Minutes of the component as seconds."""
AT_ONCE = 60
IDLE_END_S = 35.0
"""Within which an idle pod ends after its deletion."""


@pytest.fixture(scope="module")
def idle_site(knative: Site) -> Iterator[Site]:
    """The overlay with the component scale-to-zero."""
    annotations = {"predictor": {"annotations": FAST}}
    site = knative.with_overlay(extra=("redis", "scale-to-zero"), spec=annotations)
    with site.serving():
        yield site


def wait_for_zero(site: Site) -> None:
    """No predictor, also none that drains: it may still get a request by a connection that is open."""
    eventually("no predictor", lambda: not site.installation.pods("predictor"), 240.0)
    time.sleep(2.0)  # the activator is told


def test_hits_need_no_predictor(idle_site: Site, figures: dict[str, Any]) -> None:
    texts = list(islice(titles(f"idle-{time.time()}"), 10))
    assert {each.status for each in idle_site.service.translate_all(texts)} == {200}
    eventually("no predictor", lambda: not idle_site.installation.staying_pods("predictor"), 240.0)
    began = time.monotonic()
    answers = idle_site.service.translate_all(texts)
    figures |= {"hits_ms": round(1000 * (time.monotonic() - began))}
    assert {(each.status, each.cache) for each in answers} == {(200, "hit")}
    assert not idle_site.installation.staying_pods("predictor")


def test_one_request_from_zero(idle_site: Site, figures: dict[str, Any]) -> None:
    wait_for_zero(idle_site)
    sent = time.time()
    (answer,) = idle_site.service.translate_all(list(islice(titles(f"one-{time.time()}"), 1)))
    Summary([answer]).assert_whole()
    figures["first_byte_s"] = round(answer.seconds, 2)
    figures |= parts_of_start(idle_site, sent)


@pytest.mark.slow
def test_sixty_requests_at_once_from_zero(idle_site: Site, figures: dict[str, Any]) -> None:
    wait_for_zero(idle_site)
    answers = idle_site.service.translate_all(list(islice(titles(f"sixty-{time.time()}"), AT_ONCE)))
    seconds = sorted(each.seconds for each in answers)
    figures |= {"p50_s": round(seconds[AT_ONCE // 2], 2), "slowest_s": round(seconds[-1], 2)}
    Summary(answers).assert_whole()


@pytest.mark.slow
def test_idle_pods_end_soon_after_their_deletion(idle_site: Site, figures: dict[str, Any]) -> None:
    (answer,) = idle_site.service.translate_all(list(islice(titles(f"end-{time.time()}"), 1)))
    assert answer.status == 200
    for component in ("transformer", "predictor"):
        (pod, *_) = idle_site.installation.staying_pods(component)
        name, namespace = pod["metadata"]["name"], idle_site.installation.namespace
        began = time.monotonic()
        kubectl("delete", "pod", name, "-n", namespace, "--timeout=120s", timeout_s=150)
        figures[f"{component}_s"] = round(time.monotonic() - began, 1)
        idle_site.installation.wait_ready()
    assert max(figures.values()) <= IDLE_END_S


def parts_of_start(site: Site, sent: float) -> dict[str, float]:
    """Seconds from the request to each step of the predictor's start, as the pod's status has them."""
    (pod,) = site.installation.staying_pods("predictor")
    times = {"created": pod["metadata"]["creationTimestamp"]}
    for each in pod["status"]["conditions"]:
        times[each["type"]] = each["lastTransitionTime"]
    for each in pod["status"]["containerStatuses"]:
        times[f"{each['name']} started"] = each["state"]["running"]["startedAt"]
    name, namespace = pod["metadata"]["name"], site.installation.namespace
    for line in kubectl("logs", name, "-c", "kserve-container", "-n", namespace).splitlines():
        if line.startswith("{") and (entry := json.loads(line))["message"] == "serving":
            times["process serves"] = entry["ts"]
    return {name: round(_seconds(text) - sent, 2) for name, text in times.items() if text}


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
