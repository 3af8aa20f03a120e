"""A fake of the Kubernetes API server and KServe's controller, over HTTP.

It keeps one InferenceService, ResourceQuotas, nodes and pods; it merges patches (RFC 7386), counts resourceVersions,
refuses stale ones, and lists page by page. After each change it does at once what KServe and Knative do in time:
makes a revision of each component whose template changed, splits traffic by ``ksvc_reconciler.go`` and moves the
rolled out revisions by ``inference_service_status.go`` of kserve/kserve aaac4e29. There are no pods: a test says
which revision does not come up. What the real ones do besides (admission, defaults, autoscaling) is not here.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol
from urllib.error import URLError
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import urlopen

from inferenceservices.knative_service import knative_services
from protocol.kubernetes.documents import mapping
from protocol.kubernetes.inference_service import InferenceService
from tests.http_servers import open_server, serving, url_of

Json = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"


@dataclass
class Revision:
    name: str
    template: str
    """As JSON."""
    ready: bool


@dataclass
class Controller:
    """The status that KServe and Knative give an InferenceService."""

    document: Json
    starts: Callable[[str], bool] = lambda name: True
    """Whether the pods of a revision become ready, by its name."""
    revisions: dict[str, list[Revision]] = field(default_factory=dict)

    @property
    def templates(self) -> dict[str, Json]:
        """Each revision by name, with its spec as a Revision has it."""
        made = [revision for revisions in self.revisions.values() for revision in revisions]
        return {revision.name: json.loads(revision.template) for revision in made}

    def reconcile(self) -> None:
        before: object = None
        while before is None or before != self.document["status"]:
            before = copy.deepcopy(self.document.get("status", {}))
            self._reconcile_once()

    def start_newest(self) -> None:
        """The newest revisions become ready, whatever ``starts`` said of them."""
        for revisions in self.revisions.values():
            revisions[-1].ready = True
        self.reconcile()

    def revision(self, component: str, number: int) -> str:
        return f"{self.document['metadata']['name']}-{component}-{number:05d}"

    def _reconcile_once(self) -> None:
        status = self.document.setdefault("status", {})
        conditions = []
        for service in knative_services(InferenceService(self.document, {})):
            component = service["spec"]["template"]["metadata"]["labels"]["component"]
            revisions = self.revisions.setdefault(component, [])
            template = json.dumps(service["spec"]["template"], sort_keys=True)
            if not revisions or revisions[-1].template != template:
                name = self.revision(component, len(revisions) + 1)
                revisions.append(Revision(name, template, self.starts(name)))
            kept = status.setdefault("components", {}).setdefault(component, {})
            self._route(component, kept, revisions)
            newest = revisions[-1]
            condition = {"type": f"{component.capitalize()}Ready", "status": str(newest.ready)}
            if not newest.ready:
                condition |= {
                    "reason": "RevisionFailed",
                    "message": f"Revision {newest.name} failed: no plan",
                }
            conditions.append(condition)
        status["conditions"] = conditions
        status["observedGeneration"] = self.document["metadata"]["generation"]

    def _route(self, component: str, status: Json, revisions: list[Revision]) -> None:
        """``createKnativeService``'s traffic, Knative's answer to it, and ``PropagateStatus``."""
        created = revisions[-1].name
        ready = next((revision.name for revision in reversed(revisions) if revision.ready), "")
        last, percent = (
            status.get("latestRolledoutRevision", ""),
            self.document["spec"][component].get("canaryTrafficPercent"),
        )
        split = percent is not None and last
        tagged = mapping(self.document, "metadata", "annotations").get("serving.kserve.io/enable-tag-routing")
        traffic = [self._target(component, ready, percent if split else 100, tagged and "latest")]
        traffic[0]["latestRevision"] = True
        if split and percent < 100:
            traffic.append(self._target(component, last, 100 - percent, "prev"))
        if ready:
            status |= {"latestReadyRevision": ready, "traffic": traffic}
            if last != ready and traffic[0]["percent"] == 100:
                status |= {"previousRolledoutRevision": last, "latestRolledoutRevision": ready}
            elif last == ready == created and traffic[0]["percent"] < 100:
                share = sum(t["percent"] for t in traffic if t["revisionName"] == ready)
                if share == 100 and status.get("previousRolledoutRevision"):
                    status["latestRolledoutRevision"] = status["previousRolledoutRevision"]
        status["latestCreatedRevision"] = created

    def _target(self, component: str, revision: str, percent: int, tag: object) -> Json:
        target: Json = {"revisionName": revision, "percent": percent, "latestRevision": False}
        if tag:
            name, namespace = self.document["metadata"]["name"], self.document["metadata"]["namespace"]
            target |= {"tag": tag, "url": f"http://{tag}-{name}-{component}.{namespace}.example.com"}
        return target


class ApiServer:
    """The server; everything that a test may set is an attribute."""

    def __init__(self, service: Json) -> None:
        metadata = {**service["metadata"], "resourceVersion": "1", "generation": 1}
        self.controller = Controller({**copy.deepcopy(service), "metadata": metadata})
        self.lists: dict[str, list[Json]] = {"resourcequotas": [], "nodes": [], "pods": []}
        self.runtimes: dict[str, Json] = {}
        self.refusals: dict[str, tuple[int, str]] = {}
        """HTTP status and message by the last part of the path."""
        self.before_patch: list[Callable[[], None]] = []
        """Called just before the next patches: concurrent changes."""
        self.after_write: Callable[[str], None] = lambda request: None
        """Called with method and path when a change is done and not answered yet."""
        self.config_maps: dict[str, Json] = {}
        """ConfigMaps by name."""
        self.pod_addresses: dict[str, str] = {}
        """Where a pod's port 8080 is reached, by its name."""
        self.services: dict[str, Json] = {}
        """Services by name."""
        self.patches: list[Json] = []
        """Bodies of those that were accepted."""
        self.requests: list[str] = []
        self.released = threading.Event()
        self.silent = False
        """Whether answers wait until ``released``."""
        self._http = open_server(handler_of(self))
        self._lock = threading.Lock()

    @property
    def document(self) -> Json:
        return self.controller.document

    @property
    def address(self) -> str:
        return url_of(self._http)

    @contextmanager
    def running(self) -> Iterator[ApiServer]:
        self.controller.reconcile()
        with serving(self._http):
            try:
                yield self
            finally:
                self.released.set()

    def apply(self, patch: Json) -> None:
        """Merge a patch, as anybody may, and let the controller act."""
        before = copy.deepcopy(self.document["spec"])
        version, generation = (self.document["metadata"][key] for key in ("resourceVersion", "generation"))
        _merge(self.document, patch)
        metadata = self.document["metadata"]
        metadata["resourceVersion"] = str(int(version) + 1)
        metadata["generation"] = generation + (self.document["spec"] != before)
        self.controller.reconcile()

    def became_ready(self, name: str) -> None:
        """The pods of a revision have become ready."""
        with self._lock:
            for revisions in self.controller.revisions.values():
                for revision in revisions:
                    revision.ready = revision.ready or revision.name == name
            self.controller.reconcile()

    def answer(self, method: str, target: str, content_type: str, body: Json) -> tuple[int, Json]:
        found = self._answer(method, target, content_type, body)
        if method != "GET":
            self.after_write(f"{method} {target}")
        return found

    def _answer(self, method: str, target: str, content_type: str, body: Json) -> tuple[int, Json]:
        if self.silent:
            self.released.wait()
        path = urlsplit(target).path
        *_, parent, last = path.split("/")
        with self._lock:
            self.requests.append(f"{method} {path}")
            if last in self.refusals:
                return failure(*self.refusals[last])
            if method == "POST" and last == "services":
                return self._create_service(content_type, body)
            if "configmaps" in (parent, last):
                return self._config_map(method, last, body)
            if last in self.lists:
                query = parse_qs(urlsplit(target).query)
                return 200, _page(_selected(self.lists[last], query), query)
            if parent == "revisions" and last in self.controller.templates:
                return 200, self.controller.templates[last]
            if parent == "servingruntimes" and last in self.runtimes:
                return 200, self.runtimes[last]
            if not path.endswith(self._path):
                return failure(404, f'{parent}.serving.kserve.io "{last}" not found')
            return self._patch(content_type, body) if method == "PATCH" else (200, self.document)

    @property
    def _path(self) -> str:
        metadata = self.document["metadata"]
        return f"/serving.kserve.io/v1beta1/namespaces/{metadata['namespace']}/inferenceservices/{metadata['name']}"

    def proxied(self, target: str) -> str:
        """The address behind a pod's subresource ``proxy``; empty for another path."""
        pod, _, rest = unquote(urlsplit(target).path).partition("/pods/")[2].partition(":8080/proxy/")
        return f"{self.pod_addresses[pod]}/{rest}" if pod in self.pod_addresses and rest else ""

    def _config_map(self, method: str, name: str, body: Json) -> tuple[int, Json]:
        """A ConfigMap that is read, changed, or (by POST to the list of them) created."""
        if method == "POST":
            self.config_maps[body["metadata"]["name"]] = body
            return 201, body
        if name not in self.config_maps:
            return failure(404, f'configmaps "{name}" not found')
        _merge(self.config_maps[name], body)
        return 200, self.config_maps[name]

    def _create_service(self, content_type: str, body: Json) -> tuple[int, Json]:
        if content_type != "application/json":
            return failure(415, f"the body of the request was in an unknown format: {content_type}")
        name = body["metadata"]["name"]
        if name in self.services:
            return failure(409, f'services "{name}" already exists')
        self.services[name] = body
        return 201, body

    def _patch(self, content_type: str, body: Json) -> tuple[int, Json]:
        if self.before_patch:
            self.before_patch.pop(0)()
        if content_type != MERGE_PATCH:
            return failure(415, f"the body of the request was in an unknown format: {content_type}")
        version = body.get("metadata", {}).get("resourceVersion")
        if version not in (None, self.document["metadata"]["resourceVersion"]):
            return failure(409, "the object has been modified")
        self.patches.append(body)
        self.apply(body)
        return 200, self.document


