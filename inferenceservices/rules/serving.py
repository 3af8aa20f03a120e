"""Rules for serving: a read-only release, probes, and timeouts that fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from inferenceservices.rules.findings import ComponentRule, Violations
from protocol.kubernetes.documents import mapping, objects
from protocol.kubernetes.durations import is_whole_seconds, parse_duration
from protocol.kubernetes.inference_service import KNATIVE, STANDARD, ServiceComponent
from protocol.kubernetes.pods import environment

RELEASE = "YIWEN_RELEASE"
DEADLINE_MS, DRAIN_S, READ_TIMEOUT_S = "YIWEN_MAX_DEADLINE_MS", "YIWEN_DRAIN_S", "YIWEN_READ_TIMEOUT_S"
PROGRESS_DEADLINE = "serving.knative.dev/progress-deadline"
PROGRESS_DEADLINE_S = 600
"""Knative's default of the annotation, in seconds."""
STARTUP_S = 900
"""Seconds that a predictor may need to load its plan."""
UNREACHABLE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
"""Taints of an unreachable node."""
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_PATHS = ("/v2/health/live", "/v2/health/ready")


def read_only_release(component: ServiceComponent) -> Violations:
    """The release is read-only in the mount and in the volume."""
    volumes = component.pod.volumes
    for container in component.pod.all_containers:
        for mount in objects(container, "volumeMounts"):
            volume = volumes.get(str(mount.get("name")), {})
            if "persistentVolumeClaim" not in volume:
                continue
            claim = mapping(volume, "persistentVolumeClaim")
            if mount.get("readOnly") is not True or claim.get("readOnly") is not True:
                yield (
                    f"mount {mount.get('name')} read-only in {container.get('name')}, and give its "
                    "persistentVolumeClaim readOnly: true: a release never changes"
                )
    writable = component.annotations.get("storage.kserve.io/readonly") == "false"
    if writable:
        yield "remove the annotation storage.kserve.io/readonly: a release never changes"


def release_mounted(component: ServiceComponent) -> Violations:
    """``YIWEN_RELEASE`` is a directory on a mounted volume."""
    for container in component.pod.containers[:1]:
        release = environment(container).get(RELEASE, "")
        places = [str(mount.get("mountPath")) for mount in objects(container, "volumeMounts")]
        if mapping(component.declared, "model").get("storageUri"):
            places.append("/mnt/models")
        if not any(release == place or release.startswith(f"{place}/") for place in places):
            yield f"set {RELEASE} to a directory below one of the mounts of {container.get('name')}"


def health_probes(component: ServiceComponent) -> Violations:
    """All three probes exist, use the health routes of the v2 protocol, and have a timeout."""
    for container in component.pod.containers[:1]:
        for name in _PROBES:
            probe = mapping(container, name)
            if not probe:
                yield f"{container.get('name')} needs a {name}"
            elif mapping(probe, "httpGet").get("path") not in _PATHS:
                yield f"the {name} must be an httpGet of /v2/health/ready or /v2/health/live"
            elif not isinstance(probe.get("timeoutSeconds"), int):
                yield f"give the {name} timeoutSeconds: Kubernetes' default of 1 s kills a service that is busy"


def startup_time(component: ServiceComponent) -> Violations:
    """The startup probe of a predictor allows 15 minutes, and Knative's progress deadlines are longer.

    A transformer is ready after its predictor, so its progress deadline is the longer one.
    """
    for container in component.pod.containers[:1]:
        probe = mapping(container, "startupProbe")
        seconds = _integer(probe, "periodSeconds", 10) * _integer(probe, "failureThreshold", 3)
        if component.name == "predictor" and seconds < STARTUP_S:
            yield f"the startupProbe gives up after {seconds} s: a plan may take {STARTUP_S} s to load"
        if component.service.mode != KNATIVE:
            continue
        deadline = _progress_deadline_s(component)
        predictor = component.service.component("predictor")
        if component.name == "transformer" and predictor is not None:
            longer_than = _progress_deadline_s(predictor)
            if deadline is not None and longer_than is not None and deadline < longer_than:
                yield (
                    f"the annotation {PROGRESS_DEADLINE} must not be shorter than the predictor's {longer_than} s: a "
                    "transformer is ready when a predictor of its release is"
                )
        if deadline is None or deadline <= seconds:
            yield (
                f"the annotation {PROGRESS_DEADLINE} must be longer than the startupProbe's {seconds} s, in whole "
                "seconds such as 1500s: Knative gives a revision up after it"
            )


