"""Serves a recorded state as a Kubernetes API server, or as the two services, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

from tests.http_servers import open_server, serving, url_of
from tests.inferenceservices.doctor.states import NAMESPACE, Json

Routes = dict[str, object]
"""An answer by path: objects as JSON, or a text."""
_CORE = f"/api/v1/namespaces/{NAMESPACE}"
_PATHS = {
    "nodes": "/api/v1/nodes",
    "persistentvolumes": "/api/v1/persistentvolumes",
    "all-pods": "/api/v1/pods",
    "dns-pods": "/api/v1/namespaces/kube-system/pods",
    "pods": f"{_CORE}/pods",
    "events": f"{_CORE}/events",
    "secrets": f"{_CORE}/secrets",
    "persistentvolumeclaims": f"{_CORE}/persistentvolumeclaims",
    "resourcequotas": f"{_CORE}/resourcequotas",
    "deployments": "/apis/apps/v1/deployments",
    "storageclasses": "/apis/storage.k8s.io/v1/storageclasses",
    "prometheuses": "/apis/monitoring.coreos.com/v1/prometheuses",
    "scaledobjects": f"/apis/keda.sh/v1alpha1/namespaces/{NAMESPACE}/scaledobjects",
    "podautoscalers": f"/apis/autoscaling.internal.knative.dev/v1alpha1/namespaces/{NAMESPACE}/podautoscalers",
}


class RecordedServer:
    """A server of fixed answers; a path without one is 404."""

    def __init__(self) -> None:
        self.routes: Routes = {}
        self.refused: set[str] = set()
        """Paths that are answered with 403."""
        self.requests: list[tuple[str, str, str]] = []
        """Method, path and header Accept of every request."""
        self._http = open_server(_handler(self))

    @property
    def url(self) -> str:
        """Where it listens."""
        return url_of(self._http)

    @contextmanager
    def running(self) -> Iterator[RecordedServer]:
        """Serve until the end of the block."""
        with serving(self._http):
            yield self

    def answer(self, target: str) -> tuple[int, str]:
        """Status and body."""
        path, query = _path(target), parse_qs(urlsplit(target).query)
        if path in self.refused:
            return 403, _failure(403, f'User "eve" cannot list {path}')
        if path not in self.routes:
            return 404, _failure(404, f"{path} not found")
        found = self.routes[path]
        if isinstance(found, str):
            return 200, found
        wanted = query.get("fieldSelector", [""])[0].removeprefix("metadata.name=")
        if isinstance(found, list):
            items = [item for item in found if not wanted or item["metadata"]["name"] == wanted]
            found = {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items or None}
        return 200, json.dumps(found)


def cluster_routes(state: Json) -> Routes:
    """What an API server answers where the cluster is in a state."""
    objects: Mapping[str, list[Json]] = state["objects"]
    routes: Routes = {_PATHS[resource]: found for resource, found in objects.items() if resource in _PATHS}
    for config_map in objects.get("configmaps", []):
        routes[f"/api/v1/namespaces/knative-serving/configmaps/{config_map['metadata']['name']}"] = config_map
    for namespace in objects.get("namespaces", []):
        routes[f"/api/v1/namespaces/{namespace['metadata']['name']}"] = namespace
    for service in objects.get("inferenceservices", []):
        path = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices"
        routes[f"{path}/{service['metadata']['name']}"] = service
    groups = []
    for entry in objects.get("kinds", []):
        group, version = entry["group"], entry["version"]
        groups.append(
            {"name": group, "versions": [{"groupVersion": f"{group}/{version}", "version": version}]}
        )
        resources = [{"name": k.lower(), "kind": k, "namespaced": True, "singularName": "", "verbs": ["get"]}
                     for k in entry["kinds"]]  # fmt: skip
        routes[f"/apis/{group}/{version}"] = {"groupVersion": f"{group}/{version}", "resources": resources}
    routes["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    for (pod, _), log in state.get("logs", {}).items():
        routes[f"{_CORE}/pods/{pod}/log"] = log
    for pod in objects.get("pods", []):
        name, component = pod["metadata"]["name"], pod["metadata"]["labels"]["component"]
        texts = [text for key, text in state["metrics"].items() if key.startswith(component)]
        routes |= {f"{_CORE}/pods/{name}:8080/proxy/metrics": text for text in texts}
    return routes


def _handler(server: RecordedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PATCH(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            path = _path(self.path)
            server.requests.append((self.command, path, str(self.headers.get("Accept"))))
            status, text = server.answer(self.path)
            is_discovery = path.startswith("/apis") and path.count("/") < 4
            if is_discovery and self.headers.get("Content-Type") not in (None, "application/json"):
                status, text = 415, "415: Unsupported Media Type"
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if text.startswith("{") else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _failure(status: int, message: str) -> str:
    return json.dumps({"kind": "Status", "status": "Failure", "message": message, "code": status})


def _path(target: str) -> str:
    return unquote(urlsplit(target).path).rstrip("/")
