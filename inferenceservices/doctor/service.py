"""Checks after applying: what KServe and Knative say of the InferenceService, and whether its releases agree."""

from __future__ import annotations

from inferenceservices.doctor.diagnosis import Check, Diagnoses, Diagnosis
from inferenceservices.doctor.snapshot import COMPONENT, ClusterSnapshot, condition, labels_of, name_of
from inferenceservices.release_change import release_of
from inferenceservices.rollout_state import PREDICTOR, TRANSFORMER, is_observed
from protocol.kubernetes.documents import mapping, objects

REVISION = "serving.knative.dev/revision"
_REFUSALS = ("violates PodSecurity", "admission webhook", "is forbidden: violates")


def not_observed(snapshot: ClusterSnapshot) -> Diagnoses:
    """An InferenceService that KServe's controller has not looked at."""
    generation = mapping(snapshot.service, "metadata").get("generation")
    observed = mapping(snapshot.service, "status").get("observedGeneration")
    statuses = objects(snapshot.service, "status", "conditions")
    if snapshot.service and (not statuses or (observed is not None and not is_observed(snapshot.service))):
        yield Diagnosis(
            _service(snapshot),
            "KServe has not acted on its present manifest",
            f"generation {generation}, observed {observed}, {len(statuses)} conditions",
            "kubectl get pods -A -l control-plane=kserve-controller-manager, and the log of that pod",
        )


def progress_deadline(snapshot: ClusterSnapshot) -> Diagnoses:
    """A revision that was not ready in time."""
    for status in objects(snapshot.service, "status", "conditions"):
        text = f"{status.get('reason')}: {status.get('message')}"
        if status.get("status") == "False" and "ProgressDeadlineExceeded" in text:
            yield Diagnosis(
                _service(snapshot),
                f"{status.get('type')}: a revision was not ready within Knative's progress deadline",
                text,
                f"mend what keeps its pods from starting, then yiwen rollout rollback {snapshot.name} "
                f"-n {snapshot.namespace}, or set serving.knative.dev/progress-deadline if loading takes longer",
            )


def not_routed(snapshot: ClusterSnapshot) -> Diagnoses:
    """A component whose pods are ready, but which has no route."""
    for component in (PREDICTOR, TRANSFORMER):
        title = component.capitalize()
        route = condition(snapshot.service, f"{title}RouteReady")
        if (
            route.get("status") == "False"
            and condition(snapshot.service, f"{title}ConfigurationReady").get("status") == "True"
        ):
            yield Diagnosis(
                _service(snapshot),
                f"the {component} is up, and has no route",
                f"{route.get('reason')}: {route.get('message')}",
                snapshot.fix("get route,kingress") + "; see the log of the ingress controller of Knative",
            )


def quota_exceeded(snapshot: ClusterSnapshot) -> Diagnoses:
    """Pods that are not made, since a quota has no room."""
    for subject, message in _not_created(snapshot):
        if "exceeded quota" in message:
            quota = message.partition("exceeded quota: ")[2].partition(",")[0]
            yield Diagnosis(
                subject,
                f"its pods are not made: the quota {quota} is used up",
                message,
                snapshot.fix(f"edit resourcequota {quota}") + ", or promote or roll back the canary",
            )


def pod_refused(snapshot: ClusterSnapshot) -> Diagnoses:
    """Pods that are not made, since admission refuses them."""
    for subject, message in _not_created(snapshot):
        if any(text in message for text in _REFUSALS):
            yield Diagnosis(
                subject,
                "its pods are refused by admission",
                message,
                "change what the message names in the overlay, or see kubectl get namespace "
                f"{snapshot.namespace} --show-labels",
            )


def release_mismatch(snapshot: ClusterSnapshot) -> Diagnoses:
    """Transformers without a predictor of their own release."""
    releases: dict[str, dict[str, bool]] = {PREDICTOR: {}, TRANSFORMER: {}}
    if mapping(snapshot.service, "spec", PREDICTOR).get("minReplicas") == 0:
        return  # a predictor at zero is no fault: the first request starts it
    for pod in snapshot.pods:
        found = releases.get(labels_of(pod).get(COMPONENT, ""))
        if found is not None and (release := release_of(mapping(pod, "spec"))):
            found[release] = found.get(release, False) or condition(pod, "Ready").get("status") == "True"
    there = ", ".join(
        f"{name} {'ready' if ready else 'not ready'}" for name, ready in releases[PREDICTOR].items()
    )
    for release in releases[TRANSFORMER]:
        if there and release not in releases[PREDICTOR]:
            yield Diagnosis(
                _service(snapshot),
                f"transformers of release {release} find no predictor of it",
                f"predictors: {there}; transformers: {', '.join(releases[TRANSFORMER])}",
                f"yiwen rollout set {snapshot.name} -n {snapshot.namespace} --percent 10 --release RELEASE, "
                "which changes both components together",
            )


def scaler_failed(snapshot: ClusterSnapshot) -> Diagnoses:
    """A ScaledObject that cannot read its metrics."""
    for scaled in snapshot.of("scaledobjects"):
        ready = condition(scaled, "Ready")
        if ready.get("status") == "False":
            yield Diagnosis(
                f"ScaledObject/{name_of(scaled)}",
                "KEDA does not scale it",
                f"{ready.get('reason')}: {ready.get('message')}",
                snapshot.fix(f"describe scaledobject {name_of(scaled)}")
                + "; check the value prometheus of the overlay",
            )


def _not_created(snapshot: ClusterSnapshot) -> list[tuple[str, str]]:
    """Object and message of pods that were not made: events of ReplicaSets, and conditions of the service."""
    found = []
    for event in snapshot.events("FailedCreate"):
        name = str(mapping(event, "involvedObject").get("name", ""))
        if name.startswith(snapshot.name):
            found.append(
                (f"{mapping(event, 'involvedObject').get('kind')}/{name}", str(event.get("message")))
            )
    for status in objects(snapshot.service, "status", "conditions"):
        if status.get("status") == "False" and not found:
            found.append((_service(snapshot), str(status.get("message"))))
    return found


def _service(snapshot: ClusterSnapshot) -> str:
    return f"InferenceService/{snapshot.name}"


CHECKS = (
    Check("not-observed", "KServe has not acted on the manifest", (), not_observed),
    Check("progress-deadline", "a revision was not ready in time", (), progress_deadline),
    Check("not-routed", "a component is up and has no route", (), not_routed),
    Check("quota-exceeded", "pods are not made for want of quota", ("events",), quota_exceeded),
    Check("pod-refused", "pods are refused by admission", ("events",), pod_refused),
    Check("release-mismatch", "transformers have no predictor of their release", ("pods",), release_mismatch),
    Check("scaler-failed", "KEDA cannot scale", ("scaledobjects",), scaler_failed),
)
