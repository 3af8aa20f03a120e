"""What is read while a load runs: events of the autoscaler and of pods, requests in flight, processor time."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from benchmarks.cluster.deployment import ServedOverlay, predictor_at
from benchmarks.cluster.processor_times import PREDICTOR, SERVING, YIELDING, ProcessorTimes
from benchmarks.cluster.series import StepSeries, desired_pods, ready_pods
from benchmarks.cluster.watch import Watch
from benchmarks.engine.processes import ResourceUsage

INTERVAL_S = 1.0
METRICS = ("yiwen_predictor_slots_used", "yiwen_predictor_waiting_sequences")
TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class NodeSample:
    """A reading of all predictors and of the node's processors."""

    time: float
    """On the machine's monotonic clock, seconds."""
    decoding: int
    """Sequences in slots."""
    waiting: int
    """Sequences that wait for a slot."""
    busy_cores: float
    """Of the node, since the sample before."""
    by_kind: dict[str, float]
    """The same of what the simulation has too, and of processes that give way to all others."""

    @property
    def other_cores(self) -> float:
        """Cores that all other processes kept busy."""
        return max(0.0, self.busy_cores - sum(self.by_kind.values()))


@dataclass(slots=True)
class Observation:
    """Of one load; complete after the block of :func:`observing`."""

    pods: Watch
    autoscaler: Watch
    samples: list[NodeSample] = field(default_factory=list)

    def desired(self) -> StepSeries:
        """Predictors that the autoscaler desires."""
        return desired_pods(list(self.autoscaler.events))

    def ready(self) -> StepSeries:
        """Ready predictors."""
        return ready_pods(list(self.pods.events))

    def ready_now(self) -> dict[str, str]:
        """URL of each ready predictor, by the uid of its pod."""
        newest = {event.uid: event for event in list(self.pods.events)}
        return {uid: predictor_at(event.item).url for uid, event in newest.items() if event.is_ready}


@contextmanager
def observing(deployment: ServedOverlay) -> Iterator[Observation]:
    """Observe the predictors until the block ends."""
    revision = deployment.revision(PREDICTOR)
    selector = f"--selector=serving.knative.dev/revision={revision}"
    stopping = threading.Event()
    with ExitStack() as stack:
        pods = stack.enter_context(Watch(deployment.namespace, "pods", selector))
        name = "podautoscalers.autoscaling.internal.knative.dev"
        scaler = stack.enter_context(
            Watch(deployment.namespace, name, f"--field-selector=metadata.name={revision}")
        )
        observation = Observation(pods, scaler)
        while not (pods.events and scaler.events):
            time.sleep(0.05)
        # Transformers serve all the time.
        transformers = set(deployment.service().transformer.uids)
        reader = stack.enter_context(ThreadPoolExecutor(1)).submit(
            _sample, observation, transformers, stopping
        )
        try:
            yield observation
        finally:
            stopping.set()
        reader.result()


def _sample(observation: Observation, transformers: set[str], stopping: threading.Event) -> None:
    times = ProcessorTimes()
    times.read({*transformers, *observation.ready_now()})
    before, machine_s, kinds = time.perf_counter(), ResourceUsage.now().machine_s, dict(times.seconds)
    while not stopping.wait(max(0.0, before + INTERVAL_S - time.perf_counter())):
        ready = observation.ready_now()
        times.read({*transformers, *ready})
        now, machine_now_s = time.perf_counter(), ResourceUsage.now().machine_s
        seconds = now - before
        by_kind = {
            kind: (times.seconds[kind] - kinds.get(kind, 0.0)) / seconds for kind in (*SERVING, YIELDING)
        }
        counts = [read_metrics(url) for url in ready.values()]
        decoding, waiting = sum(each[0] for each in counts), sum(each[1] for each in counts)
        observation.samples.append(
            NodeSample(now, decoding, waiting, (machine_now_s - machine_s) / seconds, by_kind)
        )
        before, machine_s, kinds = now, machine_now_s, dict(times.seconds)


def read_metrics(url: str) -> tuple[int, int]:
    """Sequences that a predictor decodes, and that wait there; 0 if it does not answer."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=TIMEOUT_S) as response:
            text = response.read().decode()
    except OSError:
        return 0, 0
    return parse_metrics(text)


def parse_metrics(text: str) -> tuple[int, int]:
    """The two numbers of a predictor's metrics; 0 where one is absent."""
    values = dict.fromkeys(METRICS, 0.0)
    for line in text.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name in values:
            values[name] += float(line.rpartition(" ")[2])
    decoding, waiting = values.values()
    return round(decoding), round(waiting)
