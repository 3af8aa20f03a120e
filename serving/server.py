"""A process that serves one model over REST and gRPC until SIGTERM or SIGINT.

Built on ``kserve.ModelServer``, whose registry and REST application it keeps. Signals are handled differently: the
SDK closes the REST listener at once, stays ready, and drops gRPC calls. Here the first signal turns readiness off,
running requests finish, the listeners close and the process exits with status 0. A second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from protocol.codec import JSON_LENGTH_HEADER
from protocol.version import package_version
from serving.api_app import ApiApp, PublicApi
from serving.drain import DrainGate
from serving.endpoints import Endpoints, not_found
from serving.error_responses import http_error, validation_error
from serving.grpc_server import Servicer, new_grpc_server
from serving.health import ModelDataPlane
from serving.http_protocol import ConnectionLimits, LimitedHttpProtocol
from serving.logs import configure_logging
from serving.metrics import ConnectionMetrics, ProcessMetrics, RequestMetrics
from serving.metrics_server import MetricsEndpoint, MetricsServer
from serving.model import ServedModel
from serving.openapi import openapi_document
from serving.requests import ServingContext
from serving.rest import REQUEST_ID, ErrorMiddleware, InferenceApp
from serving.sdk import ModelServer, RESTServer, app
from serving.settings import ServerSettings, SettingsError
from serving.start_times import StartTimes
from serving.tracing import create_tracer

_log = logging.getLogger("yiwen.server")

_CLOSE_S = 2
"""Seconds for connections to close once every request is answered."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_server(
    model: ServedModel,
    settings: ServerSettings,
    *,
    routes: Sequence[APIRouter] = (),
    apis: Sequence[PublicApi] = (),
    start: StartTimes | None = None,
) -> None:
    """Serve ``model`` until SIGTERM or SIGINT; returns when it is drained and closed.

    Args:
        model: loaded; its name is part of the URLs.
        settings: ports, limits, logs.
        routes: further REST routes. POSTs among them have the same admission, size limit, error table and log as
            inference; :func:`serving.error_responses.request_info_of` returns a request's metadata.
        apis: public APIs besides the v2 protocol; their routes come before all others.
        start: how long the start took so far.

    Raises:
        SettingsError: a port is taken.
    """
    configure_logging(settings.log_level, settings.log_format, _labels(model))
    if start is not None:
        start.loaded()
    Server(model, settings, routes, apis, start).start([model])


class Server(ModelServer):  # type: ignore[misc]  # the SDK is untyped
    """A ModelServer behind our REST and gRPC servers; one per process, since the SDK's application is global."""

    def __init__(
        self,
        model: ServedModel,
        settings: ServerSettings,
        routes: Sequence[APIRouter],
        apis: Sequence[PublicApi] = (),
        start: StartTimes | None = None,
    ) -> None:
        super().__init__(
            http_port=settings.http_port,
            workers=1,
            enable_grpc=False,
            enable_latency_logging=False,
            grace_period=_CLOSE_S,
        )
        self._model = model
        self._settings = settings
        self._gate = DrainGate()
        release = next(iter(model.versions), "")
        process = ProcessMetrics(version=package_version(), revision=settings.revision, release=release)
        if start is not None:
            start.publish(process)
        self._metrics = MetricsEndpoint(_labels(model))
        self._tracer = create_tracer(
            os.environ,
            {"service.version": package_version(), "yiwen.release": release},
            service_name=f"yiwen-{model.component}",
        )
        metrics = RequestMetrics(model.name, codes=model.error_codes)
        serving = ServingContext(model, self._gate, metrics, start, self._tracer)
        self.dataplane = ModelDataPlane(self, serving)
        # Only the SDK's application, which may redirect, looks at the scheme of the client's URL.
        framework: Any = ProxyHeadersMiddleware(app)
        inference = InferenceApp(framework, serving, settings)
        self._app: ASGIApp = inference
        if apis:
            self._app = ApiApp(inference, apis, serving, settings, inference.bodies)
        self._servicer = Servicer(self.dataplane, serving, settings)
        app.router.routes.extend(Endpoints(self.dataplane).routes())
        # In place of the SDK's route, which is always there.
        app.router.routes.append(
            Route("/metrics", not_found if settings.metrics_port else self._metrics.__call__)
        )
        for router in routes:
            app.include_router(router)
        document = openapi_document(
            self.dataplane, model, routes, metrics=settings.metrics_port == 0, apis=apis
        )
        app.openapi = lambda: document
        app.add_middleware(ErrorMiddleware, serving=serving)
        app.add_exception_handler(HTTPException, http_error)
        app.add_exception_handler(RequestValidationError, validation_error)
        self.register_exception_handler(_log_unhandled)

    def start(self, models: list[ServedModel]) -> None:
        """Serve until drained."""
        for model in models:
            self.register_model(model)
        settings = self._settings
        listener = _bind(settings.host, settings.http_port, "YIWEN_HTTP_PORT")
        metrics_listener = None
        if settings.metrics_port:
            metrics_listener = _bind(settings.host, settings.metrics_port, "YIWEN_METRICS_PORT")
        _run(self._serve_on(listener, metrics_listener))

    async def _serve_on(self, listener: socket.socket, metrics_listener: socket.socket | None) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._custom_exception_handler)
        stop = asyncio.Event()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number, stop)
        settings = self._settings
        limits = ConnectionLimits(settings.head_timeout_s, settings.write_timeout_s)
        protocol = partial(LimitedHttpProtocol, limits=limits, metrics=ConnectionMetrics())
        rest = _RestServer(self, _with_cors(self._app, settings.cors_origins), listener, protocol)
        metrics_server = None
        if metrics_listener is not None:
            metrics_server = MetricsServer(metrics_listener, self._metrics, protocol)
        grpc_server = None
        if self._settings.grpc_port:
            grpc_server = new_grpc_server(self._servicer, self._settings, self._model.stream_service)
        await self._model.open()
        try:
            if grpc_server is not None:
                await grpc_server.start()
            async with _running(metrics_server):
                await self._serve_until(stop, rest)
            if grpc_server is not None:
                await grpc_server.stop(_CLOSE_S)
        finally:
            await self._model.close()
            if self._tracer is not None:
                self._tracer.close()
        _log.info("stopped")

    async def _serve_until(self, stop: asyncio.Event, rest: _RestServer) -> None:
        # Everything loaded by now stays; garbage collections need not traverse it again.
        gc.freeze()
        serving = asyncio.create_task(rest.start())
        stopping = asyncio.create_task(stop.wait())
        _log.info("serving", extra={"fields": self._start_fields()})
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

    def _start_fields(self) -> dict[str, object]:
        settings = self._settings
        return {"model": self._model.name, "http_port": settings.http_port, "grpc_port": settings.grpc_port}


