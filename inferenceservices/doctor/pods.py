"""Checks after applying: why pods of the InferenceService do not start or do not stay."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from inferenceservices.doctor.diagnosis import Check, Diagnoses, Diagnosis
from inferenceservices.doctor.snapshot import (
    COMPONENT,
    ClusterSnapshot,
    condition,
    container_statuses,
    labels_of,
    name_of,
)
from protocol.kubernetes.documents import Document, mapping, objects

IMAGE_REASONS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
)
CONFIG_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
UNUSABLE = 2
"""Exit code of our processes when they cannot start: the last line says why."""
_NODE_FAULTS = re.compile(r"affinity|selector|taint|unschedulable")
_START_LINE = re.compile(r"^(?:predictor|transformer|yiwen[a-z ]*): .+", re.MULTILINE)
_DAMAGED = re.compile(r"has changed: sha256|differ(s)? from (its|their) digest")
_GPU_FAULT = re.compile(r"no GPU is visible|NVIDIA driver supports CUDA|GPU ran out of memory|cuda[A-Z]\w+")


def no_resources(snapshot: ClusterSnapshot) -> Diagnoses:
    """Pods that no node has the resources for."""
    for pod, message in _pending(snapshot):
        for resource in sorted(set(re.findall(r"Insufficient ([\w./-]+\w)", message))):
            gpu = "/" in resource
            fix = (
                f"yiwen rollout status {snapshot.name} -n {snapshot.namespace}"
                if gpu
                else "kubectl describe nodes"
            )
            remedy = "free a slice: promote or roll back a canary" if gpu else "add nodes, or lower requests"
            yield Diagnosis(
                _pod(pod), f"no node has enough {resource} free for it", message, f"{fix}, then {remedy}"
            )


def no_node(snapshot: ClusterSnapshot) -> Diagnoses:
    """Pods whose labels or tolerations no node satisfies."""
    for pod, message in _pending(snapshot):
        if (
            _NODE_FAULTS.search(message)
            and "Insufficient" not in message
            and "PersistentVolumeClaim" not in message
        ):
            yield Diagnosis(
                _pod(pod),
                "no node has the labels that it requires, or all have taints that it does not tolerate",
                message,
                "kubectl get nodes -L nvidia.com/gpu.product,nvidia.com/mig.strategy,nvidia.com/mig.config.state, "
                "then choose the overlay's hardware component for them (docs/guides/mig.md)",
            )


def no_volume(snapshot: ClusterSnapshot) -> Diagnoses:
    """Pods that wait for a claim without a volume, or for one that is not there."""
    for pod, message in _pending(snapshot):
        if "PersistentVolumeClaim" in message or re.search(
            r'persistentvolumeclaim "[^"]+" not found', message
        ):
            yield Diagnosis(
                _pod(pod),
                "its claim has no volume, or is not there",
                message,
                snapshot.fix("describe persistentvolumeclaim yiwen-models")
                + "; see `kubectl get storageclass`",
            )


def mount_failed(snapshot: ClusterSnapshot) -> Diagnoses:
    """Volumes that cannot be attached or mounted."""
    for event in _events(snapshot, "FailedMount", "FailedAttachVolume"):
        message = str(event.get("message"))
        if _is_starting(snapshot, event) and 'secret "' not in message and 'configmap "' not in message:
            yield Diagnosis(
                _object(event),
                "its volume cannot be mounted"
                + (": a pod on another node has it" if "Multi-Attach" in message else ""),
                message,
                snapshot.fix("get pods -o wide")
                + ", then delete the pod that holds the volume, or use storage-rwx",
            )


def image_missing(snapshot: ClusterSnapshot) -> Diagnoses:
    """Images that cannot be pulled."""
    for pod, status, waiting in _waiting(snapshot, IMAGE_REASONS):
        message = str(waiting.get("message", ""))
        denied = re.search(r"unauthorized|denied|403|401|authoriz", message)
        fix = (
            snapshot.fix("create secret docker-registry NAME ...")
            + " and name it in imagePullSecrets of the overlay"
            if denied
            else "set registry and tag in values/values.yaml of the overlay to an image that is there, and apply it"
        )
        problem = "the registry refuses its image" if denied else "its image cannot be pulled"
        yield Diagnosis(_pod(pod), problem, f"{status.get('image')}: {waiting.get('reason')}: {message}", fix)


def config_missing(snapshot: ClusterSnapshot) -> Diagnoses:
    """Secrets or ConfigMaps without which a container cannot be made."""
    for pod, _, waiting in _waiting(snapshot, CONFIG_REASONS):
        yield _missing_config(snapshot, _pod(pod), str(waiting.get("message", waiting.get("reason"))))
    for event in _events(snapshot, "FailedMount"):
        message = str(event.get("message"))
        if _is_starting(snapshot, event) and ('secret "' in message or 'configmap "' in message):
            yield _missing_config(snapshot, _object(event), message)


def plan_missing(snapshot: ClusterSnapshot) -> Diagnoses:
    """Predictors whose release has no plan for their GPU and TensorRT."""
    for pod, line in _failed_starts(snapshot):
        if (
            "no plan in" in line
            or "no TensorRT plan" in line
            or re.search(r"plan \S+ cannot be loaded", line)
        ):
            yield Diagnosis(
                _pod(pod),
                "its release has no plan that runs on this GPU",
                line,
                "kubectl apply -k inferenceservices/release-jobs/OVERLAY, which builds it on the same kind of slice",
            )


def release_damaged(snapshot: ClusterSnapshot) -> Diagnoses:
    """Files of a release that differ from their digests."""
    for pod, line in _failed_starts(snapshot):
        if _DAMAGED.search(line):
            yield Diagnosis(
                _pod(pod),
                "a file of its release is not as it was built",
                line,
                "copy the release again, or kubectl apply -k inferenceservices/release-jobs/OVERLAY",
            )


def gpu_failed(snapshot: ClusterSnapshot) -> Diagnoses:
    """Predictors that cannot use the GPU: none is visible, an old driver, too little memory."""
    for pod, line in _failed_starts(snapshot):
        if _GPU_FAULT.search(line):
            fix = snapshot.fix(f"describe pod {name_of(pod)}") + "; kubectl -n gpu-operator get pods"
            yield Diagnosis(_pod(pod), "it cannot use the GPU", line, fix)


def start_refused(snapshot: ClusterSnapshot) -> Diagnoses:
    """Processes that end at their start for another reason, which they state."""
    named = ("no plan in", "no TensorRT plan")
    for pod, line in _failed_starts(snapshot):
        known = any(text in line for text in named) or _DAMAGED.search(line) or _GPU_FAULT.search(line)
        if not known and not re.search(r"plan \S+ cannot be loaded", line):
            yield Diagnosis(
                _pod(pod),
                "its process refuses to start",
                line,
                "change what the line names in the overlay and apply it; see "
                + snapshot.fix(f"logs {name_of(pod)} --all-containers --previous"),
            )


def out_of_memory(snapshot: ClusterSnapshot) -> Diagnoses:
    """Containers that were killed at their memory limit."""
    for pod, status, ended in _terminated(snapshot):
        if ended.get("reason") == "OOMKilled":
            yield Diagnosis(
                _pod(pod),
                f"the container {status.get('name')} was killed at its memory limit",
                f"OOMKilled at {ended.get('finishedAt')}, limit {_memory_limit(pod, str(status.get('name')))}, "
                f"{status.get('restartCount')} restarts",
                f"raise resources.limits.memory of the {labels_of(pod).get(COMPONENT)} in the overlay and apply it",
            )


def crashed(snapshot: ClusterSnapshot) -> Diagnoses:
    """Containers that end with an exit code which is not that of a refused start."""
    for pod, status, ended in _terminated(snapshot):
        code = ended.get("exitCode")
        if (
            ended.get("reason") == "Error"
            and code not in (0, UNUSABLE, 143)
            and not _start_line(snapshot, pod, status, ended)
        ):
            yield Diagnosis(
                _pod(pod),
                f"the container {status.get('name')} ended with exit code {code}"
                + (" (killed: see its probes and its node)" if code == 137 else ""),
                f"{status.get('restartCount')} restarts; last end {ended.get('finishedAt')}",
                snapshot.fix(f"logs {name_of(pod)} -c {status.get('name')} --previous --tail=50"),
            )


def probe_failed(snapshot: ClusterSnapshot) -> Diagnoses:
    """Containers that are not ready, or are restarted, since a probe fails."""
    for event in _events(snapshot, "Unhealthy", "ProbeWarning"):
        kind, _, rest = str(event.get("message")).partition(" probe ")
        pod = snapshot.named("pods", _object_name(event))
        if pod is None or condition(pod, "Ready").get("status") == "True":
            continue
        if kind == "Startup" and _is_first_minute(event):
            continue
        restarts = "; the kubelet restarts it" if kind in ("Liveness", "Startup") else ""
        yield Diagnosis(
            _object(event),
            f"its {kind.lower()} probe fails{restarts}",
            f"{rest.strip()} ({event.get('count', 1)} times)",
            snapshot.fix(f"logs {name_of(pod)} --all-containers --tail=50"),
        )


def evicted(snapshot: ClusterSnapshot) -> Diagnoses:
    """Pods that their node evicted."""
    for pod in snapshot.pods:
        if mapping(pod, "status").get("reason") == "Evicted":
            yield Diagnosis(
                _pod(pod),
                "its node evicted it",
                str(mapping(pod, "status").get("message")),
                "raise the limit that the message names in the overlay, or see kubectl describe node "
                + str(mapping(pod, "spec").get("nodeName")),
            )


def node_lost(snapshot: ClusterSnapshot) -> Diagnoses:
    """Pods on a node that does not answer: those that end never do so there."""
    for pod in snapshot.all_pods:
        name = str(mapping(pod, "spec").get("nodeName", ""))
        node = snapshot.named("nodes", name)
        ready = condition(node or {}, "Ready")
        if node and ready.get("status") != "True":
            yield Diagnosis(
                _pod(pod),
                f"its node {name} is not ready",
                f"{ready.get('reason')}: {ready.get('message')}",
                f"kubectl describe node {name}",
            )


def _pending(snapshot: ClusterSnapshot) -> Iterator[tuple[Document, str]]:
    for pod in snapshot.pods:
        scheduled = condition(pod, "PodScheduled")
        if mapping(pod, "status").get("phase") == "Pending" and scheduled.get("status") == "False":
            yield pod, str(scheduled.get("message", ""))


def _waiting(
    snapshot: ClusterSnapshot, reasons: tuple[str, ...]
) -> Iterator[tuple[Document, Document, Document]]:
    for pod in snapshot.pods:
        for status in container_statuses(pod):
            waiting = mapping(status, "state", "waiting")
            if waiting.get("reason") in reasons:
                yield pod, status, waiting


def _terminated(snapshot: ClusterSnapshot) -> Iterator[tuple[Document, Document, Document]]:
    """Containers that ended, now or before, and are not well since."""
    for pod in snapshot.pods:
        for status in container_statuses(pod):
            for state in ("state", "lastState"):
                ended = mapping(status, state, "terminated")
                recovered = status.get("ready") is True and ended.get("reason") != "OOMKilled"
                if ended and ended.get("exitCode") != 0 and not recovered:
                    yield pod, status, ended
                    break


def _failed_starts(snapshot: ClusterSnapshot) -> Iterator[tuple[Document, str]]:
    for pod, status, ended in _terminated(snapshot):
        if line := _start_line(snapshot, pod, status, ended):
            yield pod, line


def _start_line(snapshot: ClusterSnapshot, pod: Document, status: Document, ended: Document) -> str:
    """The line in which a process said why it cannot start; empty if it said none."""
    log = snapshot.logs.get((name_of(pod), str(status.get("name"))), "")
    found: list[str] = _START_LINE.findall(str(ended.get("message", "")) + "\n" + log)
    return found[-1] if found else ""


def _events(snapshot: ClusterSnapshot, *reasons: str) -> Iterator[Document]:
    """Events about pods of the service."""
    ours = {name_of(pod) for pod in snapshot.pods}  # a pod that ends turns its readiness off
    return (event for event in snapshot.events(*reasons) if _object_name(event) in ours)


def _is_starting(snapshot: ClusterSnapshot, event: Document) -> bool:
    pod = snapshot.named("pods", _object_name(event))
    return pod is not None and condition(pod, "ContainersReady").get("status") != "True"


def _is_first_minute(event: Document) -> bool:
    """Whether a startup probe failed no more often than while a process loads."""
    return int(event.get("count") or 1) < 60


def _missing_config(snapshot: ClusterSnapshot, subject: str, message: str) -> Diagnosis:
    found = re.search(r'(secret|configmap) "([^"]+)" not found', message)
    key = re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) (\S+)", message)
    what = f"the {found[1]} {found[2]}" if found else f"a key of {key[3]}" if key else "something"
    name = found[2] if found else "NAME"
    fix = snapshot.fix(f"create secret generic {name} ...") + ", see docs/guides/manifests.md, Installing"
    return Diagnosis(subject, f"it cannot start: {what} that it needs is not there", message, fix)


def _memory_limit(pod: Document, container: str) -> str:
    found = [c for c in objects(pod, "spec", "containers") if c.get("name") == container]
    return str(mapping(found[0], "resources", "limits").get("memory", "not set")) if found else "not known"


def _object_name(event: Document) -> str:
    return str(mapping(event, "involvedObject").get("name", ""))


def _object(event: Document) -> str:
    return f"{mapping(event, 'involvedObject').get('kind')}/{_object_name(event)}"


def _pod(pod: Document) -> str:
    return f"Pod/{name_of(pod)}"


def _check(name: str, fault: str, find: Callable[[ClusterSnapshot], Diagnoses], *more: str) -> Check:
    return Check(name, fault, ("pods", *more), find)


CHECKS = (
    _check("unschedulable-resources", "no node has the CPU, memory or GPUs free", no_resources),
    _check("unschedulable-node", "no node has the labels, or tolerable taints", no_node),
    _check("unschedulable-volume", "a pod waits for a claim without a volume", no_volume),
    _check("volume-mount", "a volume cannot be attached or mounted", mount_failed, "events"),
    _check("image-pull", "an image cannot be pulled", image_missing),
    _check("config-missing", "a Secret or ConfigMap of a container is missing", config_missing),
    _check("plan-missing", "no plan of the release runs on this GPU", plan_missing, "logs"),
    _check("release-damaged", "a file of the release is not as it was built", release_damaged, "logs"),
    _check("gpu-failed", "a predictor cannot use its GPU", gpu_failed, "logs"),
    _check("start-refused", "a process refuses to start, and says why", start_refused, "logs"),
    _check("out-of-memory", "a container was killed at its memory limit", out_of_memory),
    _check("crash", "a container ends with another exit code", crashed),
    _check("probe-failed", "a probe fails", probe_failed, "events"),
    _check("evicted", "a node evicted a pod", evicted),
    _check("node-lost", "a pod's node is not ready", node_lost, "nodes"),
)
