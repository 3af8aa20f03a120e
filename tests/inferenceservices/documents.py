"""Manifests that break no rule, and an editor that breaks them: fixtures of the rules' tests."""

from __future__ import annotations

import copy
from typing import Any

import yaml

from inferenceservices.rules import KnativeSettings

Documents = list[dict[str, Any]]

REMOVE = object()
"""As a value: remove the field."""

CLUSTER = KnativeSettings(
    features={
        "kubernetes.podspec-affinity": "enabled",
        "kubernetes.podspec-tolerations": "enabled",
        "kubernetes.podspec-topologyspreadconstraints": "allowed",
        "kubernetes.podspec-persistent-volume-claim": "enabled",
    },
    longest_timeout_s=400,
)

_COMPONENT = """
labels: {app: COMPONENT}
minReplicas: 1
maxReplicas: 2
timeout: 400
serviceAccountName: yiwen
automountServiceAccountToken: false
annotations: {serving.knative.dev/progress-deadline: 1500s}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
      - matchExpressions:
        - {key: nvidia.com/gpu.product, operator: In, values: [NVIDIA-H200]}
        - {key: nvidia.com/mig.strategy, operator: In, values: [mixed]}
        - {key: nvidia.com/mig.config.state, operator: In, values: [success]}
        - {key: nvidia.com/mig-1g.18gb.count, operator: Exists}
topologySpreadConstraints:
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: {matchLabels: {app: COMPONENT}}
tolerations:
- {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
- {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
- {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
containers:
- name: kserve-container
  image: example/COMPONENT:1
  args: [--model_name=yiwen, --workers=1]
  env:
  - {name: YIWEN_RELEASE, value: /mnt/models/releases/a}
  - {name: YIWEN_MAX_DEADLINE_MS, value: "300000"}
  - {name: YIWEN_DRAIN_S, value: "300"}
  - {name: YIWEN_READ_TIMEOUT_S, value: "300"}
  ports:
  - {containerPort: 8080, name: http1}
  startupProbe:
    {httpGet: {path: /v2/health/live, port: 8080}, periodSeconds: 5, timeoutSeconds: 2, failureThreshold: 180}
  readinessProbe: {httpGet: {path: /v2/health/ready, port: 8080}, periodSeconds: 2, timeoutSeconds: 2}
  livenessProbe: {httpGet: {path: /v2/health/live, port: 8080}, periodSeconds: 10, timeoutSeconds: 5}
  resources:
    requests: {cpu: "1", memory: 1Gi, ephemeral-storage: 1Gi, nvidia.com/mig-1g.18gb: "1"}
    limits: {cpu: "1", memory: 1Gi, ephemeral-storage: 1Gi, nvidia.com/mig-1g.18gb: "1"}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
  volumeMounts:
  - {name: models, mountPath: /mnt/models, readOnly: true}
  - {name: scratch, mountPath: /tmp}
volumes:
- name: models
  persistentVolumeClaim: {claimName: models, readOnly: true}
- name: scratch
  emptyDir: {sizeLimit: 1Gi}
"""

_OTHERS = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: models, namespace: demo}
spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: all, namespace: demo}
spec:
  maxUnavailable: 1
  selector: {matchExpressions: [{key: app, operator: In, values: [predictor, transformer]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: demo}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: v1
kind: Service
metadata: {name: yiwen-predictor-release-a, namespace: demo}
spec:
  selector: {app: predictor, yiwen/release: a}
  ports: [{port: 80, targetPort: 8012}]
"""


def knative_documents() -> Documents:
    """An InferenceService in Knative mode and what belongs to it."""
    service: dict[str, Any] = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "yiwen",
            "namespace": "demo",
            "annotations": {"serving.kserve.io/deploymentMode": "Knative"},
        },
        "spec": {
            name: yaml.safe_load(_COMPONENT.replace("COMPONENT", name))
            for name in ("predictor", "transformer")
        },
    }
    service["spec"]["predictor"]["labels"]["yiwen/release"] = "a"
    service["spec"]["transformer"]["containers"][0]["env"].append(
        {"name": "YIWEN_PREDICTOR_DISCOVERY", "value": "tags,services"}
    )
    return [service, *yaml.safe_load_all(_OTHERS)]


def standard_documents() -> Documents:
    """The same in Standard mode."""
    documents = knative_documents()
    service = documents[0]
    service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Standard"
    edit(documents, "Service|spec|ports|0|targetPort", 8080)
    for component in service["spec"].values():
        component["terminationGracePeriodSeconds"] = 400
        component["containers"][0]["lifecycle"] = {"preStop": {"sleep": {"seconds": 10}}}
    return documents


def model_documents() -> Documents:
    """Knative mode, with a model in place of the predictor's container."""
    documents = knative_documents()
    predictor = documents[0]["spec"]["predictor"]
    runtime: dict[str, Any] = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "yiwen", "namespace": "demo"},
        "spec": {"containers": predictor.pop("containers"), "volumes": predictor.pop("volumes")},
    }
    container = runtime["spec"]["containers"][0]
    container["args"][0] = "--model_name={{.Name}}"
    container["env"][0]["value"] = "/mnt/models"
    predictor["model"] = {
        "modelFormat": {"name": "yiwen"},
        "runtime": "yiwen",
        "storageUri": "pvc://models/releases/a",
    }
    return [*documents, runtime]


def edit(documents: Documents, path: str, value: object) -> None:
    """Set the field at ``path`` (keys and indices between ``|``, the kind first), or remove it.

    What is missing on the way is made; an index equal to a list's length appends.
    """
    kind, *keys = path.split("|")
    place: Any = next((document for document in documents if document["kind"] == kind), None)
    if place is None:
        raise KeyError(f"there is no {kind}")
    for key in keys[:-1]:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    last = keys[-1]
    if isinstance(place, list):
        number = int(last)
        if value is REMOVE:
            del place[number]
        elif number == len(place):
            place.append(copy.deepcopy(value))
        else:
            place[number] = copy.deepcopy(value)
    elif value is REMOVE:
        del place[last]
    else:
        place[last] = copy.deepcopy(value)
