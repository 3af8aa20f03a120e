"""``yiwen rollout run`` in both modes under load: canaries that are equal, slow, wrong, and one that never starts."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from inferenceservices.rollout_state import is_observed
from tests.cluster.installation import NOISE, Site
from tests.cluster.kubectl import eventually
from tests.cluster.load import Load
from tests.cluster.node import NodeShell
from tests.cluster.releases import titles
from tests.cluster.test_rollout import has_share, rollout

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.slow]

PERCENT = 50
"""So that both releases have samples soon."""
LOOKS = ("--to", "50,100", "--every", "10s", "--samples", "100", "--looks", "12")
START_S = 300.0
STOPPED_S, RUNNING_S = 0.03, 0.02
"""A slow predictor is stopped and runs for so long in turns."""


@pytest.fixture(scope="module")
def is_standard(site: Site) -> bool:
    annotations = site.installation.inference_service()["metadata"]["annotations"]
    return bool(annotations["serving.kserve.io/deploymentMode"] == "Standard")


@contextmanager
def loaded(site: Site, name: str) -> Iterator[Load]:
    with Load(site.service, titles(f"run-{name}-{time.time()}")) as load:
        time.sleep(5.0)
        yield load


def start(site: Site, release: str) -> None:
    """A canary with its share; after a rollback the service need not be Ready."""
    eventually(
        "the last change observed", lambda: is_observed(site.installation.inference_service()), START_S
    )
    rollout(site, "set", "--percent", str(PERCENT), "--release", release)
    eventually("traffic to the canary", lambda: has_share(site, release, PERCENT), START_S)


def predictors(site: Site) -> set[str]:
    """UIDs of the pods that stay."""
    return {pod["metadata"]["uid"] for pod in site.installation.staying_pods("predictor")}


def judge(site: Site, *words: str) -> tuple[int, str]:
    """Exit code of ``yiwen rollout run`` and the last decision."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", "rollout", "run", "yiwen", "-n", site.installation.namespace, *LOOKS, *words],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_a_canary_that_never_starts_is_taken_back(
    site: Site, is_standard: bool, figures: dict[str, Any]
) -> None:
    with loaded(site, "never") as load:
        words: tuple[str, ...] = (
            "set",
            "yiwen",
            "-n",
            site.installation.namespace,
            "--percent",
            "50",
            "--release",
            "nowhere",
        )
        if is_standard:
            words = (*words, "--wait", "5s")
        done = subprocess.run(
            [sys.executable, "-m", "cli", "rollout", *words], capture_output=True, check=False
        )
        assert done.returncode == (1 if is_standard else 0), done.stderr
        began = time.monotonic()
        code, said = judge(site, "--start", "20s")
        figures |= {"seconds": round(time.monotonic() - began), "said": said.splitlines()[-2:]}
        assert code == 1
        assert "is not ready after" in said
    assert len(load.summary().releases) == 1
    load.summary().assert_whole()


def test_a_slow_canary_is_rolled_back(site: Site, node: NodeShell, figures: dict[str, Any]) -> None:
    release = site.next_release
    site.require_release(release)
    with loaded(site, "slow") as load:
        stable = predictors(site)
        start(site, release)
        (canary,) = predictors(site) - stable
        with node.throttled(canary, "-m predictor", STOPPED_S, RUNNING_S):
            code, said = judge(site)
        figures["said"] = said.splitlines()[-3:]
        assert code == 1, said
        assert "of predictor" in said
        assert "roll back" in said
    load.summary().assert_whole()


def test_a_wrong_canary_is_rolled_back(site: Site, figures: dict[str, Any]) -> None:
    site.require_release(NOISE)
    with loaded(site, "wrong") as load:
        start(site, NOISE)
        code, said = judge(site)
        figures["said"] = said.splitlines()[-3:]
        assert code == 1, said
        assert "flags per text" in said
    summary = load.summary()
    assert not summary.failed
    (good,) = set(summary.releases) - {each.release for each in summary.wrong}
    assert not [each for each in summary.wrong if each.release == good]


def test_an_equal_canary_is_promoted(site: Site, figures: dict[str, Any]) -> None:
    release = site.next_release
    site.require_release(release)
    with loaded(site, "equal") as load:
        start(site, release)
        code, said = judge(site)
        figures["said"] = said.splitlines()[-3:]
        assert code == 0, said
        site.release = release
    load.summary().assert_whole()
