"""Rules across manifests: selectors, claims, disruption budgets, quotas for a canary, service mesh."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from inferenceservices.resources import is_extended
from inferenceservices.rules.findings import ManifestsRule, Violations
from inferenceservices.selectors import selects
from protocol.kubernetes.documents import Document, kind_and_name, mapping, objects, strings
from protocol.kubernetes.inference_service import (
    KNATIVE,
    STANDARD,
    ServiceComponent,
    inference_services,
    pod_templates,
)
from protocol.kubernetes.pods import environment, requests
from protocol.kubernetes.quantities import quantity_or_zero
from protocol.kubernetes.release_service import RELEASE_LABEL, release_service_name

MESH_KINDS = ("PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy", "DestinationRule")
SIDECAR = "sidecar.istio.io/inject"
QUEUE_PROXY_PORT, REST_PORT = 8012, 8080
"""Ports of a predictor pod: that of Knative's queue-proxy, and the service's own."""


def default_deny(documents: tuple[Document, ...]) -> Violations:
    """Every namespace with pods has a default-deny NetworkPolicy."""
    for namespace in sorted({pod.namespace for pod in pod_templates(documents)}):
        if not any(_denies_everything(document, namespace) for document in documents):
            yield (
                f"add a NetworkPolicy to the namespace {namespace} that selects all pods for Ingress and Egress and "
                "allows nothing"
            )


def selectors(documents: tuple[Document, ...]) -> Violations:
    """NetworkPolicies, PodDisruptionBudgets and PodMonitors select at least one pod of these manifests."""
    existing = tuple(pod_templates(documents))
    for document in documents:
        spec = mapping(document, "spec")
        key = {
            "NetworkPolicy": "podSelector",
            "PodDisruptionBudget": "selector",
            "PodMonitor": "selector",
        }.get(str(document.get("kind")))
        namespace = mapping(document, "metadata").get("namespace", "")
        if key is None or not existing:
            continue
        found = [
            pod for pod in existing if pod.namespace == namespace and selects(mapping(spec, key), pod.labels)
        ]
        if not found:
            yield f"{kind_and_name(document)} selects no pod of these manifests: compare its labels with theirs"


def disruption_budget(documents: tuple[Document, ...]) -> Violations:
    """Every component has a PodDisruptionBudget that lets nodes be drained."""
    budgets = [document for document in documents if document.get("kind") == "PodDisruptionBudget"]
    for budget in budgets:
        if mapping(budget, "spec").get("maxUnavailable") in (None, 0, "0", "0%"):
            yield (
                f"{kind_and_name(budget)} must have maxUnavailable of 1 or more: with minAvailable one pod blocks "
                "a drain"
            )
    for component in _components(documents):
        labels = component.pod.labels
        if not any(selects(mapping(budget, "spec", "selector"), labels) for budget in budgets):
            yield f"{component.pod.location} has no PodDisruptionBudget"


def claim_access(documents: tuple[Document, ...]) -> Violations:
    """A claim says how it is mounted, exists, and one that only one node can mount keeps its pods on that node."""
    claims = {
        str(mapping(document, "metadata").get("name")): document
        for document in documents
        if document.get("kind") == "PersistentVolumeClaim"
    }
    for document in claims.values():
        if not mapping(document, "spec").get("accessModes"):
            yield f"{kind_and_name(document)} needs accessModes: add components/storage-rwx or storage-rwo"
    for component in _components(documents):
        for volume in component.pod.volumes.values():
            if "persistentVolumeClaim" not in volume:
                continue
            name = str(mapping(volume, "persistentVolumeClaim").get("claimName"))
            if name not in claims:
                yield f"{component.pod.location} mounts the claim {name}, which is not here"
            elif _one_node(claims[name]) and not _is_pinned_to_one_node(component):
                yield (
                    f"{component.pod.location} needs a required podAffinity on kubernetes.io/hostname: "
                    f"one node at a time can mount the claim {name}"
                )


def same_node(documents: tuple[Document, ...]) -> Violations:
    """Pods that a claim keeps on one node tolerate the same taints, or some of them can never run there."""
    for service in inference_services(documents):
        kept = [component for component in service.components if _is_pinned_to_one_node(component)]
        taints = [sorted(str(t) for t in objects(component.spec, "tolerations")) for component in kept]
        if any(other != taints[0] for other in taints[1:]):
            yield f"{kind_and_name(service.document)}: give all components the same tolerations: they share a node"


def canary_quota(documents: tuple[Document, ...]) -> Violations:
    """A quota of GPUs has room for both revisions of a canary."""
    for component in _components(documents):
        replicas = component.declared.get("minReplicas", 1)
        if "canaryTrafficPercent" not in component.declared or not isinstance(replicas, int):
            continue
        for resource, needed in _devices(component, 2 * max(replicas, 1)).items():
            for quota in (document for document in documents if document.get("kind") == "ResourceQuota"):
                most = mapping(quota, "spec", "hard").get(f"requests.{resource}")
                if most is not None and quantity_or_zero(most) < needed:
                    yield (
                        f"{kind_and_name(quota)} allows {most} of {resource}, and {component.pod.location} needs "
                        f"{needed} while a canary runs: both revisions keep their pods"
                    )


def mesh(documents: tuple[Document, ...]) -> Violations:
    """Istio's resources need sidecars, and AuthorizationPolicies a path without Knative's activator."""
    kinds = {str(document.get("kind")) for document in documents} & {*MESH_KINDS}
    for component in _components(documents):
        if kinds and component.pod.labels.get(SIDECAR) != "true":
            yield f'{component.pod.location} needs the label {SIDECAR}: "true" (components/istio)'
        is_guarded = "AuthorizationPolicy" in kinds and component.name == "predictor"
        knative = component.service.mode == KNATIVE
        behind = component.annotations.get("autoscaling.knative.dev/target-burst-capacity", "211")
        if is_guarded and knative and (component.declared.get("minReplicas", 1) == 0 or str(behind) != "0"):
            yield (
                f"{component.pod.location} must keep minReplicas of 1 or more and target-burst-capacity 0: through "
                "the activator a request comes under the activator's identity, which AuthorizationPolicy refuses"
            )
        if "DestinationRule" in kinds and component.service.mode != STANDARD:
            yield (
                f"{component.pod.location}: DestinationRules find no pods behind Knative's Services; "
                "use Standard mode"
            )


def release_service(documents: tuple[Document, ...]) -> Violations:
    """A Service selects the predictors of the release, under the name at which transformers look for it."""
    services = [document for document in documents if document.get("kind") == "Service"]
    for service in inference_services(documents):
        predictor, transformer = service.component("predictor"), service.component("transformer")
        if predictor is None or transformer is None or not transformer.pod.containers:
            continue
        variables = environment(transformer.pod.containers[0])
        release = posixpath.basename(variables.get("YIWEN_RELEASE", "").rstrip("/"))
        if "services" not in variables.get("YIWEN_PREDICTOR_DISCOVERY", "").split(","):
            yield (
                f"{transformer.pod.location} must have services in YIWEN_PREDICTOR_DISCOVERY: in a release change "
                "tags come late or go early, and Standard mode has none"
            )
        if predictor.pod.labels.get(RELEASE_LABEL) != release:
            yield f"{predictor.pod.location} needs the label {RELEASE_LABEL}: {release}"
        name = release_service_name(predictor.knative_service_name, release)
        found = next((each for each in services if mapping(each, "metadata").get("name") == name), None)
        if found is None:
            yield f"add the Service {name} (base/release-service.yaml): transformers of {release} ask it"
        else:
            yield from _selects_release(found, predictor)


def _selects_release(document: Document, predictor: ServiceComponent) -> Violations:
    selector = mapping(document, "spec", "selector")
    if RELEASE_LABEL not in selector or not selects({"matchLabels": selector}, predictor.pod.labels):
        yield (
            f"{kind_and_name(document)} must select the pods of {predictor.pod.location} by labels, "
            f"{RELEASE_LABEL} among them"
        )
    target = QUEUE_PROXY_PORT if predictor.service.mode == KNATIVE else REST_PORT
    ports = [(port.get("port"), port.get("targetPort")) for port in objects(document, "spec", "ports")]
    if (80, target) not in ports:
        yield f"{kind_and_name(document)} must lead port 80 to the targetPort {target}"


def _components(documents: tuple[Document, ...]) -> Iterator[ServiceComponent]:
    for service in inference_services(documents):
        yield from service.components


def _denies_everything(document: Document, namespace: str) -> bool:
    spec = mapping(document, "spec")
    return (
        document.get("kind") == "NetworkPolicy"
        and mapping(document, "metadata").get("namespace", "") == namespace
        and spec.get("podSelector") == {}
        and {"Ingress", "Egress"} <= {*strings(spec.get("policyTypes"))}
        and not spec.get("ingress")
        and not spec.get("egress")
    )


def _one_node(claim: Document) -> bool:
    return {*strings(mapping(claim, "spec").get("accessModes"))} <= {"ReadWriteOnce", "ReadWriteOncePod"}


def _is_pinned_to_one_node(component: ServiceComponent) -> bool:
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    terms: tuple[Mapping[str, Any], ...] = objects(component.spec, "affinity", "podAffinity", required)
    return any(term.get("topologyKey") == "kubernetes.io/hostname" for term in terms)


def _devices(component: ServiceComponent, replicas: int) -> dict[str, Decimal]:
    needed: dict[str, Decimal] = {}
    for container in component.pod.containers:
        for resource, amount in requests(container).items():
            if is_extended(resource):
                needed[resource] = needed.get(resource, Decimal(0)) + quantity_or_zero(amount) * replicas
    return needed


MANIFESTS: dict[str, ManifestsRule] = {
    "default-deny": default_deny,
    "selectors": selectors,
    "disruption-budget": disruption_budget,
    "claim-access": claim_access,
    "same-node": same_node,
    "canary-quota": canary_quota,
    "mesh": mesh,
    "release-service": release_service,
}
