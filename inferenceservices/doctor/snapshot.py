"""What was read of a cluster or of a running service, as the checks of `yiwen doctor` look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from protocol.kubernetes.documents import Document, mapping, objects, string_map
from protocol.kubernetes.inference_service import InferenceService, ServiceComponent, inference_services

INFERENCE_SERVICE = "serving.kserve.io/inferenceservice"
"""Label of a pod: its InferenceService."""
COMPONENT = "component"
"""Label of a pod: predictor or transformer."""


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """Objects of a cluster, logs and metrics at one moment."""

    namespace: str
    name: str = "yiwen"
    """Of the InferenceService."""
    manifests: tuple[Document, ...] = ()
    """Those of the overlay that is to be applied."""
    objects: Mapping[str, tuple[Document, ...]] = field(default_factory=dict)
    """What was read, by resource (the plural name in the API)."""
    unseen: Mapping[str, str] = field(default_factory=dict)
    """Why a resource could not be read, by resource."""
    logs: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Last lines of a container's log, by pod and container."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Metrics of one process in Prometheus' text format; the key begins with ``predictor`` or ``transformer``."""

    def of(self, resource: str) -> tuple[Document, ...]:
        """The objects of a resource; none if it was not read."""
        return self.objects.get(resource, ())

    def named(self, resource: str, name: str) -> Document | None:
        """The object of that name, or None."""
        return next((document for document in self.of(resource) if name_of(document) == name), None)

    def data(self, config_map: str) -> Mapping[str, str]:
        """Data of one of Knative's ConfigMaps; empty if there is none."""
        return string_map(self.named("configmaps", config_map), "data")

    @property
    def services(self) -> tuple[InferenceService, ...]:
        """The InferenceServices of the overlay."""
        return inference_services(self.manifests)

    @property
    def components(self) -> tuple[ServiceComponent, ...]:
        """Components of the overlay's InferenceServices."""
        return tuple(component for service in self.services for component in service.components)

    @property
    def service(self) -> Document:
        """The InferenceService as the cluster has it; empty if it was not read."""
        return self.named("inferenceservices", self.name) or {}

    @property
    def pods(self) -> tuple[Document, ...]:
        """The InferenceService's pods, without those that end: what was wrong with them is over."""
        return tuple(pod for pod in self.all_pods if not mapping(pod, "metadata").get("deletionTimestamp"))

    @property
    def all_pods(self) -> tuple[Document, ...]:
        """The InferenceService's pods."""
        return tuple(pod for pod in self.of("pods") if labels_of(pod).get(INFERENCE_SERVICE) == self.name)

    def events(self, *reasons: str) -> Iterator[Document]:
        """Warnings of the namespace with one of these reasons, since the InferenceService was created.

        The API server keeps events for an hour, those about an earlier one of the same name too.
        """
        created = str(mapping(self.service, "metadata").get("creationTimestamp") or "")
        for event in self.of("events"):
            last = str(event.get("lastTimestamp") or event.get("eventTime") or "")
            if event.get("reason") in reasons and (not last or last >= created):
                yield event

    def fix(self, command: str) -> str:
        """A kubectl command with the namespace."""
        return f"kubectl -n {self.namespace} {command}"


def name_of(document: Document) -> str:
    """``metadata.name``."""
    return str(mapping(document, "metadata").get("name", ""))


def labels_of(document: Document) -> Mapping[str, str]:
    """``metadata.labels``."""
    return string_map(document, "metadata", "labels")


def condition(document: Document, kind: str) -> Document:
    """The condition of a type in an object's status; empty if there is none."""
    return next((c for c in objects(document, "status", "conditions") if c.get("type") == kind), {})


def container_statuses(pod: Document) -> tuple[Document, ...]:
    """Statuses of a pod's containers, init containers first."""
    return (
        *objects(pod, "status", "initContainerStatuses"),
        *objects(pod, "status", "containerStatuses"),
    )
