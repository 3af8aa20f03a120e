"""The errors of the wire: one class per HTTP status, with a code of :mod:`protocol.error_codes`.

::

    YiwenError
    ├── InvalidRequest      400  the request cannot be understood
    ├── Forbidden           403  the operation is refused to everybody
    ├── NotFound            404  unknown model, or a language the release does not speak
    ├── RequestTimeout      408  the request's headers or body did not arrive in time
    ├── ReleaseMismatch     409  the predictor serves another release
    ├── TooLong             413  larger than this release or this server can ever take
    ├── UnsupportedEncoding 415  the body has a content coding that is not read
    ├── Overloaded          429  no room now; Retry-After says when to come back
    ├── HeadTooLarge        431  more or longer headers than a request may have
    ├── CallerGone          499  logged, never sent: the client has disconnected
    ├── InternalFault       500  our fault: a runner raised, a decoder state broke
    ├── NotReady            503  loading, draining or unhealthy; Retry-After is set
    └── DeadlineExceeded    504  the caller's deadline passed

A message says what is wrong and how to fix it, and never quotes a caller's text.
"""

from __future__ import annotations

from protocol.error_codes import ErrorCode


class YiwenError(Exception):
    """An expected error, with the code that its statuses follow from."""

    code: ErrorCode = ErrorCode.INTERNAL
    """Of the class, or of this error where the constructor was given one; both have the same HTTP status."""

    def __init__(
        self, message: str, *, code: ErrorCode | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.retry_after_s = retry_after_s
        """Seconds after which a retry makes sense; sent as Retry-After where it is set."""

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.code.http_status


class InvalidRequest(YiwenError):
    """400: the request is malformed, or a value in it is not one this service takes."""

    code = ErrorCode.INVALID_REQUEST


class Forbidden(YiwenError):
    """403: the operation is refused to everybody."""

    code = ErrorCode.FORBIDDEN


class NotFound(YiwenError):
    """404: no such model, or the release does not translate that pair of languages."""

    code = ErrorCode.MODEL_NOT_FOUND


class RequestTimeout(YiwenError):
    """408: the request's headers or body did not arrive in time; the connection is closed."""

    code = ErrorCode.REQUEST_TIMEOUT


class ReleaseMismatch(YiwenError):
    """409: token ids of one release reached a predictor of another."""

    code = ErrorCode.RELEASE_MISMATCH

    def __init__(self, message: str, *, serving: str) -> None:
        super().__init__(message)
        self.serving = serving
        """Id of the release that the answering predictor serves."""


class TooLong(YiwenError):
    """413: too large even for an idle server; a retry is of no use."""

    code = ErrorCode.REQUEST_TOO_LARGE


class UnsupportedEncoding(YiwenError):
    """415: the body has a Content-Encoding that is not read."""

    code = ErrorCode.UNSUPPORTED_ENCODING


class Overloaded(YiwenError):
    """429: admission refused; come back after ``retry_after_s``."""

    code = ErrorCode.OVERLOADED


class HeadTooLarge(YiwenError):
    """431: the request has more or longer headers than it may have."""

    code = ErrorCode.HEAD_TOO_LARGE


class CallerGone(YiwenError):
    """499: the client closed the connection; its work was cancelled."""

    code = ErrorCode.CLIENT_CLOSED_REQUEST


class InternalFault(YiwenError):
    """500: a fault of the service; the client can only retry."""

    code = ErrorCode.INTERNAL


class NotReady(YiwenError):
    """503: not loaded yet, draining, or unhealthy."""

    code = ErrorCode.NOT_READY


class DeadlineExceeded(YiwenError):
    """504: the deadline passed before the answer was complete."""

    code = ErrorCode.DEADLINE_EXCEEDED


_BY_STATUS: dict[int, type[YiwenError]] = {
    cls.code.http_status: cls
    for cls in (
        InvalidRequest, NotFound, TooLong, Overloaded, CallerGone, InternalFault, NotReady, DeadlineExceeded,
    )
}  # fmt: skip


def error_from_status(
    status: int,
    message: str,
    *,
    code: str | None = None,
    retry_after_s: float | None = None,
    serving: str | None = None,
) -> YiwenError:
    """The error that another service sent.

    Args:
        status: HTTP status. One that is not in the table becomes :class:`InternalFault`: an unknown answer of a
            predictor is our fault, never the caller's.
        message: in words.
        code: as sent; the class's own code takes the place of a missing or unknown one.
        retry_after_s: of the header Retry-After, seconds.
        serving: the release id that goes with a 409.
    """
    if status == ReleaseMismatch.code.http_status:
        return ReleaseMismatch(message, serving=serving or "unknown")
    cls = _BY_STATUS.get(status, InternalFault)
    known = ErrorCode.of(code)
    if known is not None and known.http_status != cls.code.http_status:
        known = None
    return cls(message, code=known, retry_after_s=retry_after_s)
