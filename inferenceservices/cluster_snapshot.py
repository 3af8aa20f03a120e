"""Reads what `yiwen doctor` looks at from a cluster. Nothing is changed, and of Secrets only names are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from inferenceservices.cluster import ClusterClient, ClusterError, ObjectNotFound, PermissionDenied
from inferenceservices.doctor.load import PREDICTOR_METRICS, TRANSFORMER_METRICS
from inferenceservices.doctor.platform import (
    ISTIO_DEPLOYMENT,
    KEDA_DEPLOYMENT,
    KNATIVE_GROUP,
    KSERVE_DEPLOYMENT,
)
from inferenceservices.doctor.snapshot import (
    COMPONENT,
    INFERENCE_SERVICE,
    ClusterSnapshot,
    condition,
    container_statuses,
    labels_of,
    name_of,
)
from protocol.kubernetes.documents import Document, mapping, objects

KNATIVE_NAMESPACE, DNS_NAMESPACE = "knative-serving", "kube-system"
CONFIG_MAPS = ("config-features", "config-defaults", "config-autoscaler")
DNS_PODS = "k8s-app in (kube-dns, node-local-dns)"
METRICS_PORT = 8080
LOG_LINES = 20
"""Of a container that ended: the last line says why."""
ASKED_PODS = 3
"""Pods of a component whose metrics are read."""

Documents = tuple[Document, ...]


class ClusterReader(ClusterClient):
    """A client that reads what is needed for a diagnosis."""

    @property
    def namespace(self) -> str:
        """The namespace that is read."""
        return self._namespace

    def core_objects(self, resource: str, method: str, *arguments: str, **selectors: str) -> Documents:
        """Objects of the core API, by the client's method that lists them.

        Raises:
            ClusterError: they cannot be listed.
        """
        return self._pages(resource, getattr(self._core, method), *arguments, **selectors)

    def secret_names(self) -> Documents:
        """The Secrets of the namespace, without what is in them.

        Raises:
            ClusterError: they cannot be listed.
        """
        found = self._pages("Secrets", self._metadata.list_namespaced_secret, self._namespace)
        return tuple({"metadata": {"name": name_of(secret)}} for secret in found)

    def grouped(
        self, group: str, version: str, plural: str, *, everywhere: bool, fields: str = ""
    ) -> Documents:
        """Objects of an API group; empty if the cluster has no such kind.

        Args:
            group: of the API.
            version: of the group.
            plural: name of the resource.
            everywhere: in all namespaces, or of no namespace.
            fields: a field selector.

        Raises:
            ClusterError: they cannot be listed.
        """
        selectors = {"field_selector": fields} if fields else {}
        if everywhere:
            return self._pages(
                plural, self._objects.list_cluster_custom_object, group, version, plural, **selectors
            )
        method = self._objects.list_namespaced_custom_object
        return self._pages(plural, method, group, version, self._namespace, plural, **selectors)

    def object(self, what: str, method: str, *arguments: str) -> Documents:
        """One object of the core API.

        Raises:
            ClusterError: it cannot be read.
        """
        return (self._document(f"read {what}", getattr(self._core, method), *arguments),)

    def served_kinds(self, groups: Iterable[str]) -> Documents:
        """Kinds of API groups, one entry for each version that is served.

        Raises:
            ClusterError: the cluster does not answer.
        """
        wanted = frozenset(groups)
        found: list[Document] = []
        served = self._document("list API groups", self._groups.get_api_versions)
        for group in objects(served, "groups"):
            name = str(group.get("name"))
            if name in wanted:
                found += [self._kinds(name, str(v.get("version"))) for v in objects(group, "versions")]
        return tuple(found)

    def last_lines(self, pod: str, container: str, *, previous: bool) -> str:
        """The last lines of a container's log.

        Raises:
            ClusterError: it cannot be read.
        """
        log = self._raw(
            f"read the log of {pod}", self._core.read_namespaced_pod_log, pod, self._namespace,
            container=container, previous=previous, tail_lines=LOG_LINES,
        )  # fmt: skip
        return log.decode("utf-8", "replace")

    def pod_metrics(self, pod: str) -> str:
        """The metrics of a pod, through the API server.

        Raises:
            ClusterError: the pod cannot be reached in this way.
        """
        method = self._core.connect_get_namespaced_pod_proxy_with_path
        where = f"{pod}:{METRICS_PORT}", self._namespace, "metrics"
        return self._raw(f"read the metrics of {pod}", method, *where).decode("utf-8", "replace")

    def _kinds(self, group: str, version: str) -> Document:
        method = self._kinds_of_groups.get_api_resources
        plain = self._document(f"list the kinds of {group}/{version}", method, group, version)
        kinds = sorted({str(each.get("kind")) for each in objects(plain, "resources")})
        return {"group": group, "version": version, "kinds": kinds}


class _Seen:
    """What could be read, and why the rest could not."""

    def __init__(self) -> None:
        self.objects: dict[str, Documents] = {}
        self.unseen: dict[str, str] = {}

    def see(self, resource: str, read: Callable[[], Documents]) -> None:
        """Read a resource; what is not there is seen to be empty."""
        try:
            self.objects[resource] = (*self.objects.get(resource, ()), *read())
        except ObjectNotFound:
            self.objects.setdefault(resource, ())
        except PermissionDenied as error:
            self.unseen[resource] = str(error)


def cluster_before(reader: ClusterReader, manifests: Documents) -> ClusterSnapshot:
    """The cluster that ``manifests`` are to be applied to.

    Raises:
        ClusterError: the cluster does not answer.
    """
    seen = _Seen()
    groups = {str(document.get("apiVersion")).rpartition("/")[0] for document in manifests}
    seen.see("kinds", lambda: reader.served_kinds({*groups, KNATIVE_GROUP}))
    for name in CONFIG_MAPS:
        read = partial(reader.object, f"ConfigMap {name}", "read_namespaced_config_map")
        seen.see("configmaps", partial(read, name, KNATIVE_NAMESPACE))
    for name in (KSERVE_DEPLOYMENT, KEDA_DEPLOYMENT, ISTIO_DEPLOYMENT):
        deployed = partial(reader.grouped, "apps", "v1", "deployments", everywhere=True)
        seen.see("deployments", partial(deployed, fields=f"metadata.name={name}"))
    for resource, group in (("storageclasses", "storage.k8s.io"), ("prometheuses", "monitoring.coreos.com")):
        seen.see(resource, partial(reader.grouped, group, "v1", resource, everywhere=True))
    namespace = reader.namespace
    seen.see("namespaces", lambda: reader.object(f"namespace {namespace}", "read_namespace", namespace))
    seen.see("dns-pods", lambda: reader.core_objects(
        "DNS pods", "list_namespaced_pod", DNS_NAMESPACE, label_selector=DNS_PODS))  # fmt: skip
    seen.see("secrets", reader.secret_names)
    seen.see("persistentvolumes", lambda: reader.core_objects("volumes", "list_persistent_volume"))
    seen.see("nodes", lambda: reader.core_objects("nodes", "list_node"))
    seen.see("all-pods", lambda: reader.core_objects("pods", "list_pod_for_all_namespaces"))
    _see_namespace(
        seen, reader, persistent_volume_claim="persistentvolumeclaims", resource_quota="resourcequotas"
    )
    seen.see("inferenceservices", partial(_services, reader))
    return ClusterSnapshot(namespace, manifests=manifests, objects=seen.objects, unseen=seen.unseen)


def cluster_after(reader: ClusterReader, name: str) -> ClusterSnapshot:
    """An InferenceService with its pods, their logs and their metrics.

    Raises:
        ClusterError: it is not there, or the cluster does not answer.
    """
    seen = _Seen()
    seen.objects["inferenceservices"] = (reader.inference_service(name),)
    label = f"{INFERENCE_SERVICE}={name}"
    seen.see("pods", lambda: reader.core_objects(
        "pods", "list_namespaced_pod", reader.namespace, label_selector=label))  # fmt: skip
    seen.see("nodes", lambda: reader.core_objects("nodes", "list_node"))
    _see_namespace(seen, reader, event="events")
    for resource, group in (
        ("scaledobjects", "keda.sh"), ("podautoscalers", "autoscaling.internal.knative.dev"),
    ):  # fmt: skip
        seen.see(resource, partial(reader.grouped, group, "v1alpha1", resource, everywhere=False))
    pods = seen.objects.get("pods", ())
    logs = _logs(seen, reader, pods)
    metrics = _metrics(seen, reader, pods)
    return ClusterSnapshot(reader.namespace, name, (), seen.objects, seen.unseen, logs, metrics)


def _services(reader: ClusterReader) -> Documents:
    return reader.grouped("serving.kserve.io", "v1beta1", "inferenceservices", everywhere=False)


def _see_namespace(seen: _Seen, reader: ClusterReader, **resources: str) -> None:
    """Read resources of the namespace, given by the name in the client's methods."""
    for singular, plural in resources.items():
        read = partial(reader.core_objects, plural, f"list_namespaced_{singular}", reader.namespace)
        seen.see(plural, read)


