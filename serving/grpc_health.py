"""``grpc.health.v1``: readiness for load balancers and probes that speak gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1.health_pb2_grpc import HealthServicer

from serving.requests import ServingContext

_POLL_S = 0.5
"""Seconds between two looks at the health that a client watches."""


class Health(HealthServicer):  # type: ignore[misc]  # generated without types
    """The health of the server (service ``""``) and of the services on it, which is the same."""

    def __init__(self, serving: ServingContext, services: Sequence[str]) -> None:
        self._serving = serving
        self._services = ("", *services)

    async def Check(  # noqa: N802  # named by the service definition
        self, request: pb.HealthCheckRequest, context: aio.ServicerContext
    ) -> pb.HealthCheckResponse:
        """SERVING while requests are admitted; NOT_FOUND for an unknown service."""
        if request.service not in self._services:
            await context.abort(StatusCode.NOT_FOUND, "no such service")
        return pb.HealthCheckResponse(status=self._status(request.service))

    async def Watch(  # noqa: N802  # as above
        self, request: pb.HealthCheckRequest, context: aio.ServicerContext
    ) -> None:
        """The status now and whenever it changes."""
        last = None
        while True:
            status = self._status(request.service)
            if status != last:
                last = status
                await context.write(pb.HealthCheckResponse(status=status))
            await asyncio.sleep(_POLL_S)

    def _status(self, service: str) -> int:
        if service not in self._services:
            status: int = pb.HealthCheckResponse.SERVICE_UNKNOWN
        elif self._serving.is_ready:
            status = pb.HealthCheckResponse.SERVING
        else:
            status = pb.HealthCheckResponse.NOT_SERVING
        return status
