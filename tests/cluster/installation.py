"""A namespace of the tests with a volume, the releases on it, and what is applied to it."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from protocol.kubernetes.documents import load_manifests
from protocol.kubernetes.kubectl import build_kustomization
from tests.cluster.features import Features
from tests.cluster.kubectl import KubectlError, condition, document, documents, eventually, kubectl
from tests.cluster.load import Service
from tests.cluster.overlays import Overlay, image
from tests.cluster.releases import CHECKPOINT, write_renumbered_checkpoint

OWN_LABEL = "yiwen-cluster-test"
START_S = 300.0
"""Limit of starts, on a machine that has other things to do."""


class Installation:
    """Of one namespace. Overlays are applied as users would apply them."""

    def __init__(self, features: Features, namespace: str, directory: Path) -> None:
        self.features, self.namespace, self.directory = features, namespace, directory

    def apply(self, overlay: Overlay) -> None:
        """``kubectl apply -k`` of the overlay, again where a webhook is not there yet."""
        path = overlay.write(self.directory / f"{overlay.name}-{'job' if overlay.job else 'service'}")
        eventually("kubectl apply -k", lambda: kubectl("apply", "-k", str(path)), 60.0)

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
            observed = service.get("status", {}).get("observedGeneration", -1)
            current = service["metadata"]["generation"]
            return condition(service, "Ready") == "True" and observed >= current

        eventually("InferenceService yiwen Ready", is_ready, timeout_s)
        return time.monotonic() - began

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Of a component, without those that have ended."""
        found = self.objects("pods", "-l", f"app.kubernetes.io/component={component}")
        return [each for each in found if each["status"].get("phase") not in ("Succeeded", "Failed")]

    def service(self) -> Service:
        """As callers outside of the cluster reach it."""
        host = urlsplit(self.inference_service()["status"]["url"]).netloc
        mode = self.inference_service()["metadata"]["annotations"]["serving.kserve.io/deploymentMode"]
        return Service(self.features.ingress if mode == "Knative" else self.features.gateway, host)

    def create_secrets(self) -> None:
        """The password of Redis, as docs/guides/manifests.md makes it, without TLS."""
        kubectl(
            "create", "secret", "generic", "yiwen-redis", "-n", self.namespace,
            "--from-literal=url=redis://yiwen@yiwen-redis:6379", f"--from-literal=password={secrets.token_hex(16)}",
        )  # fmt: skip

    def copy_checkpoints(self, directory: Path) -> None:
        """The demo's checkpoint as ``incoming/a``, the renumbered one as ``incoming/b``, by a pod with the claim."""
        other = write_renumbered_checkpoint(directory / "renumbered")
        kubectl("apply", "-f", "-", stdin=json.dumps(_volume_pod(self.namespace)))
        kubectl(
            "wait",
            "-n",
            self.namespace,
            "--for=condition=Ready",
            "--timeout=180s",
            "pod/volume",
            timeout_s=200,
        )
        for name, source in (("a", CHECKPOINT), ("b", other)):
            kubectl(
                "exec", "-n", self.namespace, "volume", "--", "mkdir", "-p", f"/mnt/models/incoming/{name}"
            )
            self._copy(source, f"/mnt/models/incoming/{name}")

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
        """Secrets, checkpoints and both releases."""
        self.installation.create_secrets()
        self.installation.create_claim(self.overlay)
        self.installation.copy_checkpoints(self.installation.directory)
        for release in ("a", "b"):
            self.build_release(release)

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
        """Apply the overlay with a release."""
        self.installation.apply(self.overlay.with_release(release, start_delay_s))
        self.release = release

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Serve release a, and take the InferenceService away at the end."""
        self.serve("a")
        self.installation.wait_ready()
        try:
            yield
        finally:
            kubectl("delete", "inferenceservice", "yiwen", "-n", self.installation.namespace, "--timeout=120s",
                    timeout_s=150)  # fmt: skip

    @property
    def other(self) -> str:
        """The release that is not served."""
        return "b" if self.release == "a" else "a"

    @property
    def service(self) -> Service:
        return self.installation.service()


def _volume_pod(namespace: str) -> dict[str, Any]:
    """A pod that mounts the claim, for copying."""
    context = {
        "runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    container = {
        "name": "volume", "image": image("builder"), "imagePullPolicy": "IfNotPresent", "command": ["sleep", "86400"],
        "securityContext": context, "volumeMounts": [{"name": "models", "mountPath": "/mnt/models"}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
    }  # fmt: skip
    volume = {"name": "models", "persistentVolumeClaim": {"claimName": "yiwen-models"}}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "volume", "namespace": namespace},
        "spec": {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 1},
    }  # fmt: skip


def _volume(namespace: str, path: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": namespace, "labels": {OWN_LABEL: "true"}},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "", "hostPath": {"path": path},
            "claimRef": {"namespace": namespace, "name": "yiwen-models"},
        },
    }  # fmt: skip


@contextlib.contextmanager
def own_namespace(features: Features, suffix: str, directory: Path) -> Iterator[Installation]:
    """A namespace that is deleted at the end, also after Ctrl-C."""
    namespace = f"yiwen-test-{suffix}-{secrets.token_hex(2)}"
    kubectl("create", "namespace", namespace)
    kubectl("label", "namespace", namespace, f"{OWN_LABEL}=true")
    try:
        if features.host_path:
            kubectl("apply", "-f", "-", stdin=json.dumps(_volume(namespace, features.host_path)))
        yield Installation(features, namespace, directory)
    finally:
        remove(namespace)


def remove(namespace: str) -> None:
    """Delete a namespace with all that is in it, and its volume; pods are not waited for to drain."""
    with contextlib.suppress(KubectlError):
        kubectl("delete", "inferenceservice", "--all", "-n", namespace, "--timeout=60s", timeout_s=90)
    with contextlib.suppress(KubectlError, subprocess.TimeoutExpired):
        kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=1", "--wait=false")
        kubectl("delete", "namespace", namespace, "--timeout=120s", timeout_s=150)
    with contextlib.suppress(KubectlError):
        kubectl("delete", "persistentvolume", namespace, "--ignore-not-found", "--wait=false")


def remove_leftovers() -> None:
    """Namespaces of runs that were killed."""
    for each in documents("namespaces", "-l", OWN_LABEL):
        remove(each["metadata"]["name"])
