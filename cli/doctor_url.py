"""Reads a running service by its URL for `yiwen doctor`: what it is, whether it is ready, its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from inferenceservices.doctor.load import PREDICTOR_METRICS, TRANSFORMER_METRICS
from inferenceservices.doctor.snapshot import ClusterSnapshot
from protocol.kubernetes.documents import mapping

TRANSFORMER_PORT, PREDICTOR_PORT = 8080, 8082
"""Ports of `yiwen serve`."""


class Unreachable(Exception):
    """Nothing answers at the URL; the message says how to fix it."""


def predictor_url_of(url: str) -> str:
    """The predictor's URL beside a transformer of `yiwen serve`; empty for another port."""
    found = httpx.URL(url)
    return str(found.copy_with(port=PREDICTOR_PORT)).rstrip("/") if found.port == TRANSFORMER_PORT else ""


def read_service(
    url: str, predictor_url: str, headers: Mapping[str, str], timeout_s: float
) -> ClusterSnapshot:
    """What the two servers say of themselves.

    Args:
        url: of the transformer.
        predictor_url: empty if it is not known.
        headers: of requests to the transformer.
        timeout_s: of one request, seconds.

    Raises:
        Unreachable: nothing answers at ``url``.
    """
    servers: list[Mapping[str, Any]] = []
    metrics: dict[str, str] = {}
    unseen: dict[str, str] = {}
    addresses: tuple[tuple[str, str, Mapping[str, str], str], ...] = (
        ("transformer", url, headers, TRANSFORMER_METRICS),
        ("predictor", predictor_url, {}, PREDICTOR_METRICS),
    )
    for process, address, sent, what in addresses:
        if not address:
            unseen[what] = "the predictor's address is not known: give --predictor-url"
            continue
        try:
            with httpx.Client(base_url=address, headers=sent, timeout=timeout_s) as client:
                servers.append(_server(client, process, address))
                answer = client.get("/metrics")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            message = f"no answer from {address}/v2 ({type(error).__name__}: {error})"
            if process == "transformer":
                raise Unreachable(f"{message}: check --url, and that the service runs") from None
            unseen[what] = f"{message}: give --predictor-url"
            continue
        if answer.status_code == httpx.codes.OK:
            metrics[process] = answer.text
        else:
            unseen[what] = (
                f"{address}/metrics answers {answer.status_code} (with YIWEN_METRICS_PORT they are there)"
            )
    return ClusterSnapshot("default", objects={"servers": tuple(servers)}, unseen=unseen, metrics=metrics)


def _server(client: httpx.Client, process: str, address: str) -> Mapping[str, Any]:
    about, ready = client.get("/v2"), client.get("/v2/health/ready")
    try:
        described = mapping(about.json())
    except ValueError:
        described = {}
    return {
        "process": process,
        "url": address,
        "name": described.get("name"),
        "version": described.get("version"),
        "ready": ready.status_code,
        "message": ready.text[:200],
    }