def request_timeout(component: ServiceComponent) -> Violations:
    """``timeout`` is longer than the longest request deadline: a request ends with the service's own error."""
    timeout = component.declared.get("timeout")
    if not isinstance(timeout, int):
        yield "set timeout: Knative cuts requests after 300 s, and an HTTPRoute of KServe's after 60 s"
        return
    for container in component.pod.containers[:1]:
        if DEADLINE_MS not in environment(container):
            yield f"set {DEADLINE_MS} beside timeout: the one is chosen for the other"
        deadline_ms = _number(container, DEADLINE_MS, 60_000)
        if deadline_ms is None or timeout * 1000 <= deadline_ms:
            yield f"timeout must be longer than {DEADLINE_MS}: it cuts streams in the middle"
        read_timeout = _number(container, READ_TIMEOUT_S, 60) or 0
        if component.name == "transformer" and read_timeout * 1000 < (deadline_ms or 0):
            yield f"{READ_TIMEOUT_S} must be as long as {DEADLINE_MS}: the predictor answers when it is done"


def timeout_limit(longest_s: int) -> ComponentRule:
    """The rule that ``timeout`` does not exceed ``max-revision-timeout-seconds``, which is ``longest_s``."""

    def rule(component: ServiceComponent) -> Violations:
        timeout = component.declared.get("timeout", 0)
        if component.service.mode == KNATIVE and isinstance(timeout, int) and timeout > longest_s:
            yield (
                f"timeout {timeout} exceeds max-revision-timeout-seconds {longest_s} of Knative's config-defaults "
                "(knative/config-defaults.yaml): raise that first"
            )

    return rule


def drain_time(component: ServiceComponent) -> Violations:
    """The drain time fits into the grace period of the pod."""
    is_standard = component.service.mode == STANDARD
    # Knative sets the grace period to the timeout.
    field = "terminationGracePeriodSeconds" if is_standard else "timeout"
    grace = component.spec.get(field, 30 if is_standard else 300)
    for container in component.pod.containers[:1]:
        drain_s = _number(container, DRAIN_S, 25)
        stop = mapping(container, "lifecycle", "preStop", "sleep")
        delay_s = _integer(stop, "seconds", 0) if is_standard else 30  # queue-proxy drains for 30 s
        if is_standard and not stop:
            yield "add lifecycle.preStop.sleep: requests still come until the endpoints are gone everywhere"
        deadline_ms = _number(container, DEADLINE_MS, 60_000) or 0
        if drain_s is not None and drain_s * 1000 < deadline_ms:
            yield f"{DRAIN_S} must be as long as {DEADLINE_MS}: what is running when a pod goes is cut off after it"
        if drain_s is None or not isinstance(grace, int) or delay_s + drain_s > grace:
            yield f"{field} must be {delay_s} s longer than {DRAIN_S}, or the pod is killed while it drains"


def lost_nodes(component: ServiceComponent) -> Violations:
    """Tolerations of unreachable nodes are explicit: Kubernetes' default is 300 s."""
    tolerated = {str(toleration.get("key")) for toleration in objects(component.spec, "tolerations")}
    for key in UNREACHABLE_TAINTS:
        if key not in tolerated:
            yield f"add a toleration of {key} with tolerationSeconds: Kubernetes waits 300 s before it moves a pod"


def _integer(value: Mapping[str, Any], field: str, default: int) -> int:
    found = value.get(field, default)
    return found if isinstance(found, int) else default


def _number(container: Mapping[str, Any], name: str, default: int) -> Decimal | None:
    text = environment(container).get(name, str(default))
    try:
        return Decimal(text.replace("_", ""))
    except InvalidOperation:
        return None


def _progress_deadline_s(component: ServiceComponent) -> int | None:
    """Seconds after which Knative gives a revision up; None if the annotation is no number of whole seconds."""
    return _whole_seconds(component.annotations.get(PROGRESS_DEADLINE, f"{PROGRESS_DEADLINE_S}s"))


def _whole_seconds(duration: str) -> int | None:
    """Seconds in a Go duration; None if it is none, or has a fraction of a second."""
    try:
        seconds = parse_duration(duration)
    except ValueError:
        return None
    return int(seconds) if is_whole_seconds(seconds) else None


def components(longest_timeout_s: int) -> dict[str, ComponentRule]:
    """The rules of this module by name."""
    return {
        "read-only-release": read_only_release,
        "release-mounted": release_mounted,
        "health-probes": health_probes,
        "startup-time": startup_time,
        "request-timeout": request_timeout,
        "timeout-limit": timeout_limit(longest_timeout_s),
        "drain-time": drain_time,
        "lost-nodes": lost_nodes,
    }
