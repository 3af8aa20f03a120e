"""`yiwen rollout` in KServe's Standard mode: does one step after another until nothing is left to do."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.rollout_options import ChangeOptions, SetOptions
from inferenceservices.cluster import Conflict
from inferenceservices.gpu_capacity import check_gpu_availability
from inferenceservices.release_change import ReleaseChange
from inferenceservices.standard_rollout import (
    Action,
    StandardStep,
    next_of_promote,
    next_of_rollback,
    next_of_set,
)
from inferenceservices.standard_state import StandardRollout
from protocol.command_line import FAILED
from protocol.kubernetes.inference_service import InferenceService

if TYPE_CHECKING:
    from inferenceservices.rollout_cluster import RolloutCluster

POLL_S = 1.0
Planner = Callable[[StandardRollout, bool], StandardStep]
"""The next step, by the rollout and by whether this command has done one already, or seen a canary."""


@dataclass(frozen=True, kw_only=True)
class StandardCommand:
    """A command that is carried out step by step."""

    cluster: RolloutCluster
    name: str
    """Of the stable InferenceService."""
    wait_s: float
    """Longest time that it waits, seconds."""
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    say: Callable[[str], None] = print

    def carry_out(self, plan: Planner, check: Callable[[StandardStep], None] = lambda step: None) -> int:
        """Do what ``plan`` says until nothing is left; returns the exit code.

        Args:
            plan: names the next step; its exceptions propagate.
            check: is asked before each step, and may refuse it.

        Raises:
            ClusterError: the cluster refuses a step, or does not answer.
        """
        has_acted, said, end = False, "", self.now() + self.wait_s
        while True:
            rollout = self.cluster.standard_rollout(self.name)
            step = plan(rollout, has_acted)
            has_acted = has_acted or rollout.canary is not None
            if step.summary != said:
                self.say(step.summary)
                said = step.summary
            if step.action is Action.DONE:
                return 0
            if step.action is Action.WAIT:
                if self.now() >= end:
                    self.say(f"it has lasted {self.wait_s:g} s: {_hint(self.name)}")
                    return FAILED
                self.sleep(POLL_S)
                continue
            check(step)
            has_acted = self._take(rollout, step, is_late=self.now() >= end) or has_acted

    def _take(self, rollout: StandardRollout, step: StandardStep, *, is_late: bool) -> bool:
        """Carry out a step; False after a conflict, which is looked at anew unless it is late."""
        try:
            self.cluster.take(rollout, step)
        except Conflict:
            if is_late:
                raise
            self.sleep(POLL_S)
            return False
        return True


def set_percent(cluster: RolloutCluster, options: SetOptions, change: ReleaseChange) -> int:
    """Start a canary, or change its percentage."""

    def check(step: StandardStep) -> None:
        if step.action is Action.CREATE:
            service = InferenceService(step.body, cluster.serving_runtimes(step.body))
            for note in check_gpu_availability(
                service, cluster.capacity(), allow_pending=options.allow_pending
            ):
                print(f"yiwen rollout: {note}", file=sys.stderr)

    return _run(cluster, options, lambda rollout, _: next_of_set(rollout, options.percent, change), check)


def promote(cluster: RolloutCluster, options: ChangeOptions) -> int:
    """Bring the canary's release to the stable InferenceService."""
    return _run(cluster, options, lambda rollout, _: next_of_promote(rollout))


def roll_back(cluster: RolloutCluster, options: ChangeOptions) -> int:
    """Take the canary away, or its promotion back."""
    return _run(cluster, options, lambda rollout, has_acted: next_of_rollback(rollout, has_acted=has_acted))


def _run(
    cluster: RolloutCluster,
    options: ChangeOptions,
    plan: Planner,
    check: Callable[[StandardStep], None] = lambda step: None,
) -> int:
    if options.dry_run:
        step = plan(cluster.standard_rollout(options.name), False)
        print(json.dumps({"action": step.action.value, "name": step.name, **_bodies(step)}, indent=1))
        print(
            f"yiwen rollout: nothing was changed; without --dry-run, first: {step.summary}", file=sys.stderr
        )
        return 0
    return StandardCommand(cluster=cluster, name=options.name, wait_s=options.wait_s).carry_out(plan, check)


def _bodies(step: StandardStep) -> dict[str, object]:
    routes = [{"kind": route["kind"], "patch": patch} for route, patch in step.routes]
    return {"body": step.body, **({"routes": routes} if routes else {})}


def _hint(name: str) -> str:
    return (
        f"the same command goes on from here; yiwen doctor {name} says what is wrong, and yiwen rollout rollback "
        f"{name} takes it back"
    )
