"""Reads HTTP responses of the predictor: maps error responses to errors, and finds the served release.

:mod:`transformer.predictors.client` receives; :mod:`transformer.errors` has the errors of what lies between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from protocol.error_codes import ERROR_CODE_HEADER
from protocol.errors import NotReady, Overloaded, YiwenError, error_from_status
from transformer.errors import GatewayError
from transformer.metrics import GATEWAY_STATUSES

RETRY_AFTER_S = 1.0
"""Default Retry-After in seconds: about the time that a restarted container or a new endpoint takes."""

RELEASE_HEADER = "x-yiwen-release"

GATEWAY_ONLY_STATUSES = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.BAD_GATEWAY)
"""Statuses that no predictor answers a request with, only what stands before it."""

_RETRYABLE = (Overloaded.code.http_status, NotReady.code.http_status)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One complete HTTP response."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


def error_of(answer: HttpResponse) -> YiwenError:
    """The error in a response of the predictor or of a proxy before it."""
    document = _json_object(answer.body)
    message = document.get("error")
    retry_after_s = _seconds(answer.headers.get("retry-after"))
    if answer.status in GATEWAY_STATUSES and not _is_from_predictor(answer, message):
        return GatewayError(answer.status, retry_after_s=retry_after_s or RETRY_AFTER_S)
    serving = answer.headers.get(RELEASE_HEADER) or document.get("release")
    if retry_after_s is None and answer.status in _RETRYABLE:
        retry_after_s = RETRY_AFTER_S
    return error_from_status(
        answer.status,
        message if isinstance(message, str) else f"the predictor answered with status {answer.status}",
        code=answer.headers.get(ERROR_CODE_HEADER),
        retry_after_s=retry_after_s,
        serving=serving if isinstance(serving, str) else None,
    )


def _is_from_predictor(answer: HttpResponse, message: object) -> bool:
    """Whether a predictor sent an error response. Predictors of version 0.1 send no code, but words in JSON."""
    in_our_form = isinstance(message, str) and answer.status not in GATEWAY_ONLY_STATUSES
    return ERROR_CODE_HEADER in answer.headers or in_our_form


def release_of(answer: HttpResponse) -> str | None:
    """Release id in a model metadata response; None if it names none."""
    versions = _json_object(answer.body).get("versions") if answer.status == HTTPStatus.OK else None
    match versions:
        case [str(release)]:
            return release
        case _:
            return None


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}  # a proxy's page
    return document if isinstance(document, dict) else {}


def _seconds(value: str | None) -> float | None:
    try:
        return None if value is None else max(0.0, float(value))
    except ValueError:
        return None  # a date; nobody in this system sends one
