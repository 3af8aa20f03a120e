"""`yiwen doctor` on a cluster: faults that are caused one after another are named, and none is invented."""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.__main__ import main
from inferenceservices.doctor.table import AFTER as CHECKS
from tests.cluster.features import Features
from tests.cluster.installation import SPOILED, Installation, Site, own_namespace
from tests.cluster.kubectl import documents, eventually, kubectl
from tests.cluster.overlays import Overlay, image
from tests.cluster.releases import titles
from tests.cluster.test_nodes import LABELS, SLICE, played_node
from tests.cluster.test_variants import flipped
from tests.cluster.this_run import OWN_LABEL, run_id

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.slow]

NAMED_S = 120.0
"""Within which a fault must be named."""
PREDICTOR = "/spec/predictor/containers/0"
CONSEQUENCES = {"probe-failed", "predictor-not-found", "progress-deadline", "cold-start", "releases-differ"}
"""What else is true while a predictor does not start: its transformer is not ready either."""
Fault = Callable[[Installation, Path], contextlib.AbstractContextManager[tuple[Overlay, list[Any]]]]
"""Causes a fault; gives the overlay and further patches of it."""


def doctor(*words: str) -> tuple[set[str], set[str], int]:
    """Names of the checks that found something and of those that could not be made, and the exit code."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main(["doctor", *words, "--json"])
    answer = json.loads(printed.getvalue())
    assert all(each["evidence"] and each["fix"] for each in answer["found"])
    return {each["check"] for each in answer["found"]}, {each["check"] for each in answer["unchecked"]}, code


def json_patch(kind: str, *operations: tuple[str, str, object]) -> dict[str, Any]:
    """A patch of a kustomization."""
    listed = [{"op": op, "path": path, "value": value} for op, path, value in operations]
    return {"target": {"kind": kind}, "patch": json.dumps(listed)}


def write(installation: Installation, overlay: Overlay, patches: list[Any]) -> Path:
    """The overlay with further patches, as a directory."""
    directory = overlay.write(installation.directory / "overlay")
    file = directory / "kustomization.yaml"
    written = yaml.safe_load(file.read_text())
    written["patches"] = [*written.get("patches", []), *patches]
    file.write_text(yaml.safe_dump(written, sort_keys=False))
    return directory


@pytest.fixture(scope="module")
def dns_pod() -> Iterator[None]:
    """A pod with the labels of the cluster's DNS, where that runs outside of pods: a policy must select it."""
    if documents("pods", "-n", "kube-system", "-l", "k8s-app=kube-dns"):
        yield
        return
    container = {"name": "dns", "image": image("builder"), "imagePullPolicy": "IfNotPresent"}
    container["command"] = ["sleep", "86400"]  # type: ignore[assignment]
    labels = {"k8s-app": "kube-dns", OWN_LABEL: run_id()}
    metadata = {"name": "yiwen-test-dns", "namespace": "kube-system", "labels": labels}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    yield
    kubectl("delete", "pod", "yiwen-test-dns", "-n", "kube-system", "--wait=false")


@pytest.fixture(scope="module")
def installation(
    features: Features, dns_pod: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    with own_namespace(features, "doctor", tmp_path_factory.mktemp("doctor")) as installation:
        installation.create_secrets()
        installation.create_claim(laptop(installation))
        yield installation


@pytest.fixture(scope="module")
def site(installation: Installation) -> Site:
    site = Site(installation, laptop(installation))
    for release in ("a", SPOILED):
        site.require_release(release)
    return site


def laptop(installation: Installation, **changes: Any) -> Overlay:
    return Overlay("laptop", installation.namespace, **{"extra": ("redis",), "small": (), **changes})


def sliced(installation: Installation, **changes: Any) -> Overlay:
    """With a predictor that needs a slice: the overlay's own resources would replace those of the component."""
    changes = {"swap": {"cpu": "mig-a100-1g10gb"}, "extra": (), "devices": {SLICE: "1"}, **changes}
    return laptop(installation, **changes)


@contextmanager
def plain(installation: Installation, *patches: Any, **changes: Any) -> Iterator[tuple[Overlay, list[Any]]]:
    yield laptop(installation, **changes), list(patches)


def changed(*patches: Any, **changes: Any) -> Fault:
    """The overlay itself is wrong."""
    return lambda installation, _: plain(installation, *patches, **changes)


@contextmanager
def labeled(installation: Installation, label: str) -> Iterator[None]:
    kubectl("label", "namespace", installation.namespace, label)
    try:
        yield
    finally:
        kubectl("label", "namespace", installation.namespace, f"{label.partition('=')[0]}-")


@contextmanager
def quota(installation: Installation, **hard: str) -> Iterator[None]:
    """A ResourceQuota that the controller has counted."""
    limits = {name.replace("__", "/").replace("_", "."): value for name, value in hard.items()}
    item = {"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": limits}}
    item["metadata"] = {"name": "tight", "namespace": installation.namespace}
    kubectl("apply", "-f", "-", stdin=json.dumps(item))
    try:
        eventually("a counted quota", lambda: installation.get("resourcequota", "tight").get("status"), 30.0)
        yield
    finally:
        kubectl("delete", "resourcequota", "tight", "-n", installation.namespace)