class _RestServer(RESTServer):  # type: ignore[misc]  # the SDK is untyped
    """The SDK's REST server with our ASGI application, on a socket that is already bound."""

    def __init__(
        self,
        server: Server,
        app: ASGIApp,
        listener: socket.socket,
        protocol: Callable[..., LimitedHttpProtocol],
    ) -> None:
        super().__init__(
            app,
            server.dataplane,
            server.model_repository_extension,
            server.http_port,
            grace_period=server.grace_period,
            timeout_keep_alive=server.timeout_keep_alive,
            ssl_certfile=server.ssl_certfile,
            ssl_keyfile=server.ssl_keyfile,
        )
        self.config.access_log = False
        self.config.proxy_headers = False
        self.config.ws = "none"
        self.config.http = protocol
        self._listener = listener
        self._server.capture_signals = contextlib.nullcontext  # Server handles signals

    def _add_middlewares(self, application: object) -> None:
        """Add none: the SDK's log two lines per request."""

    async def start(self) -> None:
        """Serve until :meth:`stop`."""
        self.create_application()
        await self._server.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Close the listener and idle connections, and let :meth:`start` return."""
        self._server.should_exit = True


@contextlib.asynccontextmanager
async def _running(server: MetricsServer | None) -> AsyncIterator[None]:
    """Serve meanwhile, if there is a server."""
    serving = None if server is None else asyncio.create_task(server.serve())
    try:
        yield
    finally:
        if server is not None and serving is not None:
            server.stop()
            await serving


def _labels(model: ServedModel) -> dict[str, str]:
    """Labels of all metrics of the process, and fields of all its log lines."""
    return {"component": model.component, "release": next(iter(model.versions), "")}


def _with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """``app``, which pages of ``origins`` may call."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        expose_headers=(REQUEST_ID, "retry-after", "x-yiwen-release", JSON_LENGTH_HEADER),
    )


def _bind(host: str, port: int, setting: str) -> socket.socket:
    """A bound TCP socket that does not listen yet, so that a taken port is found early.

    Args:
        host: an address.
        port: its port.
        setting: the variable that says it.

    Raises:
        SettingsError: the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # IPPROTO_TCP: asyncio sets TCP_NODELAY for such sockets only. Without it the second part of a response may wait
    # 40 ms for the client's delayed acknowledgement. (uvloop sets it anyway.)
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        what = "REST" if setting == "YIWEN_HTTP_PORT" else "metrics"
        message = f"{what} cannot listen on {host}:{port} ({error.strerror}): set {setting} to a free port"
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
    """Run ``main`` on a new event loop, as ``asyncio.Runner`` of Python 3.11 does."""
    loop = _new_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main)
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


def _log_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an exception that no task awaited, without its message, which may quote a request's text."""
    _log.error("%s", context.get("message", "stray exception"), exc_info=context.get("exception"))
