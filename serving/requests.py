"""The life of one request, the same on REST and gRPC: admitted, measured, its failure named, logged once."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
import uuid
from collections.abc import Mapping
from types import TracebackType

from protocol.errors import InternalFault, NotReady, ReleaseMismatch, YiwenError
from serving.drain import RETRY_AFTER_S, Gate
from serving.metrics import RequestMetrics
from serving.model import Call, ServedModel

_log = logging.getLogger("yiwen.request")

# A request id is logged, so only what cannot be prose passes.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

_CALLER_GONE = 499
_SERVER_FAULT = 500


def new_call(headers: Mapping[str, str], surface: str) -> Call:
    """The call with these headers (names in lower case); takes over its ``x-request-id`` if it is a plain id."""
    given = headers.get("x-request-id", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    return Call(request_id, headers, surface)


def error_headers(error: YiwenError) -> dict[str, str]:
    """Headers (REST) or trailing metadata (gRPC) that go with ``error``."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, ReleaseMismatch):
        headers["x-yiwen-release"] = error.serving
    return headers


class Desk:
    """Where requests to one model report."""

    def __init__(self, model: ServedModel, gate: Gate, metrics: RequestMetrics) -> None:
        self.model = model
        self.gate = gate
        self.metrics = metrics

    @property
    def is_ready(self) -> bool:
        """Whether requests are taken: the truth that every readiness probe tells."""
        return not self.gate.draining and self.model.is_healthy()

    def admit(self) -> None:
        """Raise NotReady unless requests are taken."""
        self.gate.check()
        if not self.model.is_healthy():
            raise NotReady("the model is not ready; try again", retry_after_s=RETRY_AFTER_S)

    def request(self, call: Call) -> Record:
        """The record of one request; enter it for as long as the request takes."""
        return Record(self, call)


class Record:
    """One request from its headers to the end of its answer. Leaving it counts and logs."""

    __slots__ = ("_desk", "_error", "_started", "_task", "call", "status")

    def __init__(self, desk: Desk, call: Call) -> None:
        self.call = call
        self.status = 200
        self._desk = desk
        self._error: YiwenError | None = None

    def __enter__(self) -> Record:
        task: asyncio.Task[object] | None = asyncio.current_task()
        if task is None:
            raise RuntimeError("requests run in tasks")
        self._task = task
        self._started = time.perf_counter()
        self._desk.gate.enter(task)
        self._desk.metrics.started()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._started
        self._desk.gate.leave(self._task)
        if error is not None and self._error is None:
            self.status = _CALLER_GONE if isinstance(error, asyncio.CancelledError) else _SERVER_FAULT
        self._desk.metrics.finished(self.call.surface, self.status, seconds)
        level = logging.INFO if self.status < _SERVER_FAULT else logging.WARNING
        if _log.isEnabledFor(level):
            _log.log(level, "request", extra={"fields": self._fields(seconds)})

    def fail(self, error: BaseException) -> YiwenError:
        """What the caller is told about ``error``. What nobody expected is logged, and told without details."""
        if isinstance(error, asyncio.CancelledError) and self._desk.gate.cut:
            error = NotReady("the server stopped before the answer was complete", retry_after_s=RETRY_AFTER_S)
        if not isinstance(error, YiwenError):
            fields = {"request_id": self.call.request_id, "model": self._desk.model.name}
            _log.error("unexpected exception", exc_info=error, extra={"fields": fields})
            error = InternalFault(f"internal error, request id {self.call.request_id}")
        self.status = error.status
        self._error = error
        return error

    def _fields(self, seconds: float) -> dict[str, object]:
        call = self.call
        fields: dict[str, object] = {
            "request_id": call.request_id,
            "surface": call.surface,
            "model": self._desk.model.name,
            "status": self.status,
            "duration_ms": round(seconds * 1000, 3),
        }
        if self._error is not None:
            fields["error"] = self._error.message
        fields.update(call.notes)
        return fields
