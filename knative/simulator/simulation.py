"""One run: a workload through a scenario, event by event, in one thread. Equal inputs give equal outcomes."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from knative.simulator.cache import Cache
from knative.simulator.decoding import DecodingModel
from knative.simulator.deployment import Slices
from knative.simulator.events import Clock, Request, Status
from knative.simulator.outcome import Moment, Outcome
from knative.simulator.pods import Pod, PredictorPod, TransformerPod
from knative.simulator.scenario import PredictorService, Scenario, TransformerService
from knative.simulator.service import Service
from knative.simulator.trace import Trace
from knative.simulator.workload import Workload, draw_workload, warm_keys

SAMPLE_SECONDS = 1.0
"""Seconds between two moments of the timeline."""


Watch = Callable[[Sequence[Moment]], None]


@dataclass(frozen=True, slots=True)
class _Routed:
    """A predictor's service and the share of requests up to it."""

    service: Service
    up_to: float


def simulate(scenario: Scenario, trace: Trace, watch: Watch | None = None) -> Outcome:
    """Run a trace through a scenario.

    Args:
        scenario: what serves.
        trace: who asks.
        watch: is shown the timeline so far, after every simulated second.

    Raises:
        SimulationError: the scenario's cache needs keys that the trace lacks.
    """
    workload = draw_workload(
        trace,
        scenario.traffic,
        scenario.cache,
        max_sequence_tokens=scenario.max_sequence_tokens,
        seed=scenario.seed,
    )
    return _Simulation(scenario, workload, watch).run()


class _Simulation:
    def __init__(self, scenario: Scenario, workload: Workload, watch: Watch | None = None) -> None:
        self._scenario = scenario
        self._watch = watch
        self._workload = workload
        self._clock = Clock()
        self._chance = Random(scenario.seed)
        self._slices = Slices(self._clock, scenario.slices)
        self._cache = Cache(scenario.cache.ttl_s, warm_keys(workload, scenario.cache).tolist())
        self._latencies = array("d", bytes(8 * len(workload)))
        self._statuses = array("h", bytes(2 * len(workload)))
        self._left = len(workload)
        self._moments: list[Moment] = []
        up_to = 0.0
        self._predictors: list[_Routed] = []
        for predictor in scenario.predictors:
            up_to += predictor.share
            self._predictors.append(_Routed(self._predictor(predictor), up_to))
        self._front = self._transformer(scenario.transformer) if scenario.transformer else None
        for time in scenario.losses:
            self._clock.at(time, lambda _: self._predictors[0].service.deployment.lose())
        self._clock.at(SAMPLE_SECONDS, self._sample)

    def run(self) -> Outcome:
        """All requests to their end, then the sums."""
        self._arrive_all()
        clock, end = self._clock, self._workload.seconds
        if clock.now < end:
            clock.run_until(end)
        held = self._slices.settle()
        # Whoever still waits ends at the deadline at the latest; the next report sweeps it up.
        last = end + self._scenario.timeout_s + 3 * SAMPLE_SECONDS
        while self._left and clock.now < last:
            clock.run_until(clock.now + SAMPLE_SECONDS)
        if self._left:
            raise AssertionError(f"{self._left} requests never ended, or ended twice")
        return Outcome(
            scenario=self._scenario,
            workload=self._workload,
            latencies=np.frombuffer(self._latencies, np.float64),
            statuses=np.frombuffer(self._statuses, np.int16),
            moments=tuple(self._moments),
            slice_seconds=held,
        )

    def _arrive_all(self) -> None:
        workload, clock, timeout = self._workload, self._clock, self._scenario.timeout_s
        first = self._front.revision.arrive if self._front else self._ask
        rows = zip(
            workload.times.tolist(), workload.prompt_tokens.tolist(), workload.new_tokens.tolist(),
            workload.reserved_tokens.tolist(), workload.keys.tolist(), strict=True,
        )  # fmt: skip
        run_until = clock.run_until
        for index, (time, prompt, new, reserved, key) in enumerate(rows):
            run_until(time)
            first(Request(index, time, time + timeout, prompt, new, reserved, key))

    def _predictor(self, predictor: PredictorService) -> Service:
        slots = predictor.slots or predictor.profile.slots
        model = DecodingModel.of(predictor.profile, slots=slots, queue_tokens=predictor.queue_tokens)

        def make() -> Pod:
            return PredictorPod(self._clock, model, service.revision.left)

        service = Service(
            self._clock, predictor.scaling, self._scenario.autoscaler, slices=self._slices,
            cold_start=predictor.cold_start, chance=self._chance, make=make,
            ended=self._decoded if self._scenario.transformer else self._finished,
        )  # fmt: skip
        service.begin(predictor.initial)
        return service

    def _transformer(self, transformer: TransformerService) -> Service:
        def make() -> Pod:
            return TransformerPod(
                self._clock, transformer.model, self._cache, self._ask, service.revision.left
            )

        service = Service(
            self._clock, transformer.scaling, self._scenario.autoscaler, slices=Slices(self._clock, None),
            cold_start=transformer.cold_start, chance=self._chance, make=make, ended=self._finished,
        )  # fmt: skip
        service.begin(transformer.initial)
        return service

    def _ask(self, request: Request) -> None:
        if len(self._predictors) == 1:
            self._predictors[0].service.revision.arrive(request)
            return
        draw = self._workload.draws[request.index]
        for routed in self._predictors:
            if draw < routed.up_to or routed is self._predictors[-1]:
                routed.service.revision.arrive(request)
                return

    def _decoded(self, request: Request, status: Status) -> None:
        request.front.answered(request, status)

    def _finished(self, request: Request, status: Status) -> None:
        now = self._clock.now
        if now > request.deadline:
            status, now = Status.TIMEOUT, request.deadline  # that is when the caller left
        request.status = status
        self._latencies[request.index] = now - request.arrived
        self._statuses[request.index] = status
        self._left -= 1
        if request.key >= 0:
            for follower in self._cache.ended(request, status, now):
                follower.front.end(follower, Status.SHARED if status is Status.OK else status)

    def _sample(self, _: object) -> None:
        first, front = self._predictors[0].service, self._front
        services = [routed.service for routed in self._predictors]
        decision = first.decision
        self._moments.append(
            Moment(
                time=self._clock.now,
                desired=sum(service.replicas for service in services),
                ready=sum(service.ready for service in services),
                slices=self._slices.taken,
                queued=sum(service.revision.queued for service in services),
                in_flight=sum(service.revision.in_flight for service in services),
                transformers=front.ready if front else 0,
                panicking=any(service.panicking for service in services),
                proxying=decision is not None and decision.activator_in_path,
            )
        )
        if self._watch is not None:
            self._watch(self._moments)
        self._clock.at(self._clock.now + SAMPLE_SECONDS, self._sample)
