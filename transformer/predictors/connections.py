"""The HTTP connections under :mod:`transformer.predictors.client`: how they are made, and what a failure means."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import aiohttp

from protocol.errors import YiwenError
from transformer.config import TransformerConfig
from transformer.errors import (
    CONNECTION_LOST,
    ConnectionLost,
    NoConnection,
    PredictorFault,
    PredictorTooLate,
    PredictorUnreachable,
)
from transformer.predictors.http_responses import RETRY_AFTER_S

_NO_CONNECTION = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_BROKEN = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, aiohttp.ClientConnectionResetError)


class ConnectionAttempt:
    """The progress of one HTTP attempt, which decides whether it may be repeated."""

    __slots__ = ("answered", "on_sent", "reused")

    def __init__(self, on_sent: Callable[[], None] | None = None) -> None:
        self.on_sent = on_sent
        """Called when the request's head was sent."""
        self.reused = False
        """Whether it used a pooled connection that an earlier request had opened."""
        self.answered = False
        """Whether the answer's headers arrived."""

    def may_repeat(self, error: aiohttp.ClientError) -> bool:
        """Whether a second attempt is safe and useful.

        It is if no connection was made, or if a pooled connection broke before the response began: most likely the
        server had closed it while it was idle. Generation is idempotent, so a repetition costs only time. A new
        connection that breaks is not repeated: the request itself may have crashed the predictor.
        """
        if isinstance(error, _NO_CONNECTION):
            return True
        return self.broke_idle(error)

    def broke_idle(self, error: aiohttp.ClientError) -> bool:
        """Whether a pooled connection broke before the response began."""
        return self.reused and not self.answered and isinstance(error, _BROKEN)


def create_session(config: TransformerConfig, *, pooled: bool) -> aiohttp.ClientSession:
    """A session whose connections serve one request after the other, or (not ``pooled``) one request each.

    Requests bring their :class:`ConnectionAttempt` as ``trace_request_ctx``.
    """
    if pooled:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=config.keepalive_s)
    else:
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
    progress = aiohttp.TraceConfig()
    progress.on_connection_reuseconn.append(_mark_reused)
    progress.on_request_headers_sent.append(_report_sent)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=config.connect_timeout_s, sock_read=config.read_timeout_s
        ),
        headers={"accept-encoding": "identity", "user-agent": "yiwen-transformer"},
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[progress],
        # trust_env stays off: a proxy for the way out of the cluster must not see the way to the predictor.
    )


def to_yiwen_error(
    error: aiohttp.ClientError, config: TransformerConfig, attempt: ConnectionAttempt
) -> YiwenError:
    """Map the client error of an attempt to an error for the caller, without the predictor's address.

    Args:
        error: raised by aiohttp.
        config: the timeouts, for the message.
        attempt: state of the connection that failed.
    """
    if isinstance(error, _NO_CONNECTION):
        return NoConnection(retry_after_s=RETRY_AFTER_S)
    if isinstance(error, aiohttp.SocketTimeoutError):
        return PredictorTooLate(config.read_timeout_s)
    if isinstance(error, aiohttp.ClientResponseError):
        return PredictorFault("what answers at YIWEN_PREDICTOR_URL does not speak HTTP; check its port")
    if attempt.broke_idle(error):
        return PredictorUnreachable(CONNECTION_LOST, retry_after_s=RETRY_AFTER_S)
    return ConnectionLost(retry_after_s=RETRY_AFTER_S)


async def _mark_reused(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.reused = True


async def _report_sent(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    if context.trace_request_ctx.on_sent is not None:
        context.trace_request_ctx.on_sent()