@contextmanager
def without_secrets(installation: Installation, _: Path) -> Iterator[tuple[Overlay, list[Any]]]:
    kubectl("delete", "secret", "yiwen-redis", "-n", installation.namespace)
    try:
        yield laptop(installation), []
    finally:
        installation.create_secrets()


@contextmanager
def nodes(
    installation: Installation, labels: Mapping[str, str], slices: int, **changes: Any
) -> Iterator[tuple[Overlay, list[Any]]]:
    """Played nodes with MIG slices, and an overlay that asks for them."""
    # A name of its own: the controller remembers the health of a former node of the same name.
    with played_node(f"yiwen-test-doctor-{secrets.token_hex(2)}", "zone-a", {**LABELS, **labels}, slices):
        yield sliced(installation, **changes), []


@contextmanager
def with_label(installation: Installation, _: Path) -> Iterator[tuple[Overlay, list[Any]]]:
    with labeled(installation, "istio-injection=enabled"):
        yield laptop(installation), []


@contextmanager
def with_quota(
    installation: Installation, overlay: Callable[[Installation], Overlay], **hard: str
) -> Iterator[tuple[Overlay, list[Any]]]:
    with quota(installation, **hard):
        yield overlay(installation), []


@contextmanager
def with_unbound_claim(installation: Installation, directory: Path) -> Iterator[tuple[Overlay, list[Any]]]:
    """In a namespace of its own, whose claim nothing makes a volume for."""
    features = installation.features
    with own_namespace(features, "unbound", directory, volume=False) as other:
        other.create_secrets()
        overlay = laptop(other)
        patch = json_patch("PersistentVolumeClaim", ("add", "/spec/storageClassName", "yiwen-test-none"))
        kubectl("apply", "-f", "-", stdin=json.dumps(_claim(other.namespace)))
        yield overlay, [patch]


def _claim(namespace: str) -> dict[str, Any]:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "yiwen-test-none",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    metadata = {"name": "yiwen-models", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def service_patch(op: str, path: str, value: object) -> dict[str, Any]:
    return json_patch("InferenceService", (op, path, value))


@contextmanager
def without_claim(installation: Installation, directory: Path) -> Iterator[tuple[Overlay, list[Any]]]:
    with own_namespace(installation.features, "class", directory, volume=False) as other:
        other.create_secrets()
        patch = json_patch("PersistentVolumeClaim", ("add", "/spec/storageClassName", "yiwen-test-none"))
        yield laptop(other), [patch]


@contextmanager
def plain_sliced(installation: Installation) -> Iterator[tuple[Overlay, list[Any]]]:
    yield sliced(installation), []


@contextmanager
def with_sliced_quota(installation: Installation) -> Iterator[tuple[Overlay, list[Any]]]:
    with ExitStack() as stack:
        given = stack.enter_context(nodes(installation, {}, 7))
        stack.enter_context(quota(installation, **{f"requests.{SLICE}": "0"}))
        yield given


BEFORE: dict[str, Fault] = {
    "kind-missing": changed(extra=("monitoring", "redis")),
    "knative-feature": changed(service_patch("add", "/spec/predictor/dnsPolicy", "Default")),
    "knative-timeout": changed(values={"timeout": "6000"}),
    "tag-routing": changed(
        annotations={"serving.kserve.io/enable-tag-routing": "false"},
        environment={"transformer": {"YIWEN_PREDICTOR_DISCOVERY": "tags"}},
    ),
    "mesh-missing": changed(extra=("istio", "redis")),
    "mesh-unwanted": with_label,
    "storage-class": without_claim,
    "claim-changed": changed(swap={"storage-rwo": "storage-rwx"}),
    "claim-unbound": with_unbound_claim,
    "pull-secret": changed(service_patch("add", "/spec/predictor/imagePullSecrets", [{"name": "nowhere"}])),
    "secret-missing": without_secrets,
    "image-placeholder": changed(values={"registry": "registry.example.com/yiwen"}),
    "quota-host": lambda installation, _: with_quota(installation, laptop, requests_cpu="10m"),
    "node-small": changed(service_patch("replace", f"{PREDICTOR}/resources/requests/cpu", "512")),
    "gpu-node": lambda installation, _: plain_sliced(installation),
    "mig-state": lambda installation, _: nodes(installation, {"nvidia.com/mig.config.state": "failed"}, 7),
    "mig-profile": lambda installation, _: nodes(installation, {}, 0),
    "gpu-taken": lambda installation, _: nodes(
        installation, {}, 7, spec={"predictor": {"minReplicas": 8, "maxReplicas": 8}}
    ),
    "gpu-quota": lambda installation, _: with_sliced_quota(installation),
    "dns-blocked": changed({
        "target": {"kind": "NetworkPolicy", "name": "dns"},
        "patch": json.dumps([{"op": "replace", "path": "/spec/egress/0/to", "value": [
            {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "other"}}}]}]),
    }),
}  # fmt: skip
"""Faults before anything is applied, by the check that must name them."""
ALSO = {
    "mesh-missing": {"kind-missing"},
    "claim-unbound": {"storage-class"},
    "node-small": {"quota-host"},
    "mig-state": {"gpu-taken"},
    "mig-profile": {"gpu-taken"},
}
"""What else is true then."""


