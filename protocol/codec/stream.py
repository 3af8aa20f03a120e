"""Encodes a token stream as server-sent events, and decodes it.

::

    data: {"index": 0, "token_ids": [17, 4], "logprobs": [-0.1, -0.3]}
    data: {"index": 0, "token_ids": [], "logprobs": [], "finish_reason": "stop", "logprob": -0.2, "release": "..."}

    event: error
    data: {"error": "...", "code": "shutting_down", "status": 503, "retry_after_s": 1.0}

Lines that begin with a colon are comments, which keep proxies from closing a silent connection. The format is the
WHATWG HTML standard's, section 9.2 (Server-sent events).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import orjson

from protocol.codec.answers import our_fault
from protocol.errors import InternalFault, InvalidRequest, YiwenError, error_from_status
from protocol.messages import FinishReason, GenerationEnd, TokenDelta

EVENT_STREAM = "text/event-stream; charset=utf-8"
"""Media type of a stream."""

HEARTBEAT = b": heartbeat\n\n"
"""A comment, sent to keep a silent connection open."""

_LINE_SEPARATORS = tuple(
    (separator.encode(), b"\\u%04x" % ord(separator)) for separator in ("\u0085", "\u2028", "\u2029")
)
"""Characters that some parsers take for the end of a line (Python's ``splitlines``, JavaScript before ES2019), in
UTF-8 and as JSON escapes them."""
_ERROR_EVENT = "error"
_MESSAGE_EVENT = "message"


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event, not yet decoded."""

    name: str
    """Event type; ``message`` if the sender gave none."""
    data: str


def encode_event(document: Mapping[str, object], name: str | None = None) -> bytes:
    """Encode ``document`` as one event of type ``name``; None: the default type."""
    event = b"" if name is None else f"event: {name}\n".encode()
    data = orjson.dumps(document)
    for separator, escaped in _LINE_SEPARATORS:
        data = data.replace(separator, escaped)
    return b"%sdata: %s\n\n" % (event, data)


def encode_error_event(error: YiwenError) -> bytes:
    """Encode ``error`` as the last event of a stream, whose HTTP status has already been sent."""
    document: dict[str, object] = {
        "error": error.message,
        "code": error.code.value,
        "status": error.status,
    }
    if error.retry_after_s is not None:
        document["retry_after_s"] = error.retry_after_s
    return encode_event(document, _ERROR_EVENT)


def document_from_delta(delta: TokenDelta) -> dict[str, object]:
    """Convert ``delta`` to an event's document.

    Raises:
        InternalFault: a log-probability is not a finite number.
    """
    check_logprobs(delta)
    document: dict[str, object] = {
        "index": delta.index,
        "token_ids": list(delta.token_ids),
        "logprobs": list(delta.logprobs),
    }
    if delta.end is not None:
        document |= {
            "finish_reason": delta.end.finish_reason.value,
            "logprob": delta.end.logprob,
            "release": delta.end.release,
        }
    return document


def check_logprobs(delta: TokenDelta) -> None:
    """Raise InternalFault unless every log-probability in ``delta`` is a finite number."""
    last = () if delta.end is None else (delta.end.logprob,)
    if not all(map(math.isfinite, (*delta.logprobs, *last))):
        raise InternalFault("a log-probability is not a finite number")


def delta_from_event(event: ServerSentEvent) -> TokenDelta:
    """Decode an event; the inverse of :func:`document_from_delta` and :func:`encode_error_event`.

    Raises:
        YiwenError: the event is an error event.
        InternalFault: the event is malformed.
    """
    with our_fault("the predictor's stream cannot be read"):
        document = _document(event.data)
        if event.name != _ERROR_EVENT:
            return _delta(document)
        error = _error(document)
    raise error


class EventDecoder:
    """Incremental decoder: chunks of bytes, cut anywhere, to events."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = _MESSAGE_EVENT
        self._data: list[str] = []

    def feed(self, part: bytes) -> list[ServerSentEvent]:
        """Add a chunk; returns the events that it completes.

        Raises:
            InternalFault: the stream is not UTF-8.
        """
        events = []
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            event = self._take(line.removesuffix(b"\r"))
            if event is not None:
                events.append(event)
        return events

    def _take(self, line: bytes) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        try:
            name, _, value = line.decode().partition(":")
        except UnicodeDecodeError:
            raise InternalFault("the predictor's stream is not UTF-8") from None
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        event = ServerSentEvent(self._name, "\n".join(self._data)) if self._data else None
        self._name, self._data = _MESSAGE_EVENT, []
        return event


def _document(data: str) -> Mapping[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise InvalidRequest("an event's data is not JSON") from None
    if not isinstance(document, dict):
        raise InvalidRequest("an event's data is not a JSON object")
    return document


def _delta(document: Mapping[str, Any]) -> TokenDelta:
    index, ids, logprobs = (document.get(name) for name in ("index", "token_ids", "logprobs"))
    if not _is_index(index) or not isinstance(ids, list) or not all(map(_is_index, ids)):
        raise InvalidRequest("index must be a whole number from 0, and token_ids a list of such")
    if not isinstance(logprobs, list) or len(logprobs) != len(ids) or not all(map(_is_number, logprobs)):
        raise InvalidRequest("logprobs must hold a number for each of token_ids")
    return TokenDelta(index, tuple(ids), tuple(map(float, logprobs)), _end(document))


def _end(document: Mapping[str, Any]) -> GenerationEnd | None:
    reason, logprob, release = (document.get(name) for name in ("finish_reason", "logprob", "release"))
    if reason is None:
        return None
    if reason not in [known.value for known in FinishReason]:
        raise InvalidRequest("a finish reason is unknown")
    if not _is_number(logprob) or not isinstance(release, str) or not release:
        raise InvalidRequest("a finish_reason comes with logprob, a number, and release, a string")
    return GenerationEnd(float(logprob), FinishReason(reason), release)


def _error(document: Mapping[str, Any]) -> YiwenError:
    message, status, code, retry_after_s = (
        document.get(name) for name in ("error", "status", "code", "retry_after_s")
    )
    if not isinstance(message, str) or not _is_index(status):
        raise InvalidRequest("an error event holds error, a string, and status, a whole number")
    return error_from_status(
        status,
        message,
        code=code if isinstance(code, str) else None,
        retry_after_s=float(retry_after_s) if _is_number(retry_after_s) else None,
    )


def _is_index(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _is_number(value: object) -> TypeGuard[float]:
    return type(value) in (int, float)
