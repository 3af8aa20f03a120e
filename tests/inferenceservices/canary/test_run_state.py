"""What a canary's run does next while KServe gives the promoted release its traffic."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inferenceservices.canary.run_state import CanaryRun, RunPlan, Task, next_task
from inferenceservices.rollout_state import ROLLOUT_COMPONENTS, ComponentState, RolloutRefused, RolloutState

PLAN = RunPlan(percents=(50, 100), every_s=10.0, start_s=20.0, looks=12)
RUN = CanaryRun(generation=2, since=0.0)


def _component(name: str) -> ComponentState:
    """A component whose newest revision nothing holds back, and which has not had all traffic yet."""
    return ComponentState(
        name=name,
        percent=None,
        latest_created=f"{name}-2",
        latest_ready=f"{name}-2",
        latest_rolled_out=f"{name}-1",
        previous_rolled_out="",
        traffic=(),
        failure="",
    )


PROMOTING = RolloutState("yiwen", tuple(_component(name) for name in ROLLOUT_COMPONENTS), True, 3)


def test_a_run_waits_for_the_end_of_its_promotion() -> None:
    assert next_task(PROMOTING, RUN, PLAN, 1.0).task is Task.WAIT
    done = replace(
        PROMOTING,
        components=tuple(
            replace(each, latest_rolled_out=each.latest_created) for each in PROMOTING.components
        ),
    )
    assert next_task(done, RUN, PLAN, 2.0).task is Task.DONE


def test_without_a_run_there_is_no_canary_to_judge() -> None:
    with pytest.raises(RolloutRefused, match="gives its newest revisions all traffic"):
        next_task(PROMOTING, None, PLAN, 1.0)
