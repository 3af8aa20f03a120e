"""Rollouts in Standard mode: steps, shares at every moment, interruptions, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cli.rollout_standard import StandardCommand
from inferenceservices.release_change import ReleaseChange, release_of, release_service
from inferenceservices.rollout_state import RolloutRefused
from inferenceservices.standard_rollout import (
    Action,
    StandardStep,
    next_of_promote,
    next_of_rollback,
    next_of_set,
)
from inferenceservices.standard_state import StandardRollout, releases_of, rollout_state
from tests.inferenceservices.standard_kserve import CANARY, NAME, StandardKServe

B, C, NOTHING = ReleaseChange(release="b"), ReleaseChange(release="c"), ReleaseChange()
Planner = Callable[[StandardRollout, bool], StandardStep]
PROMOTE: Planner = lambda rollout, _: next_of_promote(rollout)  # noqa: E731
ROLL_BACK: Planner = lambda rollout, has_acted: next_of_rollback(rollout, has_acted=has_acted)  # noqa: E731


def share(percent: int, change: ReleaseChange = NOTHING) -> Planner:
    return lambda rollout, _: next_of_set(rollout, percent, change)


class Interrupted(Exception):
    """The command ends here."""


def carry_out(kserve: StandardKServe, plan: Planner, *, ticks: int = 30) -> int:
    """The command; the cluster acts while it waits, and whatever the traffic leads to is ready."""
    clock = iter(range(10_000))

    def tick(_: float) -> None:
        kserve.tick()
        assert all(kserve.shares)  # an empty name is a release without ready pods

    command = StandardCommand(
        cluster=kserve,  # type: ignore[arg-type]  # it has the two methods that a command calls
        name=NAME,
        wait_s=ticks,
        now=lambda: float(next(clock)),
        sleep=tick,
        say=lambda line: None,
    )
    return command.carry_out(plan)


@pytest.fixture
def kserve() -> StandardKServe:
    return StandardKServe()


def test_a_canary_gets_shares_and_is_promoted(kserve: StandardKServe) -> None:
    assert carry_out(kserve, share(10, B)) == 0
    assert kserve.shares == {"a": 90, "b": 10}
    assert carry_out(kserve, share(50)) == 0
    assert kserve.shares == {"a": 50, "b": 50}
    assert carry_out(kserve, PROMOTE) == 0
    assert kserve.shares == {"b": 100}
    assert list(kserve.services) == [NAME]
    spec = kserve.services[NAME]["spec"]
    assert {release_of(spec[name]) for name in ("predictor", "transformer")} == {"b"}
    assert spec["predictor"]["maxReplicas"] == 4  # the scaling of the manifest stays
    assert all(backends(each) == [(f"{NAME}-transformer", None)] for each in kserve.routes)


def test_both_routes_have_the_share(kserve: StandardKServe) -> None:
    carry_out(kserve, share(30, B))
    expected = [(f"{NAME}-transformer", 70), (f"{CANARY}-transformer", 30)]
    assert [backends(each) for each in kserve.routes] == [expected, expected]
    ports = [[ref["port"] for ref in each["spec"]["rules"][0]["backendRefs"]] for each in kserve.routes]
    assert ports == [[80, 80], [8081, 8081]]


def test_a_canary_is_the_stable_service_with_a_fixed_number_of_pods(kserve: StandardKServe) -> None:
    carry_out(kserve, share(10, B))
    canary = kserve.services[CANARY]
    assert canary["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "none"
    assert canary["metadata"]["ownerReferences"][0]["uid"] == "0f-1e"
    assert [canary["spec"][name]["minReplicas"] for name in ("predictor", "transformer")] == [1, 1]
    assert "scaleTarget" not in canary["spec"]["predictor"]
    carry_out(kserve, share(60))
    assert [
        kserve.services[CANARY]["spec"][name]["maxReplicas"] for name in ("predictor", "transformer")
    ] == [
        2,
        1,
    ]


def test_a_canary_is_rolled_back_before_its_pods_end(kserve: StandardKServe) -> None:
    carry_out(kserve, share(50, B))
    assert carry_out(kserve, ROLL_BACK) == 0
    assert kserve.shares == {"a": 100}
    assert list(kserve.services) == [NAME]
    assert [each.action for each in kserve.taken[-2:]] == [Action.ROUTE, Action.DELETE]


def test_a_promotion_is_taken_back(kserve: StandardKServe) -> None:
    before = kserve.services[NAME]["spec"]
    carry_out(kserve, share(10, B))
    carry_out(kserve, PROMOTE)
    assert carry_out(kserve, ROLL_BACK) == 0
    assert kserve.shares == {"a": 100}
    assert kserve.services[NAME]["spec"] == before
    with pytest.raises(RolloutRefused, match="no promotion by yiwen rollout to take back"):
        carry_out(kserve, ROLL_BACK)


def test_a_second_rollback_takes_no_promotion_back(kserve: StandardKServe) -> None:
    carry_out(kserve, share(10, B))
    carry_out(kserve, PROMOTE)
    carry_out(kserve, share(10, C))
    assert carry_out(kserve, ROLL_BACK) == 0
    assert kserve.shares == {"b": 100}
    with pytest.raises(RolloutRefused, match="no canary, and no promotion"):
        carry_out(kserve, ROLL_BACK)


def test_a_canary_that_never_starts_gets_no_request() -> None:
    kserve = StandardKServe(starts=lambda release: release != "b")
    assert carry_out(kserve, share(10, B)) == 1
    assert kserve.shares == {"a": 100}
    assert carry_out(kserve, ROLL_BACK) == 0
    assert list(kserve.services) == [NAME]


def test_a_promotion_whose_pods_find_no_room_leaves_the_canary_and_is_taken_back() -> None:
    begun: list[bool] = []
    kserve = StandardKServe(starts=lambda release: not begun or release == "a")
    carry_out(kserve, share(10, B))
    begun.append(True)
    assert carry_out(kserve, PROMOTE) == 1
    assert kserve.shares == {"a": 90, "b": 10}
    assert carry_out(kserve, ROLL_BACK) == 0
    assert kserve.shares == {"a": 100}


def test_another_canary_takes_the_place_of_the_first(kserve: StandardKServe) -> None:
    carry_out(kserve, share(10, B))
    carry_out(kserve, share(20, C))
    assert kserve.shares == {"a": 80, "c": 20}


def test_a_hundred_percent_without_a_canary_is_a_release_change(kserve: StandardKServe) -> None:
    assert carry_out(kserve, share(100, B)) == 0
    assert kserve.shares == {"b": 100}
    assert [each.action for each in kserve.taken] == [Action.CHANGE]
    carry_out(kserve, ROLL_BACK)
    assert kserve.shares == {"a": 100}


@pytest.mark.parametrize("conflicts", [1, 3])
def test_a_step_that_somebody_overtakes_is_planned_again(kserve: StandardKServe, conflicts: int) -> None:
    kserve.conflicts = conflicts
    assert carry_out(kserve, share(10, B)) == 0
    assert kserve.shares == {"a": 90, "b": 10}


COMMANDS: dict[str, list[Planner]] = {
    "set": [share(10, B)],
    "promote": [share(10, B), PROMOTE],
    "rollback": [share(10, B), ROLL_BACK],
    "another canary": [share(10, B), share(20, C)],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupted_command_goes_on(name: str) -> None:
    whole = StandardKServe()
    for plan in COMMANDS[name]:
        carry_out(whole, plan)
    for cut in range(len(whole.taken)):
        kserve = StandardKServe()
        for plan in COMMANDS[name]:
            left = cut - len(kserve.taken)
            try:
                carry_out(kserve, _interrupting(kserve, plan, left))
            except Interrupted:
                carry_out(kserve, plan)
        assert kserve.shares == whole.shares, cut
        assert set(kserve.services) == set(whole.services), cut


def _interrupting(kserve: StandardKServe, plan: Planner, left: int) -> Planner:
    """``plan``, until as many further steps are done."""
    until = len(kserve.taken) + left

    def interrupted(rollout: StandardRollout, has_acted: bool) -> StandardStep:
        if left >= 0 and len(kserve.taken) >= until:
            raise Interrupted
        return plan(rollout, has_acted)

    return interrupted


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (share(10), "no canary: name what is new"),
        (share(101, B), "no share"),
        (ROLL_BACK, "no canary, and no promotion"),
    ],
)
def test_what_cannot_be_is_refused(kserve: StandardKServe, plan: Planner, reason: str) -> None:
    with pytest.raises(RolloutRefused, match=reason):
        carry_out(kserve, plan)
    assert not kserve.taken


def test_an_unready_canary_is_not_promoted() -> None:
    kserve = StandardKServe()
    carry_out(kserve, share(10, B))
    kserve.deployments[f"{CANARY}-predictor"]["status"]["availableReplicas"] = 0
    with pytest.raises(RolloutRefused, match="yiwen-canary is not ready"):
        next_of_promote(kserve.standard_rollout(NAME))


def test_without_routes_nothing_is_split(kserve: StandardKServe) -> None:
    kserve.routes = []
    with pytest.raises(RolloutRefused, match="component gateway-api"):
        next_of_set(kserve.standard_rollout(NAME), 10, B)


def test_the_state_has_the_terms_of_the_other_mode(kserve: StandardKServe) -> None:
    carry_out(kserve, share(30, B))
    rollout = kserve.standard_rollout(NAME)
    state = rollout_state(rollout)
    for component in state.components:
        assert (component.percent, component.latest_created, component.latest_rolled_out) == (
            30,
            CANARY,
            NAME,
        )
        assert [(each.revision, each.percent) for each in component.traffic] == [(NAME, 70), (CANARY, 30)]
        assert component.is_ready
        assert component.is_canary
    assert state.is_observed
    assert releases_of(rollout) == {NAME: "a", CANARY: "b"}


def test_the_service_of_a_release_leads_to_the_containers_port(kserve: StandardKServe) -> None:
    document = kserve.services[NAME]
    document["spec"]["predictor"]["labels"]["yiwen/release"] = "a"
    assert release_service(document)["spec"]["ports"][0]["targetPort"] == 8080


def backends(route: dict[str, Any]) -> list[tuple[str, int | None]]:
    (rule,) = route["spec"]["rules"]
    return [(each["name"], each.get("weight")) for each in rule["backendRefs"]]
