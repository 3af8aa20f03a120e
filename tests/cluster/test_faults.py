"""Pods deleted, evicted and killed, and Redis gone, under 10 requests/s of texts never seen: no request fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import httpx
import pytest

from tests.cluster.installation import Site
from tests.cluster.kubectl import KubectlError, eventually, kubectl
from tests.cluster.load import MODEL, RATE_PER_S, Load
from tests.cluster.node import NodeShell
from tests.cluster.releases import titles

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

WARM_UP_S = 5.0
KNOWN_S = 1.0
"""In which the gateway hears that a pod is not ready."""
LINES = 400
"""Of a text whose stream lasts longer than a promotion."""


@pytest.fixture(scope="module")
def site(knative: Site) -> Iterator[Site]:
    with knative.serving():
        yield knative


@contextmanager
def whole_under_load(site: Site, name: str, figures: dict[str, Any], after_s: float) -> Iterator[None]:
    """Load before, during and after a fault; afterwards every request has its translation.

    Args:
        site: that serves.
        name: of the fault, for the texts.
        figures: that the load's are added to.
        after_s: seconds of load after the fault.
    """
    site.installation.wait_ready()
    eventually("a ready Redis", lambda: site.installation.ready_pods("redis"), 120.0)
    with Load(site.service, titles(f"{name}-{time.time()}")) as load:
        time.sleep(WARM_UP_S)
        yield
        time.sleep(after_s)
    summary = load.summary()
    figures |= summary.figures()
    summary.assert_whole()


@pytest.mark.parametrize(
    "component", ["transformer", "predictor", pytest.param("redis", marks=pytest.mark.slow)]
)
def test_a_deleted_pod_fails_no_request(site: Site, component: str, figures: dict[str, Any]) -> None:
    with whole_under_load(site, component, figures, 20.0):
        (pod, *_) = site.installation.pods(component)
        kubectl("delete", "pod", pod["metadata"]["name"], "-n", site.installation.namespace, "--wait=false")


@pytest.mark.slow
def test_an_evicted_pod_fails_no_request(site: Site, figures: dict[str, Any]) -> None:
    with whole_under_load(site, "evicted", figures, 20.0):
        for component in ("transformer", "predictor"):
            eventually(f"an evicted {component}", partial(_evict, site, component), 120.0)


@pytest.mark.slow
def test_redis_gone_for_a_while_fails_no_request(site: Site, figures: dict[str, Any]) -> None:
    with whole_under_load(site, "redis-gone", figures, 15.0):
        _scale_redis(site, 0)
        eventually("no Redis", lambda: not site.installation.pods("redis"), 60.0)
        time.sleep(15.0)
        _scale_redis(site, 1)
        eventually("a ready Redis", lambda: site.installation.ready_pods("redis"), 120.0)


@pytest.mark.slow
def test_a_killed_transformer_loses_its_own_requests_alone(
    site: Site, node: NodeShell, figures: dict[str, Any]
) -> None:
    site.installation.wait_ready()
    site.installation.patch(transformer={"minReplicas": 2})
    pods = eventually("two ready transformers", lambda: site.installation.ready_pods("transformer", 2), 240.0)
    with Load(site.service, titles(f"killed-transformer-{time.time()}")) as load:
        time.sleep(WARM_UP_S)
        killed = time.monotonic()
        node.signal(pods[0]["metadata"]["uid"], "-m transformer")
        eventually("Kubernetes knows", lambda: has_ended(site, pods[0]), 60.0)
        known = time.monotonic()
        time.sleep(15.0)
    summary = load.summary()
    figures |= {"known_after_s": round(known - killed, 1), **summary.figures()}
    assert not summary.wrong
    # The gateway does not send again what it had not answered, and what it gets until the gateway knows.
    assert all(each.started <= known + KNOWN_S for each in summary.failed), summary.failed[-3:]
    assert len(summary.failed) <= RATE_PER_S * (known - killed + KNOWN_S)


def has_ended(site: Site, pod: dict[str, Any]) -> bool:
    """Whether a container of a transformer's pod is not ready, or was started again."""
    (found,) = [
        each
        for each in site.installation.pods("transformer")
        if each["metadata"]["uid"] == pod["metadata"]["uid"]
    ]
    return any(each["restartCount"] or not each["ready"] for each in found["status"]["containerStatuses"])


@pytest.mark.slow
def test_a_long_stream_survives_a_promotion(site: Site, figures: dict[str, Any]) -> None:
    site.installation.wait_ready()
    site.require_release(site.next_release)
    lines = list(islice(titles(f"long-{time.time()}"), LINES))
    received: list[str] = []
    reader = threading.Thread(target=_read_stream, args=(site, [english for english, _ in lines], received))
    began = time.monotonic()
    reader.start()
    eventually("the first events", lambda: len(received) > 10, 60.0)
    site.serve(site.next_release)
    reader.join(300.0)
    figures |= {"lines": LINES, "events": len(received), "seconds": round(time.monotonic() - began, 1)}
    assert "".join(received).split("\n") == [chinese for _, chinese in lines]


def _read_stream(site: Site, lines: list[str], received: list[str]) -> None:
    parameters = {"source": "en", "target": "zh", "deadline_ms": 60_000}
    service = site.service
    with httpx.stream(
        "POST",
        f"{service.url}/v2/models/{MODEL}/generate_stream",
        json={"text_input": "\n".join(lines), "parameters": parameters},
        headers={"Host": service.host},
        timeout=60,
    ) as response:
        for line in response.iter_lines():
            if line.startswith("data:"):
                received.append(json.loads(line[5:])["text_output"])


def _evict(site: Site, component: str) -> bool:
    """Evict a pod as a drained node does; False if the disruption budget does not let it go now."""
    (pod, *_) = site.installation.pods(component)
    name, namespace = pod["metadata"]["name"], site.installation.namespace
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
    }
    try:
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
        kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    except KubectlError as error:
        if "disruption budget" not in str(error):
            raise
        return False
    return True


def _scale_redis(site: Site, replicas: int) -> None:
    kubectl("scale", "statefulset/yiwen-redis", f"--replicas={replicas}", "-n", site.installation.namespace)
