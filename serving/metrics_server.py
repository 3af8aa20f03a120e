"""``/metrics`` for Prometheus, on the port of REST or on one of its own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping

import uvicorn
from prometheus_client import disable_created_metrics, exposition
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.http_protocol import LimitedHttpProtocol
from serving.metrics import LabelledRegistry

_CLOSE_S = 1
"""Seconds for a scrape to end at a shutdown."""


class MetricsEndpoint:
    """Handler of ``GET /metrics``."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        """Show the process's metrics, ours with further ``labels``."""
        self._registry = LabelledRegistry(labels)
        # A gauge beside each counter and histogram, with the time of its creation, would double their series.
        disable_created_metrics()  # type: ignore[no-untyped-call]

    async def __call__(self, request: Request) -> Response:
        """All metrics, in the format that the client accepts."""
        encode, content_type = exposition.choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._registry), headers={"content-type": content_type})


class MetricsServer:
    """An HTTP server that answers ``GET /metrics`` alone."""

    def __init__(
        self,
        listener: socket.socket,
        metrics: MetricsEndpoint,
        protocol: Callable[..., LimitedHttpProtocol],
    ) -> None:
        """Prepare to serve.

        Args:
            listener: bound.
            metrics: the handler.
            protocol: makes the protocol of a connection, with its limits.
        """
        self._listener = listener
        config = uvicorn.Config(
            Starlette(routes=[Route("/metrics", metrics.__call__)]),
            http=protocol,  # type: ignore[arg-type]  # uvicorn calls it as it would call a class
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_CLOSE_S,
        )
        self._server = uvicorn.Server(config)
        self._server.capture_signals = contextlib.nullcontext  # type: ignore[assignment, method-assign]  # as in serving.server

    async def serve(self) -> None:
        """Serve until :meth:`stop`."""
        await self._server.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Let :meth:`serve` return."""
        self._server.should_exit = True
