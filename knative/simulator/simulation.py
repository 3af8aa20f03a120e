"""Runs a workload through a scenario. Equal inputs give equal results."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from knative.simulator.cluster.cache import SimulatedCache
from knative.simulator.cluster.decoding import DecodingModel
from knative.simulator.cluster.deployment import SlicePool
from knative.simulator.cluster.pods import PredictorPod, SimulatedPod, TransformerPod
from knative.simulator.cluster.service import SimulatedService
from knative.simulator.engine.events import Clock, EndCallback, SimulatedGroup, SimulatedRequest, Status
from knative.simulator.engine.other_processes import OtherProcesses
from knative.simulator.engine.processors import CorePool, DedicatedCore, EventLoop, Processor
from knative.simulator.load.trace import Trace
from knative.simulator.load.workload import Workload, draw_workload, warm_keys
from knative.simulator.result import SimulationResult, Snapshot
from knative.simulator.scenarios.scenario import PredictorService, Scenario, TransformerService

SAMPLE_SECONDS = 1.0
"""Seconds between two snapshots."""


SnapshotCallback = Callable[[Sequence[Snapshot]], None]


@dataclass(frozen=True, slots=True)
class _Routed:
    """A predictor service, and the cumulated share of requests up to and including it."""

    service: SimulatedService
    up_to: float


def simulate(
    scenario: Scenario, trace: Trace, on_snapshot: SnapshotCallback | None = None
) -> SimulationResult:
    """Run a trace through a scenario.

    Args:
        scenario: services and cluster.
        trace: arrivals.
        on_snapshot: called with all snapshots so far, after every simulated second.

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
    return _Simulation(scenario, workload, on_snapshot).run()


@dataclass(frozen=True, slots=True)
class _Hop:
    """The connection from one service to the next: forwards requests and returns answers."""

    pass_on: Callable[[SimulatedRequest], None]
    pass_back: EndCallback

    def over(self, proxy: EventLoop, seconds: float) -> _Hop:
        """The same over a proxy, which takes ``seconds`` of CPU time per request and answer together."""

        def pass_on(request: SimulatedRequest) -> None:
            proxy.submit(seconds / 2, self.pass_on, request)

        def pass_back(request: SimulatedRequest, status: Status) -> None:
            proxy.submit(seconds / 2, lambda _: self.pass_back(request, status))

        return _Hop(pass_on, pass_back)


