"""Checks of a running service: why it is slow, or refuses, by the metrics of its processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from inferenceservices.doctor.diagnosis import Check, Diagnoses, Diagnosis
from inferenceservices.doctor.metrics import ScrapedMetrics, read_metrics
from inferenceservices.doctor.snapshot import ClusterSnapshot, name_of
from inferenceservices.rollout_state import PREDICTOR, TRANSFORMER
from protocol.kubernetes.documents import mapping

SLOW_QUEUE_S = 1.0
"""Mean seconds in the predictor's queue that are worth a word; KEDA's query has the same bound."""
ENOUGH_LOOKUPS = 200
"""Distinct texts before a hit rate says anything."""
COLD_HIT_RATE = 0.05
COLD_SHARE = 0.05
"""Share of requests that waited for a cold start."""
MANY_REFUSED = 0.01
"""Share of requests that were refused."""
TRANSFORMER_METRICS, PREDICTOR_METRICS = "metrics of the transformer", "metrics of the predictor"
"""Names of what is unseen where no process of a component could be asked."""


def queue_waits(snapshot: ClusterSnapshot) -> Diagnoses:
    """Sequences wait for a slot while all are taken."""
    for process in _predictors(snapshot):
        waiting, slots = (
            process.total("yiwen_predictor_waiting_sequences"),
            process.total("yiwen_predictor_slots"),
        )
        used = process.total("yiwen_predictor_slots_used")
        if waiting and slots and used >= slots:
            yield _slow(
                process,
                "all slots are taken, and sequences wait",
                f"{used:g} of {slots:g} slots, {waiting:g} waiting",
                "more replicas (raise maxReplicas in the overlay; yiwen plan says how many), or more YIWEN_SLOTS "
                "where the GPU's memory allows",
            )


def queue_was_slow(snapshot: ClusterSnapshot) -> Diagnoses:
    """Sequences waited long for a slot, on average since the start."""
    for process in _predictors(snapshot):
        mean_s = process.mean("yiwen_predictor_queue_seconds")
        if mean_s > SLOW_QUEUE_S:
            count = process.total("yiwen_predictor_queue_seconds_count")
            yield _slow(
                process,
                f"a sequence waited {mean_s:.1f} s for a slot on average",
                f"yiwen_predictor_queue_seconds over {count:g} sequences",
                "yiwen plan (capacity for the load), and a lower scaleTarget or higher minReplicas in the overlay",
            )


def prefill_bound(snapshot: ClusterSnapshot) -> Diagnoses:
    """Sequences wait although slots are free: the batch is limited by its prompts."""
    for process in _predictors(snapshot):
        waiting, slots = (
            process.total("yiwen_predictor_waiting_sequences"),
            process.total("yiwen_predictor_slots"),
        )
        used = process.total("yiwen_predictor_slots_used")
        if waiting > slots - used > 0:
            yield _slow(
                process,
                "the batch is not full, and sequences wait: prompts come faster than they can be read",
                f"{used:g} of {slots:g} slots, {waiting:g} waiting",
                "raise YIWEN_PREFILL_TOKENS in the overlay where steps may take longer, or add replicas",
            )


def cache_cold(snapshot: ClusterSnapshot) -> Diagnoses:
    """Nearly nothing is found in the cache."""
    for process in _transformers(snapshot):
        name = "yiwen_transformer_cache_lookups_total"
        lookups, hits = process.total(name), process.total(name, result="hit")
        if lookups >= ENOUGH_LOOKUPS and hits < COLD_HIT_RATE * lookups:
            yield _slow(
                process,
                "nearly every text is a miss",
                f"{hits:g} of {lookups:g} look-ups were hits",
                "yiwen cache stats; a new release starts with an empty cache: yiwen cache warm",
            )


def redis_open(snapshot: ClusterSnapshot) -> Diagnoses:
    """Redis is left alone, since it fails."""
    for process in _transformers(snapshot):
        if process.total("yiwen_transformer_redis_circuit"):
            errors = {
                sample.labels.get("kind", "?"): sample.value
                for sample in process.matching("yiwen_transformer_redis_errors_total", {})
                if sample.value
            }
            evidence = ", ".join(f"{kind} {number:g}" for kind, number in errors.items()) or "none counted"
            yield _slow(
                process,
                "Redis fails, so that only the cache of the process is used",
                f"yiwen_transformer_redis_circuit is not 0; errors: {evidence}",
                "yiwen cache stats, which says why Redis does not answer (docs/caching.md)",
            )


def cold_starts(snapshot: ClusterSnapshot) -> Diagnoses:
    """Requests wait, or often waited, for a predictor to come up."""
    for process in _transformers(snapshot):
        waiters = process.total("yiwen_transformer_cold_start_waiters")
        waited = process.total("yiwen_transformer_cold_start_wait_seconds_count")
        requests = process.total("yiwen_requests_total")
        if waiters or (waited and waited > COLD_SHARE * requests):
            yield _slow(
                process,
                "requests wait for a predictor that starts",
                f"{waiters:g} wait now, {waited:g} of {requests:g} waited, "
                f"{process.mean('yiwen_transformer_cold_start_wait_seconds'):.1f} s on average",
                "minReplicas: 1 in the overlay keeps one predictor up; see why it restarts: kubectl get pods",
            )


def predictor_not_found(snapshot: ClusterSnapshot) -> Diagnoses:
    """A transformer that never found a predictor of its release."""
    for process in _transformers(snapshot):
        name = "yiwen_transformer_predictor_found"
        if process.has(name) and not process.total(name):
            yield _slow(
                process,
                "it has found no predictor of its release, and is not ready",
                f"{name} is 0, release {process.label('yiwen_build_info', 'release') or 'not known'}",
                f"{snapshot.fix('get pods -l component=predictor')}; both components must serve one release",
            )


def releases_differ(snapshot: ClusterSnapshot) -> Diagnoses:
    """Transformers and predictors of different releases."""
    served = {p.label("yiwen_build_info", "release") for p in _predictors(snapshot)} - {""}
    for process in _transformers(snapshot):
        release = process.label("yiwen_build_info", "release")
        if release and served and release not in served:
            yield _slow(
                process,
                "no predictor serves its release",
                f"the transformer's is {release}, predictors have {', '.join(sorted(served))}",
                "start both with the same --release (yiwen serve), or: yiwen rollout status " + snapshot.name,
            )


def steps_fail(snapshot: ClusterSnapshot) -> Diagnoses:
    """Steps of the decoder fail."""
    for process in _predictors(snapshot):
        failures = process.total("yiwen_predictor_step_failures_total")
        unhealthy = process.has("yiwen_predictor_healthy") and not process.total("yiwen_predictor_healthy")
        if failures or unhealthy:
            yield _slow(
                process,
                "it is unhealthy: its steps fail" if unhealthy else "some of its steps failed",
                f"{failures:g} failed steps; yiwen_predictor_healthy is {0 if unhealthy else 1}",
                "its log says why: "
                + snapshot.fix("logs -l component=predictor -c kserve-container --tail=50"),
            )


def slow_backend(snapshot: ClusterSnapshot) -> Diagnoses:
    """A predictor that fell back to the CPU, since its TensorRT plan cannot run."""
    for process in _predictors(snapshot):
        info = "yiwen_predictor_runner_info"
        backend, reason = process.label(info, "backend"), process.label(info, "reason")
        if backend == "onnxruntime" and reason.startswith("TensorRT cannot run it"):
            yield _slow(
                process,
                f"it decodes with {backend}",
                f"reason: {reason}",
                "build a plan on this GPU (yiwen release plan DIR), and set YIWEN_BACKEND=tensorrt",
            )


def refused(snapshot: ClusterSnapshot) -> Diagnoses:
    """Requests that are refused for want of room."""
    for process in (*_transformers(snapshot), *_predictors(snapshot)):
        requests = process.total("yiwen_requests_total")
        codes = {
            sample.labels.get("code", "?"): sample.value
            for sample in process.matching("yiwen_requests_rejected_total", {})
            if sample.value and sample.labels.get("status") in ("429", "503")
        }
        if sum(codes.values()) > MANY_REFUSED * requests:
            yield _slow(
                process,
                "it refuses requests",
                f"of {requests:g} requests: "
                + ", ".join(f"{code} {number:g}" for code, number in codes.items()),
                "docs/errors.md says what to do for each code; more replicas: yiwen plan",
            )


def at_largest_scale(snapshot: ClusterSnapshot) -> Diagnoses:
    """Sequences wait, and the autoscaler may add no pod."""
    waiting = sum(p.total("yiwen_predictor_waiting_sequences") for p in _predictors(snapshot))
    for autoscaler in snapshot.of("podautoscalers"):
        status = mapping(autoscaler, "status")
        most = str(
            mapping(autoscaler, "metadata", "annotations").get("autoscaling.knative.dev/max-scale", "")
        )
        wanted = status.get("desiredScale")
        if waiting and "predictor" in name_of(autoscaler) and most.isdecimal() and wanted == int(most):
            yield Diagnosis(
                f"PodAutoscaler/{name_of(autoscaler)}",
                "sequences wait, and there are as many pods as there may be",
                f"desired {wanted}, actual {status.get('actualScale')}, at most {most}; {waiting:g} waiting",
                "raise maxReplicas in the overlay and apply it; yiwen plan says how many a load needs",
            )


def not_ready(snapshot: ClusterSnapshot) -> Diagnoses:
    """A server that says it is not ready."""
    for server in snapshot.of("servers"):
        if server.get("ready") != 200:
            yield Diagnosis(
                str(server["process"]),
                "it is not ready",
                f"{server['url']}/v2/health/ready answers {server['ready']}: {server['message']}",
                "its last log lines say why; a transformer waits for a predictor of its release",
            )


def not_ours(snapshot: ClusterSnapshot) -> Diagnoses:
    """A server of another kind at the address."""
    for server in snapshot.of("servers"):
        if server.get("name") != "yiwen":
            yield Diagnosis(
                str(server["process"]),
                "what answers there is not Yiwen",
                f"GET {server['url']}/v2 names {server.get('name') or 'no server'}",
                "give the address of the transformer with --url, and of the predictor with --predictor-url",
            )


def wrong_service(snapshot: ClusterSnapshot) -> Diagnoses:
    """The predictor where the transformer should be, or the other way round."""
    for component in (PREDICTOR, TRANSFORMER):
        for process in read_metrics(snapshot.metrics, component):
            if not any(sample.name.startswith(f"yiwen_{component}_") for sample in process.samples):
                yield Diagnosis(
                    component,
                    f"what answers there is not the {component}",
                    f"/metrics has no metric yiwen_{component}_...",
                    "give the address of the transformer with --url, and of the predictor with --predictor-url",
                )


def _predictors(snapshot: ClusterSnapshot) -> tuple[ScrapedMetrics, ...]:
    return read_metrics(snapshot.metrics, PREDICTOR)


def _transformers(snapshot: ClusterSnapshot) -> tuple[ScrapedMetrics, ...]:
    return read_metrics(snapshot.metrics, TRANSFORMER)


def _slow(process: ScrapedMetrics, problem: str, evidence: str, fix: str) -> Diagnosis:
    return Diagnosis(process.process, problem, evidence, fix)


def _checks() -> Iterator[Check]:
    def check(name: str, fault: str, needs: str, find: Callable[[ClusterSnapshot], Diagnoses]) -> Check:
        return Check(name, fault, (needs,), find)

    predictor, transformer = PREDICTOR_METRICS, TRANSFORMER_METRICS
    yield check("slots-full", "all slots are taken, and sequences wait", predictor, queue_waits)
    yield check("queue-slow", "sequences waited more than a second for a slot", predictor, queue_was_slow)
    yield check("prefill-bound", "sequences wait although slots are free", predictor, prefill_bound)
    yield check("cache-cold", "nearly every text is a miss", transformer, cache_cold)
    yield check("redis-down", "Redis fails and is left alone", transformer, redis_open)
    yield check("cold-start", "requests wait for a predictor that starts", transformer, cold_starts)
    yield check(
        "predictor-not-found",
        "a transformer found no predictor of its release",
        transformer,
        predictor_not_found,
    )
    yield Check(
        "releases-differ",
        "no predictor serves the transformer's release",
        (predictor, transformer),
        releases_differ,
    )
    yield check("steps-fail", "steps of the decoder fail", predictor, steps_fail)
    yield check("backend-slow", "a predictor does not use the GPU that is there", predictor, slow_backend)
    yield check("refusals", "requests are refused for want of room", transformer, refused)
    yield Check(
        "largest-scale",
        "sequences wait at the largest number of pods",
        (predictor, "podautoscalers"),
        at_largest_scale,
    )


CHECKS = tuple(_checks())
SERVER_CHECKS = (
    Check("not-yiwen", "another server answers at the address", (), not_ours),
    Check("wrong-service", "transformer and predictor are exchanged", (), wrong_service),
    Check("not-ready", "a server says that it is not ready", (), not_ready),
)
"""Of what is reached by its URL alone."""