def _logs(seen: _Seen, reader: ClusterReader, pods: Documents) -> Mapping[tuple[str, str], str]:
    """Logs of the containers that ended with an error."""
    found = {}
    for pod in pods:
        for status in container_statuses(pod):
            if not any(_failed(status, state) for state in ("state", "lastState")):
                continue
            key = name_of(pod), str(status.get("name"))
            try:
                found[key] = reader.last_lines(*key, previous=not _failed(status, "state"))
            except PermissionDenied as error:
                seen.unseen["logs"] = str(error)
            except ClusterError:
                continue  # the container's log is gone with it
    return found


def _failed(status: Document, state: str) -> bool:
    return bool(mapping(status, state, "terminated").get("exitCode"))


def _stays(pod: Document) -> bool:
    """Whether a pod does not end; one that does says how things were, perhaps of another release."""
    return not mapping(pod, "metadata").get("deletionTimestamp")


def _metrics(seen: _Seen, reader: ClusterReader, pods: Documents) -> Mapping[str, str]:
    """Metrics of some ready pods of each component."""
    found: dict[str, str] = {}
    for component, what in (("predictor", PREDICTOR_METRICS), ("transformer", TRANSFORMER_METRICS)):
        ours: list[Any] = [pod for pod in pods if labels_of(pod).get(COMPONENT) == component and _stays(pod)]
        running = [pod for pod in ours if condition(pod, "ContainersReady").get("status") == "True"]
        # A transformer that finds no predictor runs, and is not ready.
        running += [p for p in ours if p not in running and mapping(p, "status").get("phase") == "Running"]
        reason = f"no {component} runs"
        for pod in running[:ASKED_PODS]:
            try:
                found[f"{component}/{name_of(pod)}"] = reader.pod_metrics(name_of(pod))
            except ClusterError as error:
                reason = str(error)
        if not any(key.startswith(component) for key in found):
            seen.unseen[what] = reason
    return found
