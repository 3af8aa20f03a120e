"""For every rule, manifests that break it: the tables of :mod:`tests.inferenceservices.test_rules`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.inferenceservices.documents import REMOVE

ISVC = "InferenceService|"
NOTES = ISVC + "metadata|annotations|"
MODE = NOTES + "serving.kserve.io/deploymentMode"
PRE = ISVC + "spec|predictor|"
TRA = ISVC + "spec|transformer|"
C0, T0 = PRE + "containers|0|", TRA + "containers|0|"
TERM = (
    PRE
    + "affinity|nodeAffinity|requiredDuringSchedulingIgnoredDuringExecution|nodeSelectorTerms|0|matchExpressions|"
)
MIG = "nvidia.com/mig-1g.18gb"
SIDECAR = {"name": "sidecar", "image": "example/sidecar:1"}
COLLOCATED = {
    "name": "transformer-container",
    "image": "example/transformer:1",
    "args": [
        "--model_name=yiwen",
        "--workers=1",
        "--http_port=8090",
        "--grpc_port=0",
        "--predictor_host=localhost:8080",
    ],
    "ports": [{"containerPort": 8090, "name": "http1"}],
}
KNATIVE, STANDARD, MODEL = "knative", "standard", "model"


@dataclass(frozen=True, slots=True)
class Broken:
    """What to change in manifests that keep all rules, so that they break ``rule``."""

    rule: str
    edits: dict[str, Any]
    base: str = KNATIVE
    also: str = ""
    """Part of the message, where a rule has several."""

    def __str__(self) -> str:
        return f"{self.rule}: {'; '.join(self.edits)}"


def broke(rule: str, path: str, value: object = REMOVE, base: str = KNATIVE, also: str = "") -> Broken:
    return Broken(rule, {path: value}, base, also)


VOLUME = PRE + "volumes|2"
MOUNT = C0 + "volumeMounts|2"


def volume(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        VOLUME: {"name": "more", kind: content},
        MOUNT: {"name": "more", "mountPath": "/more", "readOnly": True},
    }
