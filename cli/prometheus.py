"""A client of a Prometheus server: queries, and the counters of a revision's pods."""

from __future__ import annotations

from typing import Any

import httpx
from prometheus_client.samples import Sample

from inferenceservices.canary.counters import METRIC_NAMES, ProcessCounters, sum_samples

REVISION_LABEL, SERVICE_LABEL = "serving_knative_dev_revision", "serving_kserve_io_inferenceservice"
"""Labels that the component monitoring gives every series: the revision in Knative mode, and the InferenceService."""


class PrometheusError(Exception):
    """Prometheus does not answer as expected; the message says how to fix it."""


class PrometheusClient:
    """A client of Prometheus' HTTP API."""

    def __init__(
        self, url: str, *, timeout_s: float, namespace: str = "", label: str = REVISION_LABEL
    ) -> None:
        """Connect at the first query.

        Args:
            url: of the server, without ``/api/v1``.
            timeout_s: of one query, seconds.
            namespace: of the pods whose counters are read.
            label: whose value tells the two releases apart.
        """
        self._label = label
        self._url = url.rstrip("/")
        self._namespace = namespace
        self._timeout_s = timeout_s

    def counters(self, revision: str) -> ProcessCounters:
        """The newest counters of each transformer of a release, by its revision or its InferenceService.

        Raises:
            PrometheusError: there is no usable answer.
        """
        names = "|".join(METRIC_NAMES)
        labels = f'__name__=~"{names}",component="transformer",{self._label}="{revision}"'
        by_pod: dict[str, list[Sample]] = {}
        for found, value in self.query(f'{{{labels},namespace="{self._namespace}"}}'):
            pod = found.get("pod") or found.get("instance", "")
            by_pod.setdefault(pod, []).append(Sample(found["__name__"], found, value))
        return {pod: sum_samples(samples) for pod, samples in by_pod.items()}

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and present value of each series of a query.

        Raises:
            PrometheusError: there is no usable answer.
        """
        return [(series["metric"], float(series["value"][1])) for series in self._vector(expression)]

    def _vector(self, expression: str) -> list[dict[str, Any]]:
        try:
            answer = httpx.post(
                f"{self._url}/api/v1/query",
                data={"query": expression},
                timeout=self._timeout_s,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PrometheusError(
                f"no answer from Prometheus at {self._url} ({type(error).__name__}: {error}): check --prometheus"
            ) from None
        try:
            document = answer.json()
            if document.get("status") == "error":
                raise PrometheusError(f"Prometheus at {self._url} refuses a query: {document.get('error')}")
            result: list[dict[str, Any]] = document["data"]["result"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise PrometheusError(
                f"{self._url}/api/v1/query answers {answer.status_code}, and no result: check that --prometheus is "
                "the URL of a Prometheus server"
            ) from None
        return result
