"""A client of the Kubernetes API for rollouts and doctor: the only module that imports the package kubernetes.

The cluster is that of the kubeconfig (``KUBECONFIG`` or ``~/.kube/config``), or the pod's own inside a cluster. Every
call has a timeout, and every error says what to do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from inferenceservices.gpu_capacity import ClusterCapacity
from inferenceservices.release_change import release_of
from inferenceservices.rollout import RolloutStep
from inferenceservices.rollout_state import revision_names
from protocol.kubernetes.documents import Document, mapping, objects, string_map

KSERVE = "serving.kserve.io"
SERVICES = (KSERVE, "v1beta1", "inferenceservices")
RUNTIMES = (KSERVE, "v1alpha1", "servingruntimes")
REVISIONS = ("serving.knative.dev", "v1", "revisions")
"""Group, version and plural of the kinds that are read."""
Where = tuple[str, str, str]
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
FIELD_MANAGER = "yiwen-rollout"
MERGE_PATCH = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PAGE_SIZE = 500
"""Objects per page of a list."""
MAX_ATTEMPTS = 5
"""Attempts at an update that others keep overtaking."""
RETRY_DELAY_S = 0.2
"""Delay before the second attempt, seconds; it doubles with each further one."""


class ClusterError(Exception):
    """A call to the cluster failed; the message says why and how to fix it."""


class Conflict(ClusterError):
    """The object was changed since it was read (HTTP 409)."""


class PermissionDenied(ClusterError):
    """The caller lacks the permission (HTTP 403)."""


class ObjectNotFound(ClusterError):
    """There is no such object or kind (HTTP 404)."""


AnyClient = TypeVar("AnyClient", bound="ClusterClient")


class ClusterClient:
    """A client of one cluster's API server, for one namespace; a context manager."""

    def __init__(self, namespace: str | None, *, context: str | None = None, timeout_s: float = 10.0) -> None:
        """Read the credentials; no request is sent.

        Args:
            namespace: of the InferenceService; None: that of the kubeconfig's context, else ``default``.
            context: of the kubeconfig; None: the current one.
            timeout_s: of one call, seconds.

        Raises:
            ClusterError: there is no usable kubeconfig, nor a pod's own credentials.
        """
        self._namespace = namespace or _context_namespace(context)
        self._timeout_s = timeout_s
        # Connect and read timeouts: older versions of the package ignore a fraction of a second in a single number.
        self._timeouts = (timeout_s, timeout_s)
        self._api = client.ApiClient(_configuration(context))
        # Older versions of the package choose a wrong type for patches, the only requests with a body by this client.
        self._api.set_default_header("Content-Type", MERGE_PATCH)
        self._objects = client.CustomObjectsApi(self._api)
        self._core = client.CoreV1Api(self._api)
        # Of a Secret its name is enough: the API server is asked to leave out what is in it.
        self._metadata_api = client.ApiClient(self._api.configuration)
        self._metadata_api.set_default_header("Accept", METADATA_ONLY)
        self._metadata = client.CoreV1Api(self._metadata_api)
        self._creating_api = client.ApiClient(self._api.configuration)
        self._creating_api.set_default_header("Content-Type", "application/json")
        # The lists of groups and kinds are refused (415) where a request names another type, even without a body.
        self._groups = client.ApisApi(self._creating_api)
        self._kinds_of_groups = client.CustomObjectsApi(self._creating_api)

    def __enter__(self: AnyClient) -> AnyClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._api.close()
        self._creating_api.close()
        self._metadata_api.close()

    def inference_service(self, name: str) -> Document:
        """The InferenceService of that name.

        Raises:
            ClusterError: it is not there, or the cluster does not answer.
        """
        return self._get(f"InferenceService {self._namespace}/{name}", *SERVICES, name)

    def serving_runtimes(self, document: Document) -> dict[str, Document]:
        """The ServingRuntime that the predictor of ``document`` names, by name; empty if it cannot be read.

        Raises:
            ClusterError: the cluster does not answer.
        """
        name = str(mapping(document, "spec", "predictor", "model").get("runtime") or "")
        if not name:
            return {}
        try:
            return {name: self._get(f"ServingRuntime {self._namespace}/{name}", *RUNTIMES, name)}
        except (ObjectNotFound, PermissionDenied):
            return {}

    def releases(self, document: Document) -> dict[str, str]:
        """The release of each revision that the status of ``document`` names, without those that cannot be read.

        Raises:
            ClusterError: the cluster does not answer.
        """
        found: dict[str, str] = {}
        for name in sorted(revision_names(document)):
            try:
                revision = self._get(f"Revision {self._namespace}/{name}", *REVISIONS, name)
            except (ObjectNotFound, PermissionDenied):
                continue
            if release := release_of(mapping(revision, "spec")):
                found[name] = release
        return found

    def config_map(self, name: str) -> Mapping[str, str]:
        """The data of a ConfigMap; empty if it is not there.

        Raises:
            ClusterError: it cannot be read.
        """
        what = f"read ConfigMap {self._namespace}/{name}"
        try:
            found = self._document(what, self._core.read_namespaced_config_map, name, self._namespace)
        except ObjectNotFound:
            return {}
        return string_map(found, "data")

    def write_config_map(self, name: str, data: Mapping[str, str], owner: Document) -> None:
        """Change the data of a ConfigMap, or create it.

        Args:
            name: of the ConfigMap.
            data: its other keys stay.
            owner: the InferenceService with which it is deleted.

        Raises:
            ClusterError: the API server refused it, or does not answer.
        """
        what = f"write ConfigMap {self._namespace}/{name}"
        try:
            patch = self._core.patch_namespaced_config_map
            self._raw(what, patch, name, self._namespace, {"data": dict(data)}, field_manager=FIELD_MANAGER)
        except ObjectNotFound:
            body = {"metadata": {"name": name, **_owned_by(owner)}, "data": dict(data)}
            create = client.CoreV1Api(self._creating_api).create_namespaced_config_map
            self._raw(what, create, self._namespace, body, field_manager=FIELD_MANAGER)

    def update(self, name: str, plan: Callable[[Document], RolloutStep]) -> RolloutStep:
        """Read the InferenceService, plan a step and patch it, again from the start after a conflict.

        Args:
            name: of the InferenceService.
            plan: makes the step from the present document; its exceptions propagate.

        Raises:
            Conflict: every attempt met a conflict.
            ClusterError: the API server refused the patch, or does not answer.
        """
        delay_s = RETRY_DELAY_S
        for attempt in range(1, MAX_ATTEMPTS + 1):
            step = plan(self.inference_service(name))
            if not step.patch:
                return step
            try:
                self._patch(name, step.patch)
            except Conflict:
                if attempt == MAX_ATTEMPTS:
                    raise
                time.sleep(delay_s)
                delay_s *= 2
            else:
                return step
        raise AssertionError("unreachable: the last attempt returns or raises")

    def create_service(self, service: Document) -> None:
        """Create a Service, unless there is one of its name.

        Raises:
            PermissionDenied: the caller may not create Services.
            ClusterError: the API server refused it, or does not answer.
        """
        name = mapping(service, "metadata").get("name")
        with self._translate_errors(f"create Service {self._namespace}/{name}"):
            try:
                client.CoreV1Api(self._creating_api).create_namespaced_service(
                    self._namespace,
                    dict(service),
                    field_manager=FIELD_MANAGER,
                    _request_timeout=self._timeouts,
                )
            except ApiException as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise

    def capacity(self) -> ClusterCapacity:
        """Quotas of the namespace, and nodes and pods of the cluster; None for what the caller may not list.

        Raises:
            ClusterError: the cluster does not answer.
        """
        return ClusterCapacity(
            quotas=self._list("ResourceQuotas", self._core.list_namespaced_resource_quota, self._namespace),
            nodes=self._list("nodes", self._core.list_node),
            pods=self._list("pods", self._core.list_pod_for_all_namespaces),
        )

    def _patch(self, name: str, patch: Mapping[str, Any]) -> None:
        self._patch_object("InferenceService", SERVICES, name, patch)

    def _patch_object(self, kind: str, where: Where, name: str, patch: Mapping[str, Any]) -> None:
        """Send a merge patch of an object of the namespace."""
        with self._translate_errors(f"change {kind} {self._namespace}/{name}"):
            group, version, plural = where
            self._objects.patch_namespaced_custom_object(
                group, version, self._namespace, plural, name, dict(patch),
                field_manager=FIELD_MANAGER, _request_timeout=self._timeouts,
            )  # fmt: skip

    def _create_object(self, kind: str, where: Where, body: Document) -> None:
        with self._translate_errors(f"create {kind} in {self._namespace}"):
            group, version, plural = where
            client.CustomObjectsApi(self._creating_api).create_namespaced_custom_object(
                group, version, self._namespace, plural, dict(body),
                field_manager=FIELD_MANAGER, _request_timeout=self._timeouts,
            )  # fmt: skip

    def _delete_object(self, kind: str, where: Where, name: str) -> None:
        with self._translate_errors(f"delete {kind} {self._namespace}/{name}"):
            group, version, plural = where
            self._objects.delete_namespaced_custom_object(
                group, version, self._namespace, plural, name, _request_timeout=self._timeouts
            )

    def _get(self, what: str, group: str, version: str, plural: str, name: str) -> Document:
        with self._translate_errors(f"read {what}"):
            found: Document = self._objects.get_namespaced_custom_object(
                group, version, self._namespace, plural, name, _request_timeout=self._timeouts
            )
        return found

    def _list(self, what: str, method: Callable[..., Any], *arguments: str) -> tuple[Document, ...] | None:
        """All objects of a kind; None without the permission to list them."""
        try:
            return self._pages(what, method, *arguments)
        except PermissionDenied:
            return None

    def _pages(
        self, what: str, method: Callable[..., Any], *arguments: str, **selectors: str
    ) -> tuple[Document, ...]:
        """All objects of a kind, page by page."""
        found: list[Document] = []
        following: dict[str, str] = {}
        while True:
            plain = self._document(
                f"list {what}", method, *arguments, limit=PAGE_SIZE, **selectors, **following
            )
            found += objects(plain, "items")
            token = mapping(plain, "metadata").get("continue")
            if not token:
                return tuple(found)
            following = {"_continue": token}

    def _document(
        self, what: str, method: Callable[..., Any], *arguments: str, **options: object
    ) -> Document:
        """The JSON object of an answer."""
        try:
            found: Document = json.loads(self._raw(what, method, *arguments, **options))
        except ValueError:
            raise ClusterError(
                f"cannot {what}: the answer is not JSON: check the server of the kubeconfig"
            ) from None
        return found

    def _raw(self, what: str, method: Callable[..., Any], *arguments: object, **options: object) -> bytes:
        """The body of an answer as it came: the package's models refuse objects with fields they do not know."""
        with self._translate_errors(what):
            answer = method(*arguments, _request_timeout=self._timeouts, _preload_content=False, **options)
            return bytes(answer.data)

    @contextmanager
    def _translate_errors(self, what: str) -> Iterator[None]:
        """Turn the client's exceptions into ClusterErrors that say what failed and what to do."""
        try:
            yield
        except ApiException as error:
            raise _cluster_error(what, error) from None
        except HTTPError as error:
            host = self._api.configuration.host
            raise ClusterError(
                f"cannot {what}: the API server at {host} does not answer within {self._timeout_s:g} s "
                f"({type(error).__name__}): check the context of the kubeconfig and the way there"
            ) from None


