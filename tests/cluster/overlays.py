"""Overlays as a user would copy them: the project's own, with values and resources for a small cluster."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from inferenceservices.check import ROOT

SMALL = {
    "predictor": {"requests": {"cpu": "50m", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
    "transformer": {"requests": {"cpu": "50m", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
    "redis": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
}
DEADLINE_S = 120
"""Of requests and of drains: long, for machines that have other things to do."""
LATE = "verify"
"""The component that copies values, and so comes after the overlay's own."""
SLOW_START = ["sh", "-c", 'trap exit TERM; sleep "$0" & wait $!; exec python -m predictor "$@"']
"""A predictor's command that starts it late; the delay follows, then come the container's arguments."""


@dataclass(frozen=True)
class Overlay:
    """A copy of an overlay of ``inferenceservices/overlays`` or of a release Job."""

    name: str
    namespace: str
    values: Mapping[str, str] = field(default_factory=dict)
    swap: Mapping[str, str] = field(default_factory=dict)
    """Components by others; an empty one is left out."""
    extra: Sequence[str] = ()
    """Further components, before the values."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Merged into the InferenceService, after everything else."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Of the InferenceService."""
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Further additions of the containers, by component."""
    devices: Mapping[str, str] = field(default_factory=dict)
    """Further resources of a predictor, which it gets for itself alone: requests and limits."""
    start_delay_s: int = 0
    """Seconds that a predictor sleeps before it starts."""
    small: Sequence[str] = ("predictor", "transformer")
    """Components whose resources are replaced by little ones."""
    job: bool = False
    """The release Job alone, in the place of what serves."""

    def with_release(self, release: str, start_delay_s: int = 0) -> Overlay:
        """The same with another release.

        Args:
            release: directory of the release on the volume.
            start_delay_s: seconds that its predictors sleep before they start.
        """
        values = {**self.values, "release": release}
        return replace(self, values=values, start_delay_s=start_delay_s)

    def write(self, directory: Path) -> Path:
        """The kustomization in ``directory``, which ``kubectl apply -k`` takes."""
        directory.mkdir(parents=True, exist_ok=True)
        original = yaml.safe_load((ROOT / "overlays" / self.name / "kustomization.yaml").read_text())
        components = []
        for path in original["components"]:
            name = path.rpartition("/")[2]
            name = self.swap.get(name, name)
            if path == "values":
                components += [_away(directory, f"components/{each}") for each in self.extra if each != LATE]
                components += [_away(directory, f"overlays/{self.name}/values"), "small"]
                components += [_away(directory, f"components/{each}") for each in self.extra if each == LATE]
            elif name:
                components.append(_away(directory, f"components/{name}"))
        if self.job:
            components += [
                _away(directory, "components/release-job"),
                _away(directory, "components/release-only"),
            ]
        _write(
            directory / "kustomization.yaml",
            kind="Kustomization",
            resources=[_away(directory, "base"), *self._copy_files(directory, original["resources"])],
            components=components,
            patches=[*self._job_patches(), *self._spec_patches()],
        )
        (directory / "small").mkdir(exist_ok=True)
        _write(directory / "small" / "kustomization.yaml", kind="Component", patches=self._value_patches())
        return directory

    def _copy_files(self, directory: Path, resources: Sequence[str]) -> list[str]:
        """The overlay's own manifests, which kustomize reads from its own directory alone."""
        files = [each for each in resources if each.endswith(".yaml")]
        for name in files:
            shutil.copy(ROOT / "overlays" / self.name / name, directory / name)
        return files

    def _value_patches(self) -> list[dict[str, Any]]:
        values = {
            "namespace": self.namespace,
            "registry": _registry(),
            "tag": _tag(),
            "slots": "4",
            "groupsInFlight": "5",
            "deadline": str(DEADLINE_S),
            "timeout": str(DEADLINE_S + 30),
            **self.values,
        }
        patches: list[dict[str, Any]] = [{"patch": _document("v1", "ConfigMap", "values", data=values)}]
        claim = [{"op": "replace", "path": "/spec/resources/requests/storage", "value": "1Gi"}]
        patches.append({"target": {"kind": "PersistentVolumeClaim"}, "patch": json.dumps(claim)})
        small = [
            {"op": "replace", "path": f"/spec/{component}/containers/0/resources", "value": resources}
            for component, resources in SMALL.items()
            if component in self.small
        ]
        if small:
            patches.append({"target": {"kind": "InferenceService"}, "patch": json.dumps(small)})
        pod = "/spec/template/spec/containers"
        redis = [
            {"op": "remove", "path": f"{pod}/1"},  # the exporter
            {"op": "replace", "path": f"{pod}/0/resources", "value": SMALL["redis"]},
        ]
        patches.append({"target": {"kind": "StatefulSet"}, "patch": json.dumps(redis)})
        return patches

    def _spec_patches(self) -> list[dict[str, Any]]:
        patches: list[dict[str, Any]] = []
        if self.spec or self.annotations:
            metadata = {"name": "yiwen", "annotations": dict(self.annotations)}
            head = {
                "apiVersion": "serving.kserve.io/v1beta1",
                "kind": "InferenceService",
                "metadata": metadata,
            }
            patches.append({"patch": json.dumps({**head, "spec": dict(self.spec)})})
        additions = [
            {
                "op": "add",
                "path": f"/spec/{component}/containers/0/env/-",
                "value": {"name": name, "value": value},
            }
            for component, settings in self.environment.items()
            for name, value in settings.items()
        ]
        place = "/spec/predictor/containers/0/resources"
        additions += [
            {"op": "add", "path": f"{place}/{kind}/{name.replace('/', '~1')}", "value": count}
            for name, count in self.devices.items()
            for kind in ("requests", "limits")
        ]
        if additions:
            patches.append({"target": {"kind": "InferenceService"}, "patch": json.dumps(additions)})
        if self.start_delay_s:
            command = [*SLOW_START, str(self.start_delay_s)]
            late = [
                {"op": "replace", "path": "/spec/predictor/containers/0/command", "value": command},
            ]
            patches.append({"target": {"kind": "InferenceService"}, "patch": json.dumps(late)})
        return patches

    def _job_patches(self) -> list[dict[str, Any]]:
        """Those of the overlay's own release Job, and little requests."""
        if not self.job:
            return []
        own = yaml.safe_load((ROOT / "release-jobs" / self.name / "kustomization.yaml").read_text())
        pod, small = "/spec/template/spec", {"cpu": "20m", "memory": "256Mi"}
        places = ("initContainers/0", "initContainers/1", "containers/0")
        requests = [
            {"op": "replace", "path": f"{pod}/{place}/resources/requests", "value": small} for place in places
        ]
        return [*own.get("patches", []), {"target": {"kind": "Job"}, "patch": json.dumps(requests)}]


def image(name: str) -> str:
    """One of the project's images, by the settings CLUSTER_REGISTRY and CLUSTER_TAG."""
    return f"{_registry()}/{name}:{_tag()}"


def _registry() -> str:
    return os.environ.get("CLUSTER_REGISTRY", "kind.local")


def _tag() -> str:
    return os.environ.get("CLUSTER_TAG", "dev")


def _away(directory: Path, path: str) -> str:
    return os.path.relpath(ROOT / path, directory)


def _document(api: str, kind: str, name: str, **fields: object) -> str:
    return json.dumps({"apiVersion": api, "kind": kind, "metadata": {"name": name}, **fields})


def _write(path: Path, *, kind: str, **fields: object) -> None:
    version = "v1alpha1" if kind == "Component" else "v1beta1"
    head = {"apiVersion": f"kustomize.config.k8s.io/{version}", "kind": kind}
    path.write_text(yaml.safe_dump({**head, **fields}, sort_keys=False), encoding="utf-8")