def test_nothing_is_found_before_a_right_overlay(installation: Installation) -> None:
    directory = write(installation, laptop(installation), [])
    assert doctor("--overlay", str(directory)) == (set(), set(), 0)


@pytest.mark.parametrize("check", BEFORE)
def test_a_fault_is_named_before(
    installation: Installation, check: str, tmp_path: Path, figures: dict[str, Any]
) -> None:
    with BEFORE[check](installation, tmp_path) as (overlay, patches):
        directory = write(installation, overlay, patches)
        found, _, code = doctor("--overlay", str(directory))
    figures["found"] = ", ".join(sorted(found))
    assert check in found
    assert found <= {check} | ALSO.get(check, set()), found
    assert code == 1


@contextmanager
def spoiled(installation: Installation, _: Path) -> Iterator[tuple[Overlay, list[Any]]]:
    with flipped(Site(installation, laptop(installation)), SPOILED):
        yield laptop(installation, values={"release": SPOILED}), []


@contextmanager
def restricted(installation: Installation, _: Path) -> Iterator[tuple[Overlay, list[Any]]]:
    label = "pod-security.kubernetes.io/enforce"
    kubectl("label", "namespace", installation.namespace, f"{label}=restricted", "--overwrite")
    try:
        patch = service_patch("replace", f"{PREDICTOR}/securityContext/allowPrivilegeEscalation", True)
        yield laptop(installation), [patch]
    finally:
        kubectl("label", "namespace", installation.namespace, f"{label}-")


AFTER: dict[str, Fault] = {
    "unschedulable-resources": changed(
        service_patch("replace", f"{PREDICTOR}/resources", {
            "requests": {"cpu": "512", "memory": "512Mi"}, "limits": {"cpu": "512", "memory": "1Gi"}})
    ),
    "unschedulable-node": changed(swap={"cpu": "mig-a100-1g10gb"}),
    "unschedulable-volume": with_unbound_claim,
    "image-pull": changed(values={"tag": "nowhere"}),
    "config-missing": changed(
        service_patch("add", f"{PREDICTOR}/env/-", {
            "name": "OTHER", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "key"}}})
    ),
    "release-damaged": spoiled,
    "start-refused": changed(values={"release": "nowhere"}),
    "out-of-memory": changed(
        service_patch("replace", f"{PREDICTOR}/resources", {
            "requests": {"cpu": "50m", "memory": "48Mi"}, "limits": {"cpu": "2", "memory": "48Mi"}})
    ),
    "crash": changed(service_patch("replace", f"{PREDICTOR}/command", ["sh", "-c", "exit 3"])),
    "probe-failed": changed(
        service_patch("replace", f"{PREDICTOR}/readinessProbe/httpGet/path", "/nowhere")
    ),
    "quota-exceeded": lambda installation, _: with_quota(installation, laptop, requests_memory="200Mi"),
    "pod-refused": restricted,
    "release-mismatch": changed(
        service_patch("replace", "/spec/transformer/containers/0/env/0/value", "/mnt/models/releases/" + SPOILED)
    ),
}  # fmt: skip
"""Faults of what is applied, by the check that must name them."""


