"""``/metrics`` for Prometheus, on the port of REST or on one of its own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import uvicorn
from prometheus_client import REGISTRY, exposition
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.http_protocol import LimitedHttpProtocol

_CLOSE_S = 1
"""Seconds for a scrape to end at a shutdown."""


async def metrics(request: Request) -> Response:
    """All metrics of the process, in the format that the client accepts."""
    encode, content_type = exposition.choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), headers={"content-type": content_type})


class MetricsServer:
    """An HTTP server that answers ``GET /metrics`` alone."""

    def __init__(self, listener: socket.socket, protocol: Callable[..., LimitedHttpProtocol]) -> None:
        """Prepare to serve.

        Args:
            listener: bound.
            protocol: makes the protocol of a connection, with its limits.
        """
        self._listener = listener
        config = uvicorn.Config(
            Starlette(routes=[Route("/metrics", metrics)]),
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
