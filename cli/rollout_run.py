"""Brings a canary to all traffic by its own metrics: the loop of `yiwen rollout run`.

Each turn reads the cluster, decides by pure functions what is next, and does it: so a run that was interrupted
anywhere goes on where the cluster stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cli.canary_traffic import CanaryTraffic, Counters, LookAgain
from cli.prometheus import PrometheusError
from inferenceservices.canary.counters import ProcessCounters, increase
from inferenceservices.canary.judgement import Thresholds, Verdict, judge
from inferenceservices.canary.run_state import (
    CanaryRun,
    NextTask,
    RunPlan,
    Task,
    begun,
    canary_percent_of,
    config_map_name,
    looked,
    next_task,
    parse_run,
    transformer_of,
    unready,
)
from inferenceservices.cluster import ClusterClient, ClusterError, ObjectNotFound, PermissionDenied
from inferenceservices.rollout_state import RolloutRefused, RolloutState
from protocol.command_line import FAILED

POLL_S = 5.0
"""Longest time between two readings of the InferenceService, seconds."""


@dataclass(frozen=True, kw_only=True)
class CanaryRunner:
    """One run over one InferenceService."""

    cluster: ClusterClient
    """Where the state of the run is kept."""
    traffic: CanaryTraffic
    name: str
    plan: RunPlan
    thresholds: Thresholds
    counters: Counters
    now: Callable[[], float]
    """Seconds since 1970."""
    sleep: Callable[[float], None]
    say: Callable[[str], None]
    """Shows the user a line."""

    def run(self) -> int:
        """Turn until the rollout ends; returns the exit code.

        Raises:
            RolloutRefused: there is no canary to run, or it cannot be taken back.
            ClusterError: the cluster does not answer at the beginning, or refuses what is needed.
        """
        self.cluster.inference_service(self.name)  # a wrong name or context is no reason to wait
        ended, hindered_since, said = None, 0.0, ""
        while ended is None:
            try:
                ended = self.turn()
                hindered_since, said = 0.0, ""
            except (PermissionDenied, ObjectNotFound):
                raise
            except (LookAgain, ClusterError) as reason:
                hindered_since = hindered_since or self.now()
                if str(reason) != said:
                    self.say(f"hold: {reason}")
                ended, said = self._hindered(hindered_since), str(reason)
        return ended

    def turn(self) -> int | None:
        """Read the state and do what is next; returns the exit code if that was the end."""
        state = self.traffic.advance()
        kept = self.cluster.config_map(config_map_name(self.name))
        run = parse_run(kept, transformer_of(state).latest_created)
        upcoming = next_task(state, run, self.plan, self.now())
        if upcoming.reason:
            self.say(upcoming.reason)
        if upcoming.task is Task.WAIT:
            self.sleep(self._pause(upcoming))
        elif upcoming.task is Task.DONE:
            return 0
        elif upcoming.task is Task.GIVE_UP:
            return FAILED
        elif upcoming.task is Task.ROLL_BACK:
            return self._roll_back(state)
        elif upcoming.task is Task.LOOK and run is not None:
            return self._look(state, run)
        else:
            self._note(state, run, upcoming.task)
        return None

    def _hindered(self, since: float) -> int | None:
        """Wait a moment; after the time of all looks return the exit code."""
        limit_s = self.plan.every_s * self.plan.looks
        if self.now() >= since + limit_s:
            self.say(f"no decision: for {limit_s:g} s nothing else came; the canary keeps its share")
            return FAILED
        self.sleep(POLL_S)
        return None

    def _pause(self, upcoming: NextTask) -> float:
        return min(POLL_S, max(upcoming.until - self.now(), 0.0)) if upcoming.until else POLL_S

    def _note(self, state: RolloutState, run: CanaryRun | None, task: Task) -> None:
        if task is Task.UNREADY:
            self._save(state, unready(run, state.generation, self.now()))
            return
        counters = self._read(state)
        self._save(state, begun(run, state.generation, self.now(), counters))
        percent = canary_percent_of(state)
        self.say(f"{percent} %: measured from now on, {self.plan.every_s:g} s between looks")

    def _look(self, state: RolloutState, run: CanaryRun) -> int | None:
        stable, canary = self._read(state)
        judgement = judge(
            increase(run.stable or {}, stable),
            increase(run.canary or {}, canary),
            run.looks + 1,
            self.thresholds,
        )
        percent = canary_percent_of(state)
        self.say(f"{percent} %: {judgement.explanation}")
        if judgement.verdict is Verdict.ROLL_BACK:
            return self._roll_back(
                state
            )  # where that fails, the look is not noted, and the next turn looks again
        # Noted before it is acted on: a look that was made has used up its part of the false alarms.
        self._save(state, looked(run))
        if judgement.verdict is Verdict.PROMOTE:
            return self._promote(state, percent or 100)
        return None

    def _promote(self, state: RolloutState, percent: int) -> int | None:
        target = next((each for each in self.plan.percents if each > percent), None)
        if target is None:
            self.say(f"done: {percent} % is the last of --to")
            return 0
        try:
            self.say(self.traffic.move(state, target))
        except RolloutRefused as refusal:
            self.say(f"hold: {refusal}")
        return None

    def _roll_back(self, state: RolloutState) -> int:
        self.say(self.traffic.roll_back(state))
        return FAILED

    def _read(self, state: RolloutState) -> tuple[ProcessCounters, ProcessCounters]:
        """Counters of the stable release and of the canary."""
        transformer = transformer_of(state)
        try:
            counters = self.counters(transformer.latest_rolled_out), self.counters(transformer.latest_created)
        except PermissionDenied:
            raise
        except (ClusterError, PrometheusError) as error:  # e.g. a pod that ends
            raise LookAgain(str(error)) from None
        if not any(counters):
            raise LookAgain(
                f"neither {transformer.latest_rolled_out} nor {transformer.latest_created} has a pod whose metrics "
                "are there: is there traffic, and does Prometheus have the component monitoring's labels?"
            )
        return counters

    def _save(self, state: RolloutState, run: CanaryRun) -> None:
        data = run.to_data(transformer_of(state).latest_created)
        self.cluster.write_config_map(
            config_map_name(self.name), data, self.cluster.inference_service(self.name)
        )
