"""The error table of the wire: one class per status, the same on REST and gRPC.

::

    YiwenError
    ├── InvalidRequest      400  INVALID_ARGUMENT     the request cannot be understood
    ├── NotFound            404  NOT_FOUND            unknown model, or a language the release does not speak
    ├── ReleaseMismatch     409  FAILED_PRECONDITION  the predictor serves another release
    ├── TooLong             413  RESOURCE_EXHAUSTED   larger than this release or this server can ever take
    ├── Overloaded          429  RESOURCE_EXHAUSTED   no room now; Retry-After says when to come back
    ├── CallerGone          499  CANCELLED            logged, never sent: the client has disconnected
    ├── InternalFault       500  INTERNAL             our fault: a runner raised, a decoder state broke
    ├── NotReady            503  UNAVAILABLE          loading, draining or unhealthy; Retry-After is set
    └── DeadlineExceeded    504  DEADLINE_EXCEEDED    the caller's deadline passed

A message says what is wrong and how to fix it, and never quotes a caller's text.
"""

from __future__ import annotations

from typing import ClassVar


class YiwenError(Exception):
    """An expected error, with its HTTP and gRPC status."""

    status: ClassVar[int] = 500
    """HTTP status."""

    grpc_code: ClassVar[str] = "INTERNAL"
    """Name of the gRPC status code (``grpc.StatusCode[...]``)."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        """Seconds after which a retry makes sense; sent as Retry-After where it is set."""


class InvalidRequest(YiwenError):
    """400: the request is malformed, or a value in it is not one this service takes."""

    status = 400
    grpc_code = "INVALID_ARGUMENT"


class NotFound(YiwenError):
    """404: no such model, or the release does not translate that pair of languages."""

    status = 404
    grpc_code = "NOT_FOUND"


class ReleaseMismatch(YiwenError):
    """409: token ids of one release reached a predictor of another."""

    status = 409
    grpc_code = "FAILED_PRECONDITION"

    def __init__(self, message: str, *, serving: str) -> None:
        super().__init__(message)
        self.serving = serving
        """Id of the release that the answering predictor serves."""


class TooLong(YiwenError):
    """413: too large even for an idle server; a retry is of no use."""

    status = 413
    grpc_code = "RESOURCE_EXHAUSTED"


class Overloaded(YiwenError):
    """429: admission refused; come back after ``retry_after_s``."""

    status = 429
    grpc_code = "RESOURCE_EXHAUSTED"


class CallerGone(YiwenError):
    """499: the client closed the connection; its work was cancelled."""

    status = 499
    grpc_code = "CANCELLED"


class InternalFault(YiwenError):
    """500: a fault of the service; the client can only retry."""

    status = 500
    grpc_code = "INTERNAL"


class NotReady(YiwenError):
    """503: not loaded yet, draining, or unhealthy."""

    status = 503
    grpc_code = "UNAVAILABLE"


class DeadlineExceeded(YiwenError):
    """504: the deadline passed before the answer was complete."""

    status = 504
    grpc_code = "DEADLINE_EXCEEDED"


_BY_STATUS: dict[int, type[YiwenError]] = {
    cls.status: cls
    for cls in (
        InvalidRequest, NotFound, TooLong, Overloaded, CallerGone, InternalFault, NotReady, DeadlineExceeded,
    )
}  # fmt: skip


def error_from_status(
    status: int, message: str, *, retry_after_s: float | None = None, serving: str | None = None
) -> YiwenError:
    """The error that a service sent.

    Args:
        status: HTTP status; one that is not in the table becomes :class:`InternalFault`.
        message: its text.
        retry_after_s: seconds, if it was sent.
        serving: id of the release that a 409 names.
    """
    if status == ReleaseMismatch.status:
        return ReleaseMismatch(message, serving=serving or "unknown")
    return _BY_STATUS.get(status, InternalFault)(message, retry_after_s=retry_after_s)
