"""Handling of one request, common to REST and gRPC: admission, metrics, error mapping and one log line."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import secrets
import time
from collections.abc import Mapping
from functools import partial
from types import TracebackType

from starlette.types import Receive

from protocol.error_codes import ERROR_CODE_HEADER, ErrorCode
from protocol.errors import InternalFault, NotReady, ReleaseMismatch, UnsupportedEncoding, YiwenError
from serving.body import ENCODINGS, RequestBody
from serving.drain import RETRY_AFTER_S, DrainGate
from serving.http_protocol import HAS_ARRIVED
from serving.metrics import Operation, RequestMetrics
from serving.model import RequestInfo, ServedModel
from serving.sampling import TraceParent
from serving.settings import ServerSettings
from serving.stages import RequestStages, begin, end
from serving.start_times import StartTimes
from serving.tracing import RequestTrace, RequestTracer

_log = logging.getLogger("yiwen.request")

# A request id is logged, so it must not be able to hold text.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def new_request_info(
    headers: Mapping[str, str], surface: str, received_at: float | None = None
) -> RequestInfo:
    """Metadata of a request.

    Args:
        headers: names in lower case; a valid ``x-request-id`` among them is kept.
        surface: ``rest`` or ``grpc``.
        received_at: when its first byte arrived, seconds of ``time.monotonic``; None for now.
    """
    given = headers.get("x-request-id", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
    if received_at is None:
        received_at = time.monotonic()
    return RequestInfo(request_id, headers, surface, received_at=received_at)


def error_headers(error: YiwenError) -> dict[str, str]:
    """Headers (REST) or trailing metadata (gRPC) that go with ``error``."""
    headers = {ERROR_CODE_HEADER: error.code.value}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, ReleaseMismatch):
        headers["x-yiwen-release"] = error.serving
    if isinstance(error, UnsupportedEncoding):
        headers["accept-encoding"] = ", ".join(ENCODINGS)  # RFC 9110, section 15.5.16
    return headers


class ServingContext:
    """Shared objects of request handlers: the model, the drain gate and the metrics."""

    def __init__(
        self,
        model: ServedModel,
        gate: DrainGate,
        metrics: RequestMetrics,
        start: StartTimes | None = None,
        tracer: RequestTracer | None = None,
    ) -> None:
        """Share these.

        Args:
            model: that is served.
            gate: refuses requests while the server drains.
            metrics: of requests.
            start: of the process; the first readiness probe that succeeds ends it.
            tracer: begins the traces of requests; None for no tracing.
        """
        self.model = model
        self.gate = gate
        self.metrics = metrics
        self.tracer = tracer
        self._start = start

    @property
    def is_ready(self) -> bool:
        """Whether traffic may come; what every readiness probe reports."""
        ready = not self.gate.draining and self.model.is_ready()
        if ready and self._start is not None:
            self._start.ready()
        return ready

    def admit(self) -> None:
        """Raise NotReady unless requests are admitted."""
        self.gate.check_open()
        if not self.model.is_healthy():
            raise NotReady("the model is not ready; try again", retry_after_s=RETRY_AFTER_S)

    def request(self, info: RequestInfo, operation: Operation) -> RequestScope:
        """The scope of one request for ``operation``, a context manager around its handling."""
        return RequestScope(self, info, operation)


class RequestScope:
    """One request from its headers to the end of its response; exit updates the metrics and logs."""

    __slots__ = (
        "_message", "_serving", "_stages", "_started", "_task", "_token", "code", "info", "operation", "status"
    )  # fmt: skip

    def __init__(self, serving: ServingContext, info: RequestInfo, operation: Operation) -> None:
        self.info = info
        self.operation = operation
        """May be set anew once the body says which API it is for."""
        self.status = 200
        self._serving = serving
        self.code: ErrorCode | None = None
        """Of the error that the request is answered with."""
        self._message: str | None = None

    def __enter__(self) -> RequestScope:
        task: asyncio.Task[object] | None = asyncio.current_task()
        if task is None:
            raise RuntimeError("requests run in tasks")
        self._task = task
        tracer, info = self._serving.tracer, self.info
        trace = None if tracer is None else tracer.begin(info.headers)
        self._stages = RequestStages(info.log_fields, trace)
        self._token = begin(self._stages)
        self._started = time.perf_counter()
        self._serving.gate.enter(task)
        self._serving.metrics.started()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._started
        end(self._token)
        self._serving.gate.leave(self._task)
        if error is not None and self.code is None:
            self.code = _unmapped_code(error)
            self.status = self.code.http_status
        own = self._stages.trace
        exemplar = None if own is None else own.exemplar
        self._serving.metrics.finished(self.operation, self.status, seconds, self.code, exemplar)
        if own is not None and own.is_recording:
            self._finish_trace(own)
        level = logging.INFO if self.status < ErrorCode.INTERNAL.http_status else logging.WARNING
        if _log.isEnabledFor(level):
            _log.log(level, "request", extra={"fields": self._fields(seconds)})

    def body(self, receive: Receive, settings: ServerSettings, state: Mapping[str, object]) -> RequestBody:
        """The request's body, not read yet; a drain does not wait for long for one that has not arrived.

        Args:
            receive: the request's ASGI ``receive``.
            settings: limits of its size and its time.
            state: of the ASGI scope.
        """
        gate, on_complete = self._serving.gate, None
        if HAS_ARRIVED not in state:
            gate.expect_body(self._task)
            on_complete = partial(gate.body_complete, self._task)
        return RequestBody(
            receive,
            self.info.headers,
            max_bytes=settings.max_body_bytes,
            timeout_s=settings.body_timeout_s,
            on_complete=on_complete,
        )

    def fail(self, error: BaseException) -> YiwenError:
        """Map ``error`` to the error that is sent; an unexpected one is logged and sent without details."""
        if isinstance(error, asyncio.CancelledError) and self._serving.gate.has_cancelled(self._task):
            error = NotReady(
                "the server stopped before the answer was complete",
                code=ErrorCode.SHUTTING_DOWN,
                retry_after_s=RETRY_AFTER_S,
            )
        if not isinstance(error, YiwenError):
            fields = {"request_id": self.info.request_id, "model": self._serving.model.name}
            _log.error("unexpected exception", exc_info=error, extra={"fields": fields})
            error = InternalFault(f"internal error, request id {self.info.request_id}")
        self.status, self.code, self._message = error.status, error.code, error.message
        # Its frames hold the request's body, and may hold the error itself: a cycle, which would live for long.
        error.__traceback__ = error.__context__ = error.__cause__ = None
        return error

    def answered(self, status: int) -> None:
        """Note the HTTP status of a response that was not made of an error of ours."""
        if self.code is None and status >= ErrorCode.INVALID_REQUEST.http_status:
            self.code = ErrorCode.of_status(status)
        self.status = status

    def _finish_trace(self, trace: RequestTrace) -> None:
        operation = self.operation
        attributes: dict[str, str | int | float | bool] = {
            "yiwen.request_id": self.info.request_id,
            "yiwen.surface": operation.surface,
            "http.response.status_code": self.status,
        }
        if self.code is not None:
            attributes["error.type"] = self.code.value
        for name, value in self.info.log_fields.items():
            if isinstance(value, str | int | float):
                attributes[f"yiwen.{name}"] = value
        failed = self.status >= ErrorCode.INTERNAL.http_status
        trace.finish(f"{operation.api} {operation.endpoint}", attributes, failed=failed)

    def _trace_id(self) -> str | None:
        trace = self._stages.trace
        if trace is not None:
            return trace.trace_id
        parent = TraceParent.of(self.info.headers)
        return None if parent is None else parent.trace_id

    def _fields(self, seconds: float) -> dict[str, object]:
        info = self.info
        fields: dict[str, object] = {
            "request_id": info.request_id,
            "surface": info.surface,
            "api": self.operation.api,
            "endpoint": self.operation.endpoint,
            "model": self._serving.model.name,
            "status": self.status,
            "duration_ms": round(seconds * 1000, 3),
        }
        if self.code is not None:
            fields["code"] = self.code.value
        if self._message is not None:
            fields["error"] = self._message
        if (trace_id := self._trace_id()) is not None:
            fields["trace_id"] = trace_id
        fields.update(info.log_fields)
        fields.update(self._stages.milliseconds())
        return fields


def _unmapped_code(error: BaseException) -> ErrorCode:
    """The code of an exception that ended a request without a response."""
    is_cancelled = isinstance(error, asyncio.CancelledError)
    return ErrorCode.CLIENT_CLOSED_REQUEST if is_cancelled else ErrorCode.INTERNAL