class Answering(Protocol):
    """What a server's handler asks."""

    def answer(self, method: str, target: str, content_type: str, body: Json) -> tuple[int, Json]: ...

    def proxied(self, target: str) -> str: ...


def handler_of(server: Answering) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if address := server.proxied(self.path):
                self._forward(address)
            else:
                self._do("GET")

        def do_PATCH(self) -> None:
            self._do(self.command)

        do_POST = do_DELETE = do_PATCH  # noqa: N815  the names that the library calls

        def _forward(self, address: str) -> None:
            try:
                with urlopen(address, timeout=5) as answer:
                    status, content = answer.status, answer.read()
            except URLError as error:
                status, content = 503, json.dumps(failure(503, str(error))[1]).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

        def _do(self, method: str) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            status, answer = server.answer(method, self.path, str(self.headers.get("Content-Type")), body)
            content = json.dumps(answer).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                pass  # the client did not wait

    return Handler


def failure(status: int, message: str) -> tuple[int, Json]:
    return status, {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "code": status,
    }


def _selected(items: list[Json], query: dict[str, list[str]]) -> list[Json]:
    """Those with the labels of the selector ``name=value``, if there is one."""
    wanted = dict(
        pair.split("=") for selector in query.get("labelSelector", []) for pair in selector.split(",")
    )
    return [item for item in items if wanted.items() <= mapping(item, "metadata", "labels").items()]


def _page(items: list[Json], query: dict[str, list[str]]) -> Json:
    start = int(query.get("continue", ["0"])[0])
    end = start + int(query.get("limit", ["500"])[0])
    metadata = {"continue": str(end)} if end < len(items) else {}
    return {"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items[start:end]}


def _merge(target: Json, patch: Json) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        elif isinstance(value, dict):
            target[key] = {}
            _merge(target[key], value)
        else:
            target[key] = value
