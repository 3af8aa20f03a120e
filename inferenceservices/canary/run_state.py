"""The state of `yiwen rollout run` between its steps, and what it does next: pure functions of state and time.

The state is a ConfigMap. It cannot be an annotation: KServe passes those of an InferenceService on to its revisions'
templates, and Knative those of a revision on to its pods' template, so that each change would start new pods.
It names the InferenceService's generation that it is about. Whatever changes the share of the traffic makes a new
generation, by whomever and wherever a run ended: the next turn then measures anew.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from inferenceservices.canary.counters import ProcessCounters
from inferenceservices.rollout_state import TRANSFORMER, ComponentState, RolloutRefused, RolloutState

RUN_KEY, REVISION_KEY = "run", "revision"
"""Keys of the ConfigMap: the state, and the canary's transformer revision that it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRun:
    """What was measured and decided so far."""

    generation: int
    """Of the InferenceService that is being measured."""
    since: float
    """When that began, seconds since 1970."""
    unready_since: float = 0.0
    """When the canary was first seen not to be ready, seconds since 1970; 0 while it is ready."""
    looks: int = 0
    """Looks of the whole rollout."""
    step_looks: int = 0
    """Looks at this percentage."""
    stable: ProcessCounters | None = None
    """The stable revision's counters when the measurement began; None: not begun."""
    canary: ProcessCounters | None = None
    """The canary's."""

    def to_data(self, revision: str) -> dict[str, str]:
        """The ConfigMap's data, for a canary whose transformer's revision has that name."""
        return {REVISION_KEY: revision, RUN_KEY: json.dumps(dataclasses.asdict(self), separators=(",", ":"))}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """How a canary is brought to all traffic."""

    percents: tuple[int, ...]
    """Ascending percentages."""
    every_s: float
    """Between two looks, seconds."""
    start_s: float
    """In which the canary must become ready, seconds."""
    looks: int
    """At one percentage, until the run ends without a decision."""


class Task(Enum):
    """What a run does next."""

    WAIT = "wait"
    BEGIN = "begin"
    """Read the counters, from which this percentage is measured."""
    UNREADY = "unready"
    """Note since when the canary is not ready."""
    LOOK = "look"
    ROLL_BACK = "roll back"
    """Without a look: the canary does not start."""
    DONE = "done"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class NextTask:
    """What a run does next, and why."""

    task: Task
    reason: str = ""
    """One line for the user; empty where there is nothing to say."""
    until: float = 0.0
    """End of the wait, seconds since 1970; 0: until something changes."""


def config_map_name(service: str) -> str:
    """Name of the ConfigMap with the state of an InferenceService's run."""
    return f"{service}-rollout-run"


def parse_run(data: Mapping[str, str], revision: str) -> CanaryRun | None:
    """The state in a ConfigMap's data; None if there is none, or it is about another canary.

    Args:
        data: empty without a ConfigMap.
        revision: of the present canary's transformer.

    Raises:
        RolloutRefused: it is not what a run writes.
    """
    if data.get(REVISION_KEY) != revision:
        return None
    try:
        fields: dict[str, Any] = json.loads(data.get(RUN_KEY, ""))
        run = CanaryRun(**fields)
        _check(run)
    except (ValueError, TypeError, AttributeError):
        raise RolloutRefused(
            "the ConfigMap with the state of the run is not what a run writes: delete it (kubectl delete configmap "
            f"{config_map_name('NAME')}), and the canary is measured again"
        ) from None
    return run


def next_task(state: RolloutState, run: CanaryRun | None, plan: RunPlan, now: float) -> NextTask:
    """What is to do.

    Args:
        state: of the InferenceService.
        run: what was noted so far; None: nothing.
        plan: of the rollout.
        now: seconds since 1970.

    Raises:
        RolloutRefused: there is no canary with a share of the traffic.
    """
    if not state.is_observed:
        return NextTask(Task.WAIT)
    if run is not None and _is_being_promoted(state):
        return NextTask(Task.WAIT)
    percent = canary_percent_of(state)
    if percent is None:
        return NextTask(Task.DONE, f"{state.name} is promoted: no share holds its newest revisions back")
    unready = [component for component in state.components if not component.is_ready]
    if unready:
        return _unready(state, unready[0], run, plan, now)
    if run is None or run.generation != state.generation or run.unready_since or run.stable is None:
        return NextTask(Task.BEGIN)
    if run.step_looks >= plan.looks:
        return NextTask(
            Task.GIVE_UP,
            f"no decision after {run.step_looks} looks at {percent} %, which the canary keeps: look on with a larger "
            f"--looks, or take it back with yiwen rollout rollback {state.name}",
        )
    due = run.since + plan.every_s * (run.step_looks + 1)
    return NextTask(Task.LOOK) if now >= due else NextTask(Task.WAIT, until=due)


