"""A release change and the death of the only predictor, under 10 requests/s of texts never seen: no request fails."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.cluster.installation import Site, unschedulable
from tests.cluster.kubectl import eventually
from tests.cluster.load import Load
from tests.cluster.node import NodeShell
from tests.cluster.releases import titles

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SLOW_S = 60
NEVER_S = 3600
WARM_UP_S = 5.0
AFTER_S = 25.0
"""Load goes on after a change, while the pods of the release before end."""
STUCK_S = 30
"""For which a release is watched whose predictor does not start."""
CHANGES = {"ordinary": 0, "slow": SLOW_S, "never": NEVER_S, "no room": 0}
STUCK = ("never", "no room")
MORE_THAN_A_NODE_HAS = {"cpu": "512"}


@pytest.mark.slow
def test_the_only_predictor_is_killed(site: Site, node: NodeShell, figures: dict[str, Any]) -> None:
    site.installation.wait_ready()
    (pod,) = site.installation.pods("predictor")
    with Load(site.service, titles(f"killed-{time.time()}")) as load:
        time.sleep(WARM_UP_S)
        node.signal(pod["metadata"]["uid"], "-m predictor")
        time.sleep(20.0)
    summary = load.summary()
    figures |= summary.figures()
    (after,) = site.installation.pods("predictor")
    assert sum(each["restartCount"] for each in after["status"]["containerStatuses"]) == 1
    summary.assert_whole()


@pytest.mark.parametrize(
    "change", ["ordinary", *(pytest.param(name, marks=pytest.mark.slow) for name in ("slow", *STUCK))]
)
def test_a_release_change_fails_no_request(site: Site, change: str, figures: dict[str, Any]) -> None:
    site.installation.wait_ready()
    before = site.release
    site.require_release(site.next_release)
    with Load(site.service, titles(f"{change}-{time.time()}")) as load:
        time.sleep(WARM_UP_S)
        began = time.monotonic()
        _apply(site, change)
        if change in STUCK:
            time.sleep(STUCK_S)
        else:
            eventually("answers of the new release alone", lambda: _changed(load), 420.0)
            figures["changed_after_s"] = round(time.monotonic() - began)
            time.sleep(AFTER_S)
    summary = load.summary()
    figures |= summary.figures()
    summary.assert_whole()
    assert len(summary.releases) == (1 if change in STUCK else 2)
    if change in STUCK:
        site.serve(before)
        site.installation.wait_ready()


def _apply(site: Site, change: str) -> None:
    """Apply the next release, whose predictor starts as ``change`` says."""
    if change == "no room":
        site.with_overlay(devices=MORE_THAN_A_NODE_HAS).serve(site.next_release)
        eventually("a predictor that finds no node", lambda: unschedulable(site.installation), 60.0)
    else:
        site.serve(site.next_release, start_delay_s=CHANGES[change])


def _changed(load: Load) -> bool:
    """Whether the last fifty answers are of one release, and another answered before."""
    answers = [each for each in load.answers if each.status == 200]
    last = {each.release for each in answers[-50:]}
    return len(last) == 1 and bool({each.release for each in answers} - last)
