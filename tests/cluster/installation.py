"""A namespace of the tests with a volume, the releases on it, and what is applied to it."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from inferenceservices.rollout_state import is_observed
from protocol.kubernetes.documents import load_manifests
from protocol.kubernetes.kubectl import build_kustomization
from tests.cluster.features import Features
from tests.cluster.kubectl import KubectlError, condition, document, documents, eventually, kubectl
from tests.cluster.load import Service
from tests.cluster.overlays import Overlay, image
from tests.cluster.releases import write_renumbered_checkpoint
from tests.cluster.this_run import OWN_LABEL, once_per_run, run_id

_ASK = """
import json, sys, urllib.request
body = json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [sys.argv[1]]}],
                   "parameters": {"source": "en", "target": "zh"}}).encode()
answer = json.load(urllib.request.urlopen("http://127.0.0.1:8080/v2/models/yiwen/infer", body, timeout=30))
print(json.dumps({output["name"]: output["data"][0] for output in answer["outputs"]}))
"""
RELEASES = ("a", "b", "c", "d")
"""Releases that are changed to, one after another; the first is the demo."""
SPOILED = "e"
"""The release that a test may damage for a while: tests of other namespaces may use the same volume."""
NOISE = "noise"
"""The release whose translations are noise: its tokenizer does not belong to its weights."""
IDS = (*RELEASES, SPOILED, NOISE)
SHIFT = 997
"""Between the token ids of one and the next."""
LEFTOVER_S = 3600.0
"""Age from which a namespace of the tests belongs to no run."""
START_S = 300.0
"""Limit of starts, on a machine that has other things to do."""


class Installation:
    """Of one namespace. Overlays are applied as users would apply them."""

    def __init__(self, features: Features, namespace: str, directory: Path) -> None:
        self.features, self.namespace, self.directory = features, namespace, directory

    def apply(self, overlay: Overlay) -> None:
        """``kubectl apply -k`` of the overlay, again where a webhook is not there yet."""
        path = overlay.write(self.directory / f"{overlay.name}-{'job' if overlay.job else 'service'}")
        eventually("kubectl apply -k", lambda: kubectl("apply", "-k", str(path)), 180.0)

    def create_claim(self, overlay: Overlay) -> None:
        """The overlay's volume claim alone."""
        built = load_manifests(build_kustomization(overlay.write(self.directory / "claim")))
        (claim,) = [each for each in built if each["kind"] == "PersistentVolumeClaim"]
        kubectl("apply", "-f", "-", stdin=json.dumps(claim))

    def get(self, *words: str) -> dict[str, Any]:
        return document(*words, "-n", self.namespace)

    def objects(self, *words: str) -> list[dict[str, Any]]:
        return documents(*words, "-n", self.namespace)

    def inference_service(self) -> dict[str, Any]:
        return self.get("inferenceservice", "yiwen")

    def wait_ready(self, timeout_s: float = START_S) -> float:
        """Wait for the condition Ready of the present generation; gives the seconds that it took."""
        began = time.monotonic()

        def is_ready() -> bool:
            service = self.inference_service()
            return condition(service, "Ready") == "True" and is_observed(service)

        eventually("InferenceService yiwen Ready", is_ready, timeout_s)
        return time.monotonic() - began

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Of a component, without those that have ended."""
        found = self.objects("pods", "-l", f"app.kubernetes.io/component={component}")
        return [each for each in found if each["status"].get("phase") not in ("Succeeded", "Failed")]

    def staying_pods(self, component: str) -> list[dict[str, Any]]:
        """Of a component, without those that end."""
        return [each for each in self.pods(component) if not each["metadata"].get("deletionTimestamp")]

    def ready_pods(self, component: str, count: int = 1) -> list[dict[str, Any]] | None:
        """Pods of a component that are ready and stay; None if they are fewer than ``count``."""
        ready = [
            each
            for each in self.staying_pods(component)
            if all(c["ready"] for c in each["status"].get("containerStatuses", [{"ready": False}]))
        ]
        return ready if len(ready) >= count else None

    def patch(self, **components: dict[str, Any]) -> None:
        """A merge patch of components of the InferenceService."""
        kubectl("patch", "inferenceservice", "yiwen", "-n", self.namespace, "--type=merge", "-p",
                json.dumps({"spec": components}))  # fmt: skip

    def service(self) -> Service:
        """As callers outside of the cluster reach it: by Knative's gateway, or by the HTTPRoute."""
        service = self.inference_service()
        if service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative":
            return Service(self.features.ingress, urlsplit(service["status"]["url"]).netloc)
        return Service(self.features.gateway, self.get("httproute", "yiwen")["spec"]["hostnames"][0])

    def create_secrets(self) -> None:
        """The password of Redis, as docs/guides/manifests.md makes it, without TLS."""
        kubectl(
            "create", "secret", "generic", "yiwen-redis", "-n", self.namespace,
            "--from-literal=url=redis://yiwen@yiwen-redis:6379", f"--from-literal=password={secrets.token_hex(16)}",
        )  # fmt: skip

    def copy_checkpoint(self, release: str) -> None:
        """A checkpoint as ``incoming/RELEASE`` on the volume."""
        target = f"/mnt/models/incoming/{release}"
        source = self.directory / "checkpoints" / release
        write_renumbered_checkpoint(source, SHIFT * IDS.index(release), is_noise=release == NOISE)
        self.on_volume("mkdir", "-p", target)
        self._copy(source, target)

    @property
    def volume(self) -> str:
        """Which volume this is: one directory of a node is that of all namespaces."""
        return self.features.host_path or self.namespace

    def on_volume(self, *command: str) -> str:
        """What a command prints in the pod ``volume``, which is made for the first."""
        if not self.objects("pods", "--field-selector=metadata.name=volume"):
            run_pod(self.namespace, "volume", "sleep", "86400", mounts_models=True)
        return kubectl("exec", "-n", self.namespace, "volume", "--", *command)

    def _copy(self, source: Path, target: str) -> None:
        archive = subprocess.run(
            ["tar", "-C", str(source), "-cf", "-", "."], capture_output=True, check=True
        ).stdout
        command = ["kubectl", "exec", "-i", "-n", self.namespace, "volume", "--", "tar", "-xf", "-", "-m",
                   "--no-same-permissions", "-C", target]  # fmt: skip
        done = subprocess.run(command, input=archive, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()


class Site:
    """An installation that serves one of two releases by one overlay."""

    def __init__(self, installation: Installation, overlay: Overlay) -> None:
        self.installation, self.overlay = installation, overlay
        self.release = ""

    def prepare(self) -> None:
        """Secrets and the volume."""
        self.installation.create_secrets()
        self.installation.create_claim(self.overlay)

    def with_overlay(self, **changes: Any) -> Site:
        """Another overlay on the same volume: fields of :class:`Overlay` that differ."""
        return Site(self.installation, replace(self.overlay, **changes))

    def require_release(self, release: str) -> None:
        """Build a release, unless this run has done so on this volume."""

        def build() -> None:
            self.installation.copy_checkpoint(release)
            self.build_release(release)

        once_per_run(f"release {release} on {self.installation.volume}", build)

    def build_release(self, release: str) -> float:
        """Apply the release Job and wait for it; gives seconds."""
        began = time.monotonic()
        values = {"release": release, "source": f"file:///mnt/models/incoming/{release}"}
        self.installation.apply(
            replace(self.overlay, values={**self.overlay.values, **values}, spec={}, job=True)
        )
        kubectl("wait", "-n", self.installation.namespace, "--for=condition=complete", "--timeout=300s",
                f"job/yiwen-release-{release}", timeout_s=320)  # fmt: skip
        return time.monotonic() - began

    def serve(self, release: str, start_delay_s: int = 0) -> None:
        """Apply the overlay with a release, which is built if it is not there."""
        self.require_release(release)
        self.installation.apply(self.overlay.with_release(release, start_delay_s))
        self.release = release

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Serve release a, and take the InferenceService away at the end."""
        self.serve("a")
        self.installation.wait_ready()
        # The gateway may still know a former service, and answer for want of a backend.
        eventually("an answer through the gateway", lambda: self.service.is_ready(), START_S)
        try:
            yield
        finally:
            self.stop()

    def stop(self) -> None:
        """Take the InferenceService away."""
        kubectl("delete", "inferenceservice", "yiwen", "-n", self.installation.namespace, "--timeout=120s",
                timeout_s=150)  # fmt: skip

    def ask_pod(self, pod: dict[str, Any], text: str) -> dict[str, str]:
        """One text asked of one transformer; gives the outputs by name."""
        answer = kubectl("exec", "-n", self.installation.namespace, pod["metadata"]["name"], "-c", "kserve-container",
                         "--", "python", "-c", _ASK, text)  # fmt: skip
        outputs: dict[str, str] = json.loads(answer)
        return outputs

    @property
    def next_release(self) -> str:
        """One of which no pod may be left."""
        return RELEASES[(RELEASES.index(self.release) + 1) % len(RELEASES)]

    @property
    def service(self) -> Service:
        return self.installation.service()


def run_pod(namespace: str, name: str, *command: str, mounts_models: bool = False) -> dict[str, Any]:
    """A ready pod of the builder's image, which has Python and tar.

    Args:
        namespace: that it runs in.
        name: of the pod.
        command: that it runs.
        mounts_models: whether it has the volume of the releases.
    """
    context = {
        "runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    mounts = [{"name": "models", "mountPath": "/mnt/models"}] if mounts_models else []
    claim = {"name": "models", "persistentVolumeClaim": {"claimName": "yiwen-models"}}
    container = {
        "name": name, "image": image("builder"), "imagePullPolicy": "IfNotPresent", "command": command,
        "securityContext": context, "volumeMounts": mounts,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
    }  # fmt: skip
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [container], "volumes": [claim] if mounts_models else [],
                 "terminationGracePeriodSeconds": 1},
    }  # fmt: skip
    kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    kubectl("wait", "-n", namespace, "--for=condition=Ready", "--timeout=180s", f"pod/{name}", timeout_s=200)
    return document("pod", name, "-n", namespace)


def unschedulable(installation: Installation) -> int:
    """Number of predictors that the scheduler found no node for."""
    conditions = [c for each in installation.pods("predictor") for c in each["status"].get("conditions", [])]
    return sum(c["type"] == "PodScheduled" and c.get("reason") == "Unschedulable" for c in conditions)


def volume_of(namespace: str, path: str) -> dict[str, Any]:
    """A volume of the node for the claim in a namespace, as large as the overlays' own claims."""
    return {
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": namespace, "labels": {OWN_LABEL: run_id()}},
        "spec": {
            "capacity": {"storage": "100Gi"}, "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "", "hostPath": {"path": path},
            "claimRef": {"namespace": namespace, "name": "yiwen-models"},
        },
    }  # fmt: skip


@contextlib.contextmanager
def own_namespace(
    features: Features, suffix: str, directory: Path, *, volume: bool = True
) -> Iterator[Installation]:
    """A namespace whose deletion begins at the end, also after Ctrl-C; the end of the run waits for it.

    Args:
        features: of the cluster.
        suffix: of its name.
        directory: for manifests.
        volume: whether it gets a volume where the cluster makes none.
    """
    namespace = f"yiwen-test-{suffix}-{secrets.token_hex(2)}"
    kubectl("create", "namespace", namespace)
    kubectl("label", "namespace", namespace, f"{OWN_LABEL}={run_id()}")
    try:
        if features.host_path and volume:
            kubectl("apply", "-f", "-", stdin=json.dumps(volume_of(namespace, features.host_path)))
        yield Installation(features, namespace, directory)
    finally:
        begin_removal(namespace)


def begin_removal(namespace: str) -> None:
    """Begin to delete a namespace with all that is in it, and its volume."""
    with contextlib.suppress(KubectlError):
        kubectl("delete", "inferenceservice", "--all", "-n", namespace, "--wait=false")
    kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
    kubectl("delete", "persistentvolume", namespace, "--ignore-not-found", "--wait=false")


def remove(namespace: str) -> None:
    """Delete a namespace and its volume, and wait until it is gone; pods are not waited for to drain."""
    begin_removal(namespace)

    def is_gone() -> bool:
        with contextlib.suppress(KubectlError):
            kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=0", "--force", "--wait=false")
        return not documents("namespaces", f"--field-selector=metadata.name={namespace}")

    eventually(f"no namespace {namespace}", is_gone, 180.0)


def remove_own() -> None:
    """What this run has left in the cluster: namespaces that are being deleted, and all after Ctrl-C."""
    kubectl("delete", "nodes", "-l", f"{OWN_LABEL}={run_id()}", "--wait=false")
    found = documents("namespaces", "-l", f"{OWN_LABEL}={run_id()}")
    with ThreadPoolExecutor() as threads:
        list(threads.map(remove, [each["metadata"]["name"] for each in found]))


def remove_leftovers() -> None:
    """Namespaces of runs that were killed: another run's are younger."""
    for each in documents("namespaces", "-l", OWN_LABEL):
        created = datetime.fromisoformat(each["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
        if time.time() - created.timestamp() > LEFTOVER_S:
            remove(each["metadata"]["name"])
