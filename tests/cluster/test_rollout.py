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


def has_share(site: Site, release: str, percent: int) -> bool:
    """Whether both components of a release have that share of the traffic, by ``yiwen rollout status``."""
    status = json.loads(rollout(site, "status", "--json"))
    shown = {(each["component"], each["release"], each["traffic"]) for each in status["revisions"]}
    wanted = ((release, f"{percent} %"), (site.release, f"{100 - percent} %"))
    return {(component, *each) for component in ("predictor", "transformer") for each in wanted} <= shown


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
def test_a_canary_gets_its_share_is_promoted_and_rolled_back(site: Site, figures: dict[str, Any]) -> None:
    release = site.next_release
    site.require_release(release)
    with Load(site.service, titles(f"canary-{time.time()}")) as load:
        time.sleep(5.0)
        (old,) = load.summary().releases
        began = time.monotonic()
        rollout(site, "set", "--percent", str(PERCENT), "--release", release)
        eventually("an answer of the canary", lambda: len(load.summary().releases) == 2, START_S)
        eventually("traffic to the canary", lambda: has_share(site, release, PERCENT), START_S)
        figures["canary_after_s"] = round(time.monotonic() - began, 1)
        (new,) = set(load.summary().releases) - {old}

        began = time.monotonic()
        time.sleep(SHARE_S)
        counted = served_since(load, began)
        share = sum(each.release == new for each in counted)
        bound = SIGMAS * math.sqrt(len(counted) * PERCENT / 100 * (1 - PERCENT / 100))
        figures |= {"counted": len(counted), "of_canary": share, "bound": round(bound)}
        assert abs(share - len(counted) * PERCENT / 100) <= bound
        assert has_share(site, release, PERCENT)

        began = time.monotonic()
        rollout(site, "promote")
        figures["promote_s"] = round(time.monotonic() - began, 1)
        figures["promoted_after_s"] = wait_for_release(load, new)
        began = time.monotonic()
        rollout(site, "rollback")
        figures["rollback_s"] = round(time.monotonic() - began, 1)
        figures["rolled_back_after_s"] = wait_for_release(load, old)
        began = time.monotonic()
        time.sleep(HELD_S)
        assert {each.release for each in served_since(load, began)} == {old}
    summary = load.summary()
    figures |= summary.figures()
    summary.assert_whole()