def begun(
    run: CanaryRun | None, generation: int, now: float, counters: Sequence[ProcessCounters]
) -> CanaryRun:
    """The state in which a generation is measured from now on; looks that were made count on.

    Args:
        run: the state before.
        generation: of the InferenceService.
        now: seconds since 1970.
        counters: of the stable revision and of the canary.
    """
    stable, canary = counters
    looks = 0 if run is None else run.looks
    return CanaryRun(
        generation=generation,
        since=now,
        looks=looks,
        stable=_without_zeros(stable),
        canary=_without_zeros(canary),
    )


def unready(run: CanaryRun | None, generation: int, now: float) -> CanaryRun:
    """The state in which the canary is waited for."""
    looks = 0 if run is None else run.looks
    return CanaryRun(generation=generation, since=now, looks=looks, unready_since=now)


def looked(run: CanaryRun) -> CanaryRun:
    """The state after one more look."""
    return dataclasses.replace(run, looks=run.looks + 1, step_looks=run.step_looks + 1)


def _is_being_promoted(state: RolloutState) -> bool:
    """Whether nothing holds the canary back, and KServe has not given it all traffic yet."""
    return state.is_canary and {component.percent for component in state.components} <= {None, 100}


def canary_percent_of(state: RolloutState) -> int | None:
    """The canary's share of both components; None if everything is promoted.

    Raises:
        RolloutRefused: there is no canary with a share of the traffic.
    """
    percents = {component.percent for component in state.components}
    start = f"start one with yiwen rollout set {state.name} --percent 10 --release NAME"
    if percents <= {None, 100}:
        if state.is_canary:  # everything is to go to a revision that is not ready yet
            raise RolloutRefused(
                f"{state.name} gives its newest revisions all traffic when they are ready: {start} to try it first"
            )
        return None
    if len(percents) > 1 or not all(component.is_canary for component in state.components):
        raise RolloutRefused(f"{state.name} has no canary of both components: {start}")
    (percent,) = percents
    if not percent:
        raise RolloutRefused(
            f"the newest revision of {state.name} has no traffic, as after a rollback: give it a share first "
            f"(yiwen rollout set {state.name} --percent 10)"
        )
    return percent


def transformer_of(state: RolloutState) -> ComponentState:
    """The state of the transformer, whose metrics are compared."""
    return next(component for component in state.components if component.name == TRANSFORMER)


def _unready(
    state: RolloutState, component: ComponentState, run: CanaryRun | None, plan: RunPlan, now: float
) -> NextTask:
    if run is None or run.generation != state.generation or not run.unready_since:
        return NextTask(Task.UNREADY, f"wait: {component.latest_created} is not ready yet")
    if now < run.unready_since + plan.start_s:
        return NextTask(Task.WAIT, until=run.unready_since + plan.start_s)
    why = f" ({component.failure})" if component.failure else ""
    return NextTask(
        Task.ROLL_BACK,
        f"roll back: {component.latest_created} is not ready after {now - run.unready_since:.0f} s{why}",
    )


def _without_zeros(counters: ProcessCounters) -> ProcessCounters:
    """What is not named counts as 0; a ConfigMap holds one MiB."""
    return {process: {k: v for k, v in values.items() if v} for process, values in counters.items()}


def _check(run: CanaryRun) -> None:
    """Raise TypeError or AttributeError for fields of a wrong kind."""
    for number in (run.generation, run.since, run.unready_since, run.looks, run.step_looks):
        if not isinstance(number, (int, float)):
            raise TypeError
    for counters in (run.stable, run.canary):
        for values in (counters or {}).values():
            if not all(isinstance(value, (int, float)) for value in values.values()):
                raise TypeError
