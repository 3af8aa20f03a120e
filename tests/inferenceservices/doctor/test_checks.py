"""Every fault, recorded as a state, is named by its check and by no other; nothing is found in a healthy state."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inferenceservices.check import ROOT
from inferenceservices.doctor import load
from inferenceservices.doctor.diagnosis import examine
from inferenceservices.doctor.table import AFTER, BEFORE, URL
from tests.inferenceservices.doctor.states import (
    PREDICTOR_METRICS,
    SLICE,
    TRANSFORMER_METRICS,
    Json,
    after,
    before,
    deployment,
    pod,
    snapshot,
)

Change = Callable[[Json], object]


def _manifest(state: Json, kind: str, name: str = "") -> Any:
    return next(d for d in state["manifests"] if d["kind"] == kind and name in d["metadata"]["name"])


def _predictor(state: Json) -> Any:
    return _manifest(state, "InferenceService")["spec"]["predictor"]


def _replace(state: Json, resource: str, *found: Json) -> None:
    state["objects"][resource] = list(found)


def _without_kind(state: Json, group: str) -> None:
    state["objects"]["kinds"] = [d for d in state["objects"]["kinds"] if d["group"] != group]


def _other_version(state: Json, group: str) -> None:
    for entry in state["objects"]["kinds"]:
        if entry["group"] == group:
            entry["version"] = "v0"


def _deployed(state: Json, name: str, image: str) -> None:
    others = [d for d in state["objects"]["deployments"] if d["metadata"]["name"] != name]
    state["objects"]["deployments"] = [*others, *([deployment(name, "x", image)] if image else [])]


def _setting(state: Json, config_map: str, key: str, value: str | None) -> None:
    (found,) = (d for d in state["objects"]["configmaps"] if d["metadata"]["name"] == config_map)
    found["data"].pop(key)
    if value is not None:
        found["data"][key] = value


def _unguarded_query(state: Json) -> None:
    metrics = _predictor(state)["autoScaling"]["metrics"]
    metric = metrics[0]["external"]["metric"]
    metric["query"] = metric["query"].replace(" >= 0 or vector(0)", "")
    _deployed(state, "keda-operator", "ghcr.io/kedacore/keda:2.18.1")


def _claim(state: Json, phase: str, **spec: object) -> None:
    claim = _manifest(state, "PersistentVolumeClaim")
    there = {"storageClassName": "shared", "accessModes": claim["spec"]["accessModes"], **spec}
    _replace(
        state,
        "persistentvolumeclaims",
        {"metadata": {"name": "yiwen-models"}, "spec": there, "status": {"phase": phase}},
    )


def _quota(state: Json, key: str, hard: str, used: str) -> None:
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {key: hard}}, "status": {"used": {key: used}}}
    _replace(state, "resourcequotas", quota)


def _label(state: Json, key: str, value: str) -> None:
    state["objects"]["nodes"][0]["metadata"]["labels"][key] = value


def _allocatable(state: Json, key: str, value: str) -> None:
    state["objects"]["nodes"][0]["status"]["allocatable"][key] = value


def _take_slices(state: Json) -> None:
    holder = {"name": "c", "resources": {"limits": {SLICE: "55"}}}
    _replace(
        state,
        "all-pods",
        {
            "metadata": {"name": "other"},
            "spec": {"nodeName": "gpu-1", "containers": [holder]},
            "status": {"phase": "Running"},
        },
    )


def _set(*path: str | int, value: object) -> Change:
    def change(state: Json) -> None:
        found: Any = state
        for key in path[:-1]:
            found = found[key]
        found[path[-1]] = value

    return change


def _both(*changes: Change) -> Change:
    return lambda state: [change(state) for change in changes]


BEFORE_FAULTS: dict[str, tuple[str, str, Change]] = {
    "no-istio-kinds": ("production", "kind-missing", lambda s: _without_kind(s, "security.istio.io")),
    "no-gateway-api": ("standard", "kind-missing", lambda s: _without_kind(s, "gateway.networking.k8s.io")),
    "no-kserve": ("production", "kind-missing", lambda s: _without_kind(s, "serving.kserve.io")),
    "kserve-in-another-version": ("laptop", "kind-version", lambda s: _other_version(s, "serving.kserve.io")),
    "kserve-0.15": ("laptop", "kserve-old", lambda s: _deployed(s, "kserve-controller-manager", "k/c:v0.15.2")),
    "no-keda": ("standard", "keda-missing", lambda s: _deployed(s, "keda-operator", "")),
    "keda-that-takes-nan": ("standard", "keda-nan", _unguarded_query),
    "no-knative": ("production", "knative-missing", lambda s: _without_kind(s, "serving.knative.dev")),
    "affinity-off": (
        "production", "knative-feature",
        lambda s: _setting(s, "config-features", "kubernetes.podspec-affinity", None),
    ),
    "claims-only-allowed": (
        "laptop", "knative-feature",
        lambda s: _setting(s, "config-features", "kubernetes.podspec-persistent-volume-claim", "allowed"),
    ),
    "timeout-600": (
        "laptop", "knative-timeout",
        lambda s: _setting(s, "config-defaults", "max-revision-timeout-seconds", "600"),
    ),
    "no-scale-to-zero": (
        "laptop", "knative-zero",
        _both(
            lambda s: _predictor(s).update(minReplicas=0),
            lambda s: _setting(s, "config-autoscaler", "enable-scale-to-zero", "false"),
        ),
    ),
    "no-tag-routing": (
        "laptop", "tag-routing",
        lambda s: _manifest(s, "InferenceService")["metadata"]["annotations"].pop(
            "serving.kserve.io/enable-tag-routing"
        ),
    ),
    "no-istio": ("production", "mesh-missing", lambda s: _deployed(s, "istiod", "")),
    "istio-1.24": ("production", "mesh-missing", lambda s: _deployed(s, "istiod", "docker.io/istio/pilot:1.24.3")),
    "sidecars-unasked": (
        "laptop", "mesh-unwanted",
        _set("objects", "namespaces", 0, "metadata", "labels", "istio-injection", value="enabled"),
    ),
    "podmonitor-unread": (
        "production", "monitor-unread",
        _set("objects", "prometheuses", 0, "spec", "podMonitorSelector", value={"matchLabels": {"release": "mon"}}),
    ),
    "no-storage-class": ("production", "storage-class", lambda s: _replace(s, "storageclasses")),
    "storage-class-misspelled": (
        "production", "storage-class",
        lambda s: _manifest(s, "PersistentVolumeClaim")["spec"].update(storageClassName="sharde"),
    ),
    "disks-for-all-nodes": (
        "production", "storage-one-node",
        _set("objects", "storageclasses", 0, "provisioner", value="ebs.csi.aws.com"),
    ),
    "claim-pending": ("production", "claim-unbound", lambda s: _claim(s, "Pending")),
    "claim-lost": ("production", "claim-unbound", lambda s: _claim(s, "Lost")),
    "claim-of-another-mode": (
        "production", "claim-changed", lambda s: _claim(s, "Bound", accessModes=["ReadWriteOnce"]),
    ),
    "no-pull-secret": (
        "production", "pull-secret",
        lambda s: _manifest(s, "ServiceAccount").update(imagePullSecrets=[{"name": "registry"}]),
    ),
    "no-redis-secret": ("production", "secret-missing", lambda s: s["objects"]["secrets"].pop(0)),
    "example-registry": (
        "laptop", "image-placeholder",
        lambda s: _predictor(s)["containers"][0].update(image="registry.example.com/yiwen/predictor-cpu:1"),
    ),
    "node-local-dns": (
        "production", "dns-blocked",
        lambda s: s["objects"]["dns-pods"].append(
            {"metadata": {"name": "node-local-dns-1", "labels": {"k8s-app": "node-local-dns"}}}
        ),
    ),
    "dns-of-openshift": ("production", "dns-blocked", lambda s: _replace(s, "dns-pods")),
    "quota-of-cpu": ("production", "quota-host", lambda s: _quota(s, "requests.cpu", "8", "2")),
    "quota-of-slices": ("production", "gpu-quota", lambda s: _quota(s, f"requests.{SLICE}", "2", "1")),
    "another-gpu": ("production", "gpu-node", lambda s: _label(s, "nvidia.com/gpu.product", "NVIDIA-H200")),
    "strategy-single": ("production", "gpu-node", lambda s: _label(s, "nvidia.com/mig.strategy", "single")),
    "partitioning-failed": ("production", "mig-state", lambda s: _label(s, "nvidia.com/mig.config.state", "failed")),
    "no-slices": ("production", "mig-profile", lambda s: _allocatable(s, SLICE, "0")),
    "slices-taken": ("production", "gpu-taken", _take_slices),
    "few-cpus": ("production", "node-small", lambda s: _allocatable(s, "cpu", "3")),
}  # fmt: skip
"""Overlay, the check that must name the fault, and how the healthy state is changed, by a name of the fault."""


def _pod(state: Json, number: int = 0) -> Any:
    return state["objects"]["pods"][number]


def _not_ready(state: Json, number: int = 0) -> Any:
    found = _pod(state, number)
    found["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "True"},
        {"type": "ContainersReady", "status": "False"},
        {"type": "Ready", "status": "False"},
    ]
    found["status"]["containerStatuses"][0]["ready"] = False
    return found["status"]["containerStatuses"][0]


def _unschedulable(message: str) -> Change:
    def change(state: Json) -> None:
        status = _pod(state)["status"]
        status.pop("containerStatuses")
        _pod(state)["spec"].pop("nodeName")
        status["phase"] = "Pending"
        status["conditions"] = [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        ]

    return change


def _waits(reason: str, message: str) -> Change:
    return lambda state: _not_ready(state).update(state={"waiting": {"reason": reason, "message": message}})


def _ended(code: int, reason: str, message: str = "", log: str = "", number: int = 0) -> Change:
    def change(state: Json) -> None:
        ended = {"exitCode": code, "reason": reason, "finishedAt": "2026-11-28T10:00:00Z", "message": message}
        waiting = {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}
        _not_ready(state, number).update(
            restartCount=4, lastState={"terminated": ended}, state={"waiting": waiting}
        )
        if log:
            state["logs"][_pod(state, number)["metadata"]["name"], "kserve-container"] = log

    return change


def _event(reason: str, message: str, count: int = 100, kind: str = "Pod", name: str = "") -> Change:
    def change(state: Json) -> None:
        if kind == "Pod":
            _not_ready(state)
        involved = {"kind": kind, "name": name or _pod(state)["metadata"]["name"]}
        event = {
            "type": "Warning",
            "reason": reason,
            "message": message,
            "count": count,
            "involvedObject": involved,
        }
        state["objects"]["events"].append(event)

    return change


def _condition(kind: str, reason: str, message: str) -> Change:
    def change(state: Json) -> None:
        conditions = state["objects"]["inferenceservices"][0]["status"]["conditions"]
        found = next(each for each in conditions if each["type"] == kind)
        found.update(status="False", reason=reason, message=message)

    return change


def _measured(component: str, old: str, new: str) -> Change:
    def change(state: Json) -> None:
        (key,) = (key for key in state["metrics"] if key.startswith(component))
        assert old in state["metrics"][key]
        state["metrics"][key] = state["metrics"][key].replace(old, new)

    return change


def _all_waiting(state: Json) -> None:
    _measured("predictor", "slots_used 5.0", "slots_used 16.0")(state)
    _measured("predictor", "waiting_sequences 0.0", "waiting_sequences 40.0")(state)


def _lost_node(state: Json) -> None:
    ready = state["objects"]["nodes"][1]["status"]["conditions"][0]
    ready.update(status="Unknown", reason="NodeStatusUnknown", message="Kubelet stopped posting node status.")


NO_PLAN = (
    "predictor: no plan in /mnt/models/releases/a can run: sm80-108 is for 108 multiprocessors, not 14 (a MIG slice "
    "has fewer than its GPU); this machine has NVIDIA A100 (sm80-14) and TensorRT 11.4: build one on this GPU\n"
)
QUOTA = (
    'pods "yiwen-predictor-00002-deployment-x" is forbidden: exceeded quota: gpu, requested: '
    f"requests.{SLICE}=1, used: requests.{SLICE}=14, limited: requests.{SLICE}=14"
)
PSA = 'pods "yiwen-p" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'

AFTER_FAULTS: dict[str, tuple[str, Change]] = {
    "no-slice-free": (
        "unschedulable-resources",
        _unschedulable(f"0/2 nodes are available: 2 Insufficient {SLICE}. preemption: 0/2"),
    ),
    "no-cpu-free": ("unschedulable-resources", _unschedulable("0/2 nodes are available: 2 Insufficient cpu.")),
    "labels-of-no-node": (
        "unschedulable-node",
        _unschedulable("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."),
    ),
    "taint-of-all-nodes": (
        "unschedulable-node",
        _unschedulable("0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: gpu}."),
    ),
    "claim-without-volume": (
        "unschedulable-volume",
        _unschedulable("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
    ),
    "claim-not-there": (
        "unschedulable-volume",
        _unschedulable('0/2 nodes are available: persistentvolumeclaim "yiwen-models" not found.'),
    ),
    "volume-of-another-node": (
        "volume-mount",
        _event("FailedAttachVolume", 'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) x'),
    ),
    "image-not-there": (
        "image-pull", _waits("ImagePullBackOff", 'Back-off pulling image "ghcr.io/yiwen/predictor:0.9": not found'),
    ),
    "image-refused": (
        "image-pull", _waits("ErrImagePull", "failed to pull and unpack image: 401 Unauthorized"),
    ),
    "secret-not-there": ("config-missing", _waits("CreateContainerConfigError", 'secret "yiwen-redis" not found')),
    "secret-to-mount-not-there": (
        "config-missing",
        _event("FailedMount", 'MountVolume.SetUp failed for volume "redis" : secret "yiwen-redis" not found'),
    ),
    "plan-of-another-gpu": ("plan-missing", _ended(2, "Error", log=NO_PLAN)),
    "plan-of-another-gpu-in-the-status": ("plan-missing", _ended(2, "Error", message=NO_PLAN)),
    "release-changed": (
        "release-damaged",
        _ended(2, "Error", log="predictor: weights.bin has changed: sha256 is 12, not 34: copy it again\n"),
    ),
    "no-gpu": (
        "gpu-failed",
        _ended(2, "Error", log="predictor: no GPU is visible (cudaErrorNoDevice): check `nvidia-smi`\n"),
    ),
    "setting-misspelled": (
        "start-refused",
        _ended(2, "Error", log="transformer: there is no setting YIWEN_SLOT; did you mean YIWEN_SLOTS?\n", number=2),
    ),
    "memory-limit": ("out-of-memory", _ended(137, "OOMKilled", number=2)),
    "segfault": ("crash", _ended(139, "Error")),
    "readiness-fails": (
        "probe-failed", _event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"),
    ),
    "liveness-fails": ("probe-failed", _event("Unhealthy", "Liveness probe failed: context deadline exceeded", 7)),
    "evicted": (
        "evicted",
        lambda s: _pod(s)["status"].update(
            phase="Failed", reason="Evicted", message="Pod ephemeral local storage usage exceeds 2Gi.",
            containerStatuses=[], conditions=[],
        ),
    ),
    "node-lost": ("node-lost", _lost_node),
    "controller-down": (
        "not-observed", _set("objects", "inferenceservices", 0, "metadata", "generation", value=4),
    ),
    "too-late": (
        "progress-deadline",
        _condition("PredictorReady", "RevisionFailed", "ProgressDeadlineExceeded: has timed out progressing"),
    ),
    "no-ingress": (
        "not-routed",
        _condition("TransformerRouteReady", "IngressNotConfigured", "Ingress has not yet been reconciled"),
    ),
    "quota-used-up": (
        "quota-exceeded", _event("FailedCreate", QUOTA, kind="ReplicaSet", name="yiwen-predictor-00002-deployment"),
    ),
    "security-violated": (
        "pod-refused", _event("FailedCreate", PSA, kind="ReplicaSet", name="yiwen-predictor-00002-deployment"),
    ),
    "releases-mixed": (
        "release-mismatch", lambda s: s["objects"]["pods"].append(pod("transformer", 3, release="qwen3-4b")),
    ),
    "keda-without-prometheus": (
        "scaler-failed",
        lambda s: _replace(
            s, "scaledobjects",
            {
                "metadata": {"name": "yiwen-predictor"},
                "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "ScaledObjectCheckFailed",
                                           "message": "error when calling prometheus: no such host"}]},
            },
        ),
    ),
    "slots-full": ("slots-full", _all_waiting),
    "queue": ("queue-slow", _measured("predictor", "queue_seconds_sum 9.0", "queue_seconds_sum 900.0")),
    "prompts": ("prefill-bound", _measured("predictor", "waiting_sequences 0.0", "waiting_sequences 40.0")),
    "misses": ("cache-cold", _measured("transformer", '{result="hit"} 800.0', '{result="hit"} 2.0')),
    "redis-fails": ("redis-down", _measured("transformer", "redis_circuit 0.0", "redis_circuit 2.0")),
    "cold": ("cold-start", _measured("transformer", "cold_start_waiters 0.0", "cold_start_waiters 9.0")),
    "often-cold": ("cold-start", _measured("transformer", "wait_seconds_count 3.0", "wait_seconds_count 300.0")),
    "predictor-never-found": (
        "predictor-not-found", _measured("transformer", "predictor_found 1.0", "predictor_found 0.0"),
    ),
    "another-release": ("releases-differ", _measured("transformer", "a1b2c3d4e5f60718", "ffffc3d4e5f60718")),
    "steps-fail": ("steps-fail", _measured("predictor", "step_failures_total 0.0", "step_failures_total 3.0")),
    "on-the-cpu": (
        "backend-slow",
        _both(
            _measured("predictor", 'backend="tensorrt"', 'backend="onnxruntime"'),
            _measured("predictor", "named by YIWEN_BACKEND", "TensorRT cannot run it: no plan"),
        ),
    ),
    "refusals": (
        "refusals", _measured("transformer", 'code="pool_busy"} 0.0', 'code="pool_busy"} 90.0'),
    ),
}  # fmt: skip
"""The check that must name the fault, and how the healthy state is changed, by a name of the fault."""


def _named(checks: Any, state: Json) -> set[str]:
    examination = examine(checks, snapshot(state))
    assert examination.unchecked == ()
    for _, diagnosis in examination.found:
        assert all((diagnosis.subject, diagnosis.problem, diagnosis.evidence, diagnosis.fix))
    return {name for name, _ in examination.found}


@pytest.mark.parametrize("overlay", ["laptop", "production", "standard", "staging", "runtime"])
def test_nothing_is_found_before_applying_to_a_healthy_cluster(overlay: str) -> None:
    assert _named(BEFORE, before(overlay)) == set()


def test_a_volume_made_by_hand_needs_no_storage_class() -> None:
    state = before()
    _replace(state, "storageclasses")
    spec = {"accessModes": ["ReadWriteMany"], "capacity": {"storage": "50Gi"}}
    volume = {"metadata": {"name": "models"}, "spec": spec, "status": {"phase": "Available"}}
    _replace(state, "persistentvolumes", volume)
    assert _named(BEFORE, state) == set()
    volume["status"] = {"phase": "Bound"}
    assert _named(BEFORE, state) == {"storage-class"}


@pytest.mark.parametrize("fault", BEFORE_FAULTS)
def test_a_fault_of_the_cluster_is_named_by_its_check_alone(fault: str) -> None:
    overlay, check, change = BEFORE_FAULTS[fault]
    state = before(overlay)
    change(state)
    assert _named(BEFORE, state) == {check}


def test_nothing_is_found_in_a_healthy_service() -> None:
    assert _named(AFTER, after()) == set()
    assert _named(URL, {"namespace": "", "objects": {}, "metrics": {
        "predictor": PREDICTOR_METRICS, "transformer": TRANSFORMER_METRICS,
    }}) == set()  # fmt: skip


@pytest.mark.parametrize("fault", AFTER_FAULTS)
def test_a_fault_of_a_service_is_named_by_its_check_alone(fault: str) -> None:
    check, change = AFTER_FAULTS[fault]
    state = after()
    change(state)
    assert _named(AFTER, state) == {check}


def test_the_largest_scale_is_named_beside_full_slots() -> None:
    state = after()
    _all_waiting(state)
    state["objects"]["podautoscalers"][0]["status"]["desiredScale"] = 7
    assert _named(AFTER, state) == {"slots-full", "largest-scale"}


def test_every_check_has_a_fault_that_it_names() -> None:
    named = {check for _, check, _ in BEFORE_FAULTS.values()} | {check for check, _ in AFTER_FAULTS.values()}
    assert named | {"largest-scale"} == {check.name for check in (*BEFORE, *AFTER)}
    assert len(BEFORE_FAULTS) + len(AFTER_FAULTS) >= 25


def test_every_metric_that_is_read_is_a_documented_one() -> None:
    """A metric that was renamed would silence its check."""
    documented = set(
        re.findall(r"yiwen_\w+", (ROOT.parent / "docs" / "metrics.md").read_text(encoding="utf-8"))
    )
    read = set(re.findall(r'"(yiwen_\w*[a-z])"', Path(load.__file__).read_text(encoding="utf-8")))
    assert len(read) > 15
    assert {re.sub(r"_(count|sum)$", "", name) for name in read} <= documented


def test_a_check_that_cannot_see_says_why_and_finds_nothing() -> None:
    state = before()
    _take_slices(state)
    state["unseen"] = {"nodes": "cannot list nodes: forbidden"}
    examination = examine(BEFORE, snapshot(state))
    assert examination.found == ()
    hidden = {name for name, reason in examination.unchecked if reason == "cannot list nodes: forbidden"}
    assert hidden == {"gpu-node", "mig-state", "mig-profile", "gpu-taken", "node-small"}
