"""An HTTP server that answers for transformers of two releases with the metrics of the services' own code.

Each reading of a pod's metrics serves it some requests before, so that tests need no clock. It also answers
Prometheus' queries for a revision from the same metrics.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from protocol.error_codes import ErrorCode
from protocol.messages import CacheStatus
from serving.metrics import LabelledRegistry, Operation, RequestMetrics
from tests.http_servers import open_server, serving, url_of
from transformer.metrics.transformer_metrics import TransformerMetrics


@dataclass
class TransformerPod:
    """A pod that answers ``requests`` requests between two readings of its metrics."""

    name: str
    revision: str
    requests: int
    seconds: float = 0.2
    errors: float = 0.0
    flags: float = 0.0
    confidence: float = 0.95
    readings: int = 0
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self._requests = RequestMetrics("yiwen", self.registry)
        self._metrics = TransformerMetrics(self.registry)
        self._rng = np.random.default_rng(len(self.name))
        self.shown = LabelledRegistry({"component": "transformer", "release": "any"}, self.registry)

    def read(self) -> None:
        """Serve the requests that come before a reading."""
        self.readings += 1
        failed = round(self.requests * self.errors)
        operation = Operation("rest", endpoint="infer")
        for seconds in self.seconds * self._rng.lognormal(0, 0.6, self.requests - failed):
            self._requests.started()
            self._requests.finished(operation, 200, float(seconds))
            self._metrics.predictor_seconds.observe(float(seconds))
        for _ in range(failed):
            self._requests.started()
            self._requests.finished(operation, 503, 0.01, ErrorCode.PREDICTOR_UNREACHABLE)
        answered = self.requests - failed
        self._metrics.guard_failures.labels("length").inc(round(answered * self.flags))
        for _ in range(answered):
            self._metrics.confidence.observe(self.confidence)
        self._metrics.answered(source="en", target="zh", cache=CacheStatus.MISS, characters=[9] * answered)


class MetricsServer:
    """The server; pods may be added and taken away while it runs."""

    def __init__(self) -> None:
        self.pods: dict[str, TransformerPod] = {}
        self.queries: list[str] = []
        self._http = open_server(_handler(self))

    @property
    def address(self) -> str:
        return url_of(self._http)

    @contextmanager
    def running(self) -> Iterator[MetricsServer]:
        with serving(self._http):
            yield self

    def metrics(self, pod: str) -> bytes | None:
        """A pod's metrics in Prometheus' text format; None if there is no such pod."""
        if pod not in self.pods:
            return None
        self.pods[pod].read()
        return generate_latest(self.pods[pod].shown)

    def query(self, expression: str) -> bytes:
        """A vector of the samples that a selector of names and a revision asks for."""
        self.queries.append(expression)
        (names,) = re.findall(r'__name__=~"([^"]+)"', expression)
        (revision,) = re.findall(r'serving_knative_dev_revision="([^"]+)"', expression)
        result = []
        for pod in [each for each in self.pods.values() if each.revision == revision]:
            pod.read()
            for sample in [sample for family in pod.shown.collect() for sample in family.samples]:
                if re.fullmatch(names, sample.name):
                    labels = {"__name__": sample.name, "pod": pod.name, **sample.labels}
                    result.append({"metric": labels, "value": [0, str(sample.value)]})
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


def _handler(server: MetricsServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(server.metrics(self.path.split("/")[1]))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            is_query = self.path == "/api/v1/query"
            self._answer(server.query(parse_qs(body)["query"][0]) if is_query else None)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, content: bytes | None) -> None:
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

    return Handler
