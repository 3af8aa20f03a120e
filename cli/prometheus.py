"""Reads the counters of a revision's pods from a Prometheus server."""

from __future__ import annotations

from typing import Any

import httpx
from prometheus_client.samples import Sample

from inferenceservices.canary.counters import METRIC_NAMES, ProcessCounters, sum_samples

REVISION_LABEL = "serving_knative_dev_revision"
"""Label that the component monitoring gives every series."""


class PrometheusError(Exception):
    """Prometheus does not answer as expected; the message says how to fix it."""


class PrometheusClient:
    """A client of Prometheus' HTTP API."""

    def __init__(self, url: str, *, namespace: str, timeout_s: float) -> None:
        """Connect at the first query.

        Args:
            url: of the server, without ``/api/v1``.
            namespace: of the pods.
            timeout_s: of one query, seconds.
        """
        self._url = url.rstrip("/")
        self._namespace = namespace
        self._timeout_s = timeout_s

    def counters(self, revision: str) -> ProcessCounters:
        """The newest counters of each pod of a revision.

        Raises:
            PrometheusError: there is no usable answer.
        """
        names = "|".join(METRIC_NAMES)
        labels = f'__name__=~"{names}",component="transformer",{REVISION_LABEL}="{revision}"'
        by_pod: dict[str, list[Sample]] = {}
        for series in self._query(f'{{{labels},namespace="{self._namespace}"}}'):
            found = series["metric"]
            pod = found.get("pod") or found.get("instance", "")
            by_pod.setdefault(pod, []).append(Sample(found["__name__"], found, float(series["value"][1])))
        return {pod: sum_samples(samples) for pod, samples in by_pod.items()}

    def _query(self, expression: str) -> list[dict[str, Any]]:
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
            result: list[dict[str, Any]] = answer.json()["data"]["result"]
        except (ValueError, KeyError, TypeError):
            raise PrometheusError(
                f"{self._url}/api/v1/query answers {answer.status_code}, and no result: check that --prometheus is "
                "the URL of a Prometheus server"
            ) from None
        return result