class _Simulation:
    def __init__(
        self, scenario: Scenario, workload: Workload, on_snapshot: SnapshotCallback | None = None
    ) -> None:
        self._scenario = scenario
        self._on_snapshot = on_snapshot
        self._workload = workload
        self._clock = Clock()
        self._rng = Random(scenario.seed)
        node = scenario.node
        self._cores = CorePool(self._clock, node.cores, node.slice_seconds, node.speeds) if node else None
        if node and self._cores:
            OtherProcesses(self._cores, node.cores, node.others)
        self._slices = SlicePool(self._clock, scenario.slices)
        self._cache = SimulatedCache(scenario.cache.ttl_s, warm_keys(workload, scenario.cache).tolist())
        self._latencies = array("d", bytes(8 * len(workload)))
        self._statuses = array("h", bytes(2 * len(workload)))
        self._unfinished = len(workload if workload.starts is None else workload.starts)
        self._snapshots: list[Snapshot] = []
        self._to_transformer = self._hop(self._route_to_service, self._record)
        self._to_predictor = (
            self._hop(self._route_to_predictor, self._predictor_done)
            if scenario.transformer
            else _Hop(self._route_to_predictor, self._service_done)
        )
        up_to = 0.0
        self._predictors: list[_Routed] = []
        for predictor in scenario.predictors:
            up_to += predictor.share
            self._predictors.append(_Routed(self._predictor(predictor), up_to))
        self._front = self._transformer(scenario.transformer) if scenario.transformer else None
        for time in scenario.pod_failures:
            self._clock.call_at(time, lambda _: self._predictors[0].service.deployment.kill_oldest_pod())
        self._clock.call_at(SAMPLE_SECONDS, self._sample)

    def run(self) -> SimulationResult:
        """Run until every request has ended."""
        self._arrive_all()
        clock, end = self._clock, self._workload.seconds
        if clock.now < end:
            clock.run_until(end)
        held = self._slices.held_seconds()
        self._wait_for_all()
        latencies = np.frombuffer(self._latencies, np.float64)
        statuses = np.frombuffer(self._statuses, np.int16)
        if (starts := self._workload.starts) is not None:
            latencies, statuses = latencies[starts], statuses[starts]
        return SimulationResult(
            scenario=self._scenario,
            workload=self._workload.by_request(),
            latencies=latencies,
            statuses=statuses,
            snapshots=tuple(self._snapshots),
            slice_seconds=held,
        )

    def _wait_for_all(self) -> None:
        """Run on after the last arrival: requests end at their deadlines at the latest, by the next report."""
        clock, timeout = self._clock, self._scenario.timeout_s + 3 * SAMPLE_SECONDS
        unfinished, since = self._unfinished, clock.now
        while self._unfinished:
            clock.run_until(clock.now + SAMPLE_SECONDS)
            if self._unfinished != unfinished:
                unfinished, since = self._unfinished, clock.now
            elif clock.now - since > timeout:
                raise AssertionError(f"{unfinished} requests never ended, or ended twice")

    def _arrive_all(self) -> None:
        workload, scenario, first = self._workload, self._scenario, self._to_transformer.pass_on
        # The overhead is added to every answer later.
        timeout = max(0.0, scenario.timeout_s - scenario.overhead_s)
        rows = zip(
            workload.times.tolist(), workload.prompt_tokens.tolist(), workload.new_tokens.tolist(),
            workload.reserved_tokens.tolist(), workload.keys.tolist(), workload.too_long.tolist(), strict=True,
        )  # fmt: skip
        run_until = self._clock.run_until
        starts = workload.starts
        ends = None if starts is None else iter([*starts[1:].tolist(), len(workload)])
        end, any_too_long = 0, False
        texts: list[SimulatedRequest] = []
        for index, (time, prompt, new, reserved, key, too_long) in enumerate(rows):
            run_until(time)
            request = SimulatedRequest(index, time, time + timeout, prompt, new, reserved, key)
            if ends is not None:
                if index == end:
                    end, texts, any_too_long = next(ends), [], False
                texts.append(request)
                any_too_long = any_too_long or too_long
                if index + 1 < end:
                    continue
                request, too_long = SimulatedGroup(texts), any_too_long
            if too_long:
                self._record(request, Status.TOO_LONG)
            else:
                first(request)

    def _thread(self) -> Processor:
        return self._cores.thread() if self._cores else DedicatedCore(self._clock)

    def _hop(self, onward: Callable[[SimulatedRequest], None], back: EndCallback) -> _Hop:
        node, hop = self._scenario.node, _Hop(onward, back)
        return hop.over(self._thread().event_loop(), node.hop_seconds) if node and node.hop_seconds else hop

    def _predictor(self, predictor: PredictorService) -> SimulatedService:
        slots = predictor.slots or predictor.profile.slots
        model = DecodingModel.of(predictor.profile, slots=slots, queue_tokens=predictor.queue_tokens)

        def make() -> SimulatedPod:
            return PredictorPod(
                self._clock,
                self._thread,
                model,
                predictor.profile.request_overhead_seconds,
                service.revision.leave,
            )

        service = SimulatedService(
            self._clock, predictor.scaling, self._scenario.autoscaler, slices=self._slices,
            cold_start=predictor.cold_start, rng=self._rng, make_pod=make,
            on_end=self._to_predictor.pass_back,
        )  # fmt: skip
        service.start(predictor.initial_pods)
        return service

    def _transformer(self, transformer: TransformerService) -> SimulatedService:
        def make() -> SimulatedPod:
            return TransformerPod(
                self._clock, self._thread(), transformer.model, self._cache,
                self._to_predictor.pass_on, service.revision.leave,
            )  # fmt: skip

        service = SimulatedService(
            self._clock, transformer.scaling, self._scenario.autoscaler, slices=SlicePool(self._clock, None),
            cold_start=transformer.cold_start, rng=self._rng, make_pod=make, on_end=self._service_done,
        )  # fmt: skip
        service.start(transformer.initial_pods)
        return service

    def _route_to_service(self, request: SimulatedRequest) -> None:
        if self._front:
            self._front.revision.arrive(request)
        else:
            self._route_to_predictor(request)

    def _route_to_predictor(self, request: SimulatedRequest) -> None:
        if len(self._predictors) == 1:
            self._predictors[0].service.revision.arrive(request)
            return
        draw = self._workload.draws[request.index]
        for routed in self._predictors:
            if draw < routed.up_to or routed is self._predictors[-1]:
                routed.service.revision.arrive(request)
                return

    def _predictor_done(self, request: SimulatedRequest, status: Status) -> None:
        request.front.answered(request, status)

    def _service_done(self, request: SimulatedRequest, status: Status) -> None:
        if request.key >= 0:
            for follower in self._cache.finish(request, status, self._clock.now):
                follower.front.end_follower(follower, Status.SHARED if status is Status.OK else status)
        self._to_transformer.pass_back(request, status)

    def _record(self, request: SimulatedRequest, status: Status) -> None:
        now = self._clock.now
        if now > request.deadline:
            status, now = Status.TIMEOUT, request.deadline  # the caller has given up at that time
        request.status = status
        self._latencies[request.index] = now - request.arrived
        self._statuses[request.index] = status
        self._unfinished -= 1

    def _sample(self, _: object) -> None:
        first, front = self._predictors[0].service, self._front
        services = [routed.service for routed in self._predictors]
        decision = first.decision
        self._snapshots.append(
            Snapshot(
                time=self._clock.now,
                desired=sum(service.replicas for service in services),
                ready=sum(service.ready for service in services),
                slices=self._slices.taken,
                queued=sum(service.revision.queued for service in services),
                in_flight=sum(service.revision.in_flight for service in services),
                transformers=front.ready if front else 0,
                panicking=any(service.panicking for service in services),
                activator_in_path=decision is not None and decision.activator_in_path,
            )
        )
        if self._on_snapshot is not None:
            self._on_snapshot(self._snapshots)
        self._clock.call_at(self._clock.now + SAMPLE_SECONDS, self._sample)