def _owned_by(owner: Document) -> dict[str, Any]:
    metadata = mapping(owner, "metadata")
    if not metadata.get("uid"):
        return {}
    named = {key: metadata[key] for key in ("name", "uid")}
    return {"ownerReferences": [{"apiVersion": f"{KSERVE}/v1beta1", "kind": "InferenceService", **named}]}


def _configuration(context: str | None) -> client.Configuration:
    settings = client.Configuration()
    try:
        config.load_kube_config(context=context, client_configuration=settings)
    except (ConfigException, yaml.YAMLError, OSError) as error:
        if context is not None:
            raise ClusterError(
                f"the kubeconfig cannot be used: {error}; see kubectl config get-contexts"
            ) from None
        try:
            config.load_incluster_config(client_configuration=settings)
        except ConfigException:
            raise ClusterError(
                f"there is no cluster to talk to: {error}; set KUBECONFIG, or run inside of a cluster"
            ) from None
    # A user waits: one attempt within the timeout, then the reason.
    settings.retries = False
    return settings


def _context_namespace(context: str | None) -> str:
    """Namespace of a kubeconfig's context, as kubectl takes it; inside of a pod its own."""
    try:
        contexts, current = config.list_kube_config_contexts()
    except (ConfigException, yaml.YAMLError, OSError):
        return POD_NAMESPACE.read_text(encoding="utf-8").strip() if POD_NAMESPACE.exists() else "default"
    chosen = next((each for each in contexts if each["name"] == context), current)
    return str(mapping(chosen, "context").get("namespace") or "default")


def _cluster_error(what: str, error: ApiException) -> ClusterError:
    status, message = error.status, _message(error)
    if "admission webhook" in message:
        return ClusterError(f"cannot {what}: {message}")
    if status == 409:
        return Conflict(
            f"cannot {what}: somebody else keeps changing it; see who with --show-managed-fields, and retry"
        )
    if status == 401:
        return ClusterError(
            f"cannot {what}: the API server does not know the caller: log in to the cluster again"
        )
    if status == 403:
        return PermissionDenied(
            f"cannot {what}: {message}: ask for a Role that allows it, see docs/guides/canary.md"
        )
    if status == 404:
        return ObjectNotFound(
            f"cannot {what}: it is not there ({message}): check the name, --namespace and --context, and that "
            "KServe is installed"
        )
    return ClusterError(f"cannot {what}: the API server answers {status}: {message}")


def _message(error: ApiException) -> str:
    """The API server's message: ``message`` of its Status, or the reason of the HTTP response."""
    try:
        message = json.loads(error.body or "").get("message")
    except (ValueError, AttributeError):
        message = None
    return str(message or error.reason or "no reason given")