def test_nothing_is_found_in_a_service_that_is_well(site: Site) -> None:
    namespace = site.installation.namespace
    with site.serving():
        pairs = list(islice(titles(f"doctor-{time.time()}"), 20))
        assert {each.status for each in site.service.translate_all(pairs)} == {200}
        found, unseen, code = doctor("yiwen", "-n", namespace)
        assert (found, unseen, code) == (set(), set(), 0)


def test_redis_that_is_gone_is_named(site: Site) -> None:
    namespace = site.installation.namespace
    with site.serving():
        kubectl("scale", "statefulset/yiwen-redis", "--replicas=0", "-n", namespace)
        eventually("no Redis", lambda: not site.installation.pods("redis"), 60.0)

        def named() -> bool:
            site.service.translate_all(list(islice(titles(f"no-redis-{time.time()}"), 20)))
            return "redis-down" in doctor("yiwen", "-n", namespace)[0]

        eventually("redis-down", named, NAMED_S)
        kubectl("scale", "statefulset/yiwen-redis", "--replicas=1", "-n", namespace)


def test_a_long_queue_is_named(site: Site) -> None:
    values = {**site.overlay.values, "slots": "1"}
    with site.with_overlay(values=values).serving():

        def named() -> bool:
            site.service.translate_all(list(islice(titles(f"queue-{time.time()}"), 300)))
            return "queue-slow" in doctor("yiwen", "-n", site.installation.namespace)[0]

        eventually("queue-slow", named, NAMED_S)


@pytest.mark.parametrize("check", AFTER)
def test_a_fault_is_named_after(site: Site, check: str, tmp_path: Path, figures: dict[str, Any]) -> None:
    with AFTER[check](site.installation, tmp_path) as (overlay, patches):
        installation = Installation(site.installation.features, overlay.namespace, tmp_path)
        overlay = overlay.with_release(overlay.values.get("release", "a"))
        directory = write(installation, overlay, patches)
        eventually("kubectl apply -k", lambda: kubectl("apply", "-k", str(directory)), 60.0)
        began = time.monotonic()
        try:
            found = eventually(check, lambda: _found_with(check, installation.namespace), NAMED_S)
            figures |= {"named_after_s": round(time.monotonic() - began), "found": ", ".join(sorted(found))}
            assert found <= {check} | CONSEQUENCES, found
        finally:
            Site(installation, overlay).stop()


def _found_with(check: str, namespace: str) -> set[str] | None:
    found, _, _ = doctor("yiwen", "-n", namespace)
    return found if check in found else None


ROLE = [
    {"apiGroups": [""], "resources": ["pods", "events", "persistentvolumeclaims", "resourcequotas"],
     "verbs": ["get", "list"]},
    {"apiGroups": [""], "resources": ["pods/log", "pods/proxy"], "verbs": ["get"]},
    {"apiGroups": ["serving.kserve.io", "keda.sh", "autoscaling.internal.knative.dev"],
     "resources": ["inferenceservices", "scaledobjects", "podautoscalers"], "verbs": ["get", "list"]},
]  # fmt: skip
"""That of docs/guides/doctor.md, without the Secrets."""
OF_METRICS = {each.name for each in CHECKS if any(need.startswith("metrics") for need in each.needs)}
"""Checks that look at pods which run."""


def test_the_rights_of_a_namespace_are_enough(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace = site.installation.namespace
    head = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "doctor", "namespace": namespace},
    }
    subject = {"kind": "ServiceAccount", "name": "doctor", "namespace": namespace}
    binding = {
        **head, "kind": "RoleBinding", "subjects": [subject],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "doctor"},
    }  # fmt: skip
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": head["metadata"]}
    items = [account, {**head, "kind": "Role", "rules": ROLE}, binding]
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    config["users"][0]["user"] = {"token": kubectl("create", "token", "doctor", "-n", namespace).strip()}
    limited = tmp_path / "kubeconfig"
    limited.write_text(yaml.safe_dump(config))
    overlay = laptop(site.installation, values={"tag": "nowhere"}).with_release("a")
    directory = write(site.installation, overlay, [])
    eventually("kubectl apply -k", lambda: kubectl("apply", "-k", str(directory)), 60.0)
    try:
        eventually("image-pull", lambda: _found_with("image-pull", namespace), NAMED_S)
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(limited))
        found, unseen, _ = doctor("yiwen", "-n", namespace)
        assert "image-pull" in found
        assert unseen - OF_METRICS == {"node-lost"}  # nodes belong to no namespace
    finally:
        site.stop()
