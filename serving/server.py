"""One process that serves one model over REST and gRPC until it is told to stop.

Built on ``kserve.ModelServer``, whose registry, REST application and event loop handling it keeps. It takes over
the signals: the SDK closes the REST listener at once, stays ready, and drops gRPC calls. Here SIGTERM or SIGINT turns
readiness off, running requests finish, then the listeners close and the process ends with status 0. A second signal
ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Coroutine, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from serving.drain import Gate
from serving.endpoints import Endpoints, http_error, validation_error
from serving.grpc_server import Servicer, new_grpc_server
from serving.health import TruthfulDataPlane
from serving.logs import configure_logging
from serving.metrics import RequestMetrics
from serving.model import ServedModel
from serving.requests import Desk
from serving.rest import Edge, Guard
from serving.sdk import ModelServer, RESTServer, app
from serving.settings import ServerSettings, SettingsError

_log = logging.getLogger("yiwen.server")

_BACKLOG = 2048
_CLOSE_S = 2
"""Seconds that connections get to close once every request is answered."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_server(model: ServedModel, settings: ServerSettings, *, routes: Sequence[APIRouter] = ()) -> None:
    """Serve ``model`` until SIGTERM or SIGINT, and return when it is drained and closed.

    Args:
        model: loaded; its name decides the URLs.
        settings: ports, limits, logs.
        routes: further REST routes. A POST among them passes the same gate, size limit, error table and log as
            inference; :func:`serving.rest.call_of` gives its :class:`serving.model.Call`.

    Raises:
        SettingsError: a port is taken.
    """
    configure_logging(settings.log_level, settings.log_format)
    Server(model, settings, routes).start([model])


class Server(ModelServer):  # type: ignore[misc]  # the SDK is untyped
    """A ModelServer with our edge in front; made once per process, since the SDK's application is global."""

    def __init__(self, model: ServedModel, settings: ServerSettings, routes: Sequence[APIRouter]) -> None:
        super().__init__(
            http_port=settings.http_port,
            workers=1,
            enable_grpc=False,
            enable_latency_logging=False,
            grace_period=_CLOSE_S,
        )
        self._model = model
        self._settings = settings
        self._gate = Gate()
        desk = Desk(model, self._gate, RequestMetrics(model.name))
        self.dataplane = TruthfulDataPlane(self, desk)
        self._edge = Edge(app, desk, settings.max_body_bytes, heartbeat_s=settings.heartbeat_s)
        self._servicer = Servicer(self.dataplane, desk)
        app.router.routes.extend(Endpoints(self.dataplane).routes())
        for router in routes:
            app.include_router(router)
        app.add_middleware(Guard, desk=desk)
        app.add_exception_handler(HTTPException, http_error)
        app.add_exception_handler(RequestValidationError, validation_error)
        self.register_exception_handler(_log_stray)

    def start(self, models: list[ServedModel]) -> None:
        """Serve until drained."""
        for model in models:
            self.register_model(model)
        listener = _bind(self._settings.host, self._settings.http_port)
        _run(self._serve_on(listener))

    async def _serve_on(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._custom_exception_handler)
        stop = asyncio.Event()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number, stop)
        rest = _RestServer(self, self._edge, listener)
        grpc_server = None
        if self._settings.grpc_port:
            grpc_server = new_grpc_server(self._servicer, self._settings, self._model.stream_service)
        await self._model.open()
        try:
            if grpc_server is not None:
                await grpc_server.start()
            await self._serve_until(stop, rest)
            if grpc_server is not None:
                await grpc_server.stop(_CLOSE_S)
        finally:
            await self._model.close()
        _log.info("stopped")

    async def _serve_until(self, stop: asyncio.Event, rest: _RestServer) -> None:
        # All that is loaded by now stays; collections need not walk it again and again.
        gc.freeze()
        serving = asyncio.create_task(rest.start())
        stopping = asyncio.create_task(stop.wait())
        _log.info("serving", extra={"fields": self._facts()})
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        finished = await self._gate.drain(self._settings.drain_s)
        if not finished:
            _log.warning("requests were cut off: they took longer than YIWEN_DRAIN_S")
        rest.stop()
        await serving

    def _on_signal(self, number: int, stop: asyncio.Event) -> None:
        name = signal.Signals(number).name
        if stop.is_set():
            _log.warning("second signal: stopping at once", extra={"fields": {"signal": name}})
            os._exit(128 + number)
        self._gate.draining = True
        stop.set()
        _log.info("draining", extra={"fields": {"signal": name, "drain_s": self._settings.drain_s}})

    def _facts(self) -> dict[str, object]:
        settings = self._settings
        return {"model": self._model.name, "http_port": settings.http_port, "grpc_port": settings.grpc_port}


class _RestServer(RESTServer):  # type: ignore[misc]  # the SDK is untyped
    """The SDK's REST server with our edge as its application, on a socket that is bound already."""

    def __init__(self, server: Server, edge: Edge, listener: socket.socket) -> None:
        super().__init__(
            edge,
            server.dataplane,
            server.model_repository_extension,
            server.http_port,
            grace_period=server.grace_period,
            timeout_keep_alive=server.timeout_keep_alive,
            ssl_certfile=server.ssl_certfile,
            ssl_keyfile=server.ssl_keyfile,
        )
        self.config.access_log = False
        self._listener = listener
        self._server.capture_signals = contextlib.nullcontext  # the signals are Server's

    def _add_middlewares(self, application: object) -> None:
        """None: the SDK's writes two log lines per request, and ours are in front or in :class:`Guard`."""

    async def start(self) -> None:
        """Serve until :meth:`stop`."""
        self.create_application()
        await self._server.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Close the listener, then idle connections, and let :meth:`start` return."""
        self._server.should_exit = True


def _bind(host: str, port: int) -> socket.socket:
    """A TCP socket on ``host`` and ``port`` that does not listen yet, so a taken port is found before loading."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # TCP by name: asyncio turns Nagle's algorithm off for such sockets only, and with it on an answer, which is sent
    # in two parts, may wait 40 ms for the other side's delayed acknowledgement. (uvloop turns it off anyway.)
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        message = (
            f"REST cannot listen on {host}:{port} ({error.strerror}): set YIWEN_HTTP_PORT to a free port"
        )
        raise SettingsError(message) from error
    return listener


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # there is none for this platform
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _run(main: Coroutine[Any, Any, None]) -> None:
    """What ``asyncio.Runner`` does, which Python 3.10 lacks."""
    loop = _new_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


def _log_stray(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Exceptions nobody awaited; the loop's own message is kept, the exception's is not (it may quote)."""
    _log.error("%s", context.get("message", "stray exception"), exc_info=context.get("exception"))
