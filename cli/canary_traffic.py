"""How `yiwen rollout run` reads and moves a canary's traffic, in KServe's Knative mode and in Standard mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from cli.rollout_standard import StandardCommand
from inferenceservices.canary.counters import ProcessCounters
from inferenceservices.cluster import ClusterClient, Conflict
from inferenceservices.release_change import ReleaseChange
from inferenceservices.rollout import RolloutStep, plan_promote, plan_rollback, plan_set
from inferenceservices.rollout_cluster import RolloutCluster
from inferenceservices.rollout_state import RolloutState, read_state
from inferenceservices.standard_rollout import (
    Action,
    StandardStep,
    next_of_begun,
    next_of_promote,
    next_of_rollback,
    next_of_set,
)
from inferenceservices.standard_state import StandardRollout, rollout_state
from protocol.kubernetes.documents import Document

ROLLBACK_S = 120.0
"""Within which the gateway knows that a canary has no weight, and the canary is deleted."""
Counters = Callable[[str], ProcessCounters]
"""Counters of the processes of a revision, or of an InferenceService in Standard mode, by its name."""


class LookAgain(Exception):
    """The turn could not be finished for a reason that may pass; the message says which."""


class CanaryTraffic(Protocol):
    """One mode's traffic."""

    def advance(self) -> RolloutState:
        """Go on with what was begun, and read the state."""

    def move(self, judged: RolloutState, percent: int) -> str:
        """Give the canary a share, 100 for a promotion; returns what was done."""

    def roll_back(self, judged: RolloutState) -> str:
        """Give the stable release all traffic; returns what was done."""


@dataclass(frozen=True)
class KnativeTraffic:
    """Shares of revisions."""

    cluster: ClusterClient
    name: str
    releases: Callable[[Document], Mapping[str, str]]
    """Release by revision name."""

    def advance(self) -> RolloutState:
        """The state; KServe goes on by itself."""
        return read_state(self.cluster.inference_service(self.name))

    def move(self, judged: RolloutState, percent: int) -> str:
        """One patch of both components."""

        def plan(document: Document) -> RolloutStep:
            if percent == 100:
                return plan_promote(document)
            return plan_set(document, percent, ReleaseChange(), self.releases(document))

        return self._update(judged, plan)

    def roll_back(self, judged: RolloutState) -> str:
        """One patch of both components."""
        return self._update(judged, lambda document: plan_rollback(document, self.releases(document)))

    def _update(self, judged: RolloutState, plan: Callable[[Document], RolloutStep]) -> str:
        def checked(document: Document) -> RolloutStep:
            _check_unchanged(judged, read_state(document))
            return plan(document)

        return self.cluster.update(self.name, checked).summary


@dataclass(frozen=True)
class StandardTraffic:
    """Weights of two InferenceServices in the routes."""

    cluster: RolloutCluster
    name: str
    sleep: Callable[[float], None]

    def advance(self) -> RolloutState:
        """Do the steps that need no waiting, and read the state."""
        rollout = self.cluster.standard_rollout(self.name)
        step = next_of_begun(rollout)
        if step.action in (Action.WAIT, Action.DONE):
            return rollout_state(rollout)
        self._take(rollout, step)
        return rollout_state(self.cluster.standard_rollout(self.name))

    def move(self, judged: RolloutState, percent: int) -> str:
        """The first step; the others follow as the cluster gets ready for them."""
        if percent == 100:
            return self._act(judged, next_of_promote)
        return self._act(judged, lambda rollout: next_of_set(rollout, percent, ReleaseChange()))

    def roll_back(self, judged: RolloutState) -> str:
        """Take the weight, and delete the canary when the gateway knows."""
        said = self._act(judged, lambda rollout: next_of_rollback(rollout, has_acted=True))
        command = StandardCommand(
            cluster=self.cluster, name=self.name, wait_s=ROLLBACK_S, sleep=self.sleep, say=lambda line: None
        )
        command.carry_out(lambda rollout, _: next_of_rollback(rollout, has_acted=True))
        return said

    def _act(self, judged: RolloutState, plan: Callable[[StandardRollout], StandardStep]) -> str:
        rollout = self.cluster.standard_rollout(self.name)
        _check_unchanged(judged, rollout_state(rollout))
        step = plan(rollout)
        self._take(rollout, step)
        return step.summary

    def _take(self, rollout: StandardRollout, step: StandardStep) -> None:
        try:
            self.cluster.take(rollout, step)
        except Conflict as error:
            raise LookAgain(str(error)) from None


def _check_unchanged(judged: RolloutState, now: RolloutState) -> None:
    """Raise LookAgain if the rollout is no longer the one that was judged."""
    if _identity(judged) != _identity(now):
        raise LookAgain("somebody else changed the rollout: it is looked at anew")


def _identity(state: RolloutState) -> tuple[tuple[str, int | None], ...]:
    return tuple((component.latest_created, component.percent) for component in state.components)
