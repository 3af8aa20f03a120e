"""The API server of a cluster in Standard mode, as far as `yiwen rollout` asks it, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from inferenceservices.cluster import MERGE_PATCH
from inferenceservices.standard_rollout import Action, StandardStep
from tests.http_servers import open_server, serving, url_of
from tests.inferenceservices.api_server import failure, handler_of
from tests.inferenceservices.standard_kserve import StandardKServe
from tests.inferenceservices.test_gpu_capacity import node

Json = dict[str, Any]
KINDS = {"httproutes": "HTTPRoute", "grpcroutes": "GRPCRoute"}


class StandardApiServer:
    """The server; its controllers act whenever somebody asks for an InferenceService."""

    def __init__(self, kserve: StandardKServe) -> None:
        self.kserve = kserve
        self.config_maps: dict[str, Json] = {}
        self.services: list[Json] = []
        """Those that were created."""
        self.requests: list[str] = []
        self._http = open_server(handler_of(self))

    @property
    def address(self) -> str:
        return url_of(self._http)

    @contextmanager
    def running(self) -> Iterator[StandardApiServer]:
        with serving(self._http):
            yield self

    def proxied(self, target: str) -> str:
        return ""

    def answer(self, method: str, target: str, content_type: str, body: Json) -> tuple[int, Json]:
        *_, parent, last = urlsplit(target).path.split("/")
        self.requests.append(f"{method} {parent}/{last}")
        if method == "GET":
            return self._read(parent, last)
        if method == "DELETE":
            self.kserve.delete(last)
            return 200, {"kind": "Status", "status": "Success"}
        wanted = MERGE_PATCH if method == "PATCH" else "application/json"
        if content_type != wanted:
            return failure(415, f"the body of the request was in an unknown format: {content_type}")
        return self._create(last, body) if method == "POST" else self._patch(parent, last, body)

    def _read(self, parent: str, last: str) -> tuple[int, Json]:
        lists: dict[str, list[Json]] = {
            "deployments": list(self.kserve.deployments.values()),
            "resourcequotas": [],
            "nodes": [node()],
            "pods": [],
        }
        for plural, kind in KINDS.items():
            lists[plural] = [each for each in self.kserve.routes if each["kind"] == kind]
        if last in lists:
            return 200, {"kind": "List", "items": lists[last]}
        if parent == "inferenceservices":
            self.kserve.tick()
        found = self.kserve.services if parent == "inferenceservices" else self.config_maps
        return (200, found[last]) if last in found else failure(404, f'{parent} "{last}" not found')

    def _create(self, plural: str, body: Json) -> tuple[int, Json]:
        if plural == "inferenceservices":
            step = StandardStep(Action.CREATE, "", body=body)
            self.kserve.take(self.kserve.standard_rollout("yiwen"), step)
        elif plural == "configmaps":
            self.config_maps[body["metadata"]["name"]] = body
        else:
            self.services.append(body)
        return 201, body

    def _patch(self, parent: str, name: str, body: Json) -> tuple[int, Json]:
        if parent == "configmaps":
            if name not in self.config_maps:
                return failure(404, f'configmaps "{name}" not found')
            self.config_maps[name]["data"] |= body["data"]
            return 200, self.config_maps[name]
        place = self.kserve.services if parent == "inferenceservices" else None
        if place is not None:
            place[name] = self.kserve.patched(place[name], body)
            return 200, place[name]
        kind = KINDS[parent]
        for i, each in enumerate(self.kserve.routes):
            if each["kind"] == kind:
                self.kserve.routes[i] = self.kserve.patched(each, body)
        return 200, body
