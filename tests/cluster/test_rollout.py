"""A canary by ``yiwen rollout``: shares, promotion, rollback; under load no request fails and no release is mixed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.cluster.installation import Site
from tests.cluster.kubectl import eventually
from tests.cluster.load import Answer, Load
from tests.cluster.releases import titles

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

PERCENT = 30
SHARE_S = 40.0
"""Seconds of load from which the canary's share is counted."""
HELD_S = 30.0
"""For which a rollback is watched."""
SIGMAS = 4.0
"""Of the binomial distribution; a right share is outside of it once in 16,000 runs."""
START_S = 300.0


def rollout(site: Site, command: str, *words: str) -> str:
    """What ``yiwen rollout`` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", "rollout", command, "yiwen", "-n", site.installation.namespace, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def traffic(site: Site) -> dict[str, dict[int, str]]:
    """Revision by percentage of both components, from the status."""
    components = site.installation.inference_service()["status"]["components"]
    return {
        name: {int(each.get("percent") or 0): each["revisionName"] for each in components[name]["traffic"]}
        for name in ("predictor", "transformer")
    }


def served_since(load: Load, began: float) -> list[Answer]:
    return [each for each in load.answers if each.started >= began and each.status == 200]


def wait_for_release(load: Load, release: str, count: int = 50) -> float:
    """Wait until the last answers are all of ``release`` (an id); gives seconds."""
    began = time.monotonic()

    def is_alone() -> bool:
        last = served_since(load, began)[-count:]
        return len(last) == count and {each.release for each in last} == {release}

    eventually(f"answers of {release} alone", is_alone, START_S)
    return round(time.monotonic() - began, 1)


@pytest.mark.slow
def test_a_canary_gets_its_share_is_promoted_and_rolled_back(knative: Site, figures: dict[str, Any]) -> None:
    with knative.serving(), Load(knative.service, titles(f"canary-{time.time()}")) as load:
        time.sleep(5.0)
        (old,) = load.summary().releases
        knative.require_release("b")
        rollout(knative, "set", "--percent", str(PERCENT), "--release", "b")
        eventually("traffic to the canary", lambda: PERCENT in traffic(knative)["transformer"], START_S)
        eventually("traffic to its predictor", lambda: PERCENT in traffic(knative)["predictor"], START_S)
        eventually("an answer of the canary", lambda: len(load.summary().releases) == 2, START_S)
        (new,) = set(load.summary().releases) - {old}

        began = time.monotonic()
        time.sleep(SHARE_S)
        counted = served_since(load, began)
        share = sum(each.release == new for each in counted)
        bound = SIGMAS * math.sqrt(len(counted) * PERCENT / 100 * (1 - PERCENT / 100))
        figures |= {"counted": len(counted), "of_canary": share, "bound": round(bound)}
        assert abs(share - len(counted) * PERCENT / 100) <= bound
        status = json.loads(rollout(knative, "status", "--json"))
        shown = {(each["component"], each["release"], each["traffic"]) for each in status["revisions"]}
        new_share, old_share = f"{PERCENT} %", f"{100 - PERCENT} %"
        assert {
            (component, release, percent)
            for component in ("predictor", "transformer")
            for release, percent in (("a", old_share), ("b", new_share))
        } <= shown

        rollout(knative, "promote")
        figures["promoted_after_s"] = wait_for_release(load, new)
        rollout(knative, "rollback")
        figures["rolled_back_after_s"] = wait_for_release(load, old)
        began = time.monotonic()
        time.sleep(HELD_S)
        assert {each.release for each in served_since(load, began)} == {old}
    summary = load.summary()
    figures |= summary.figures()
    summary.assert_whole()
