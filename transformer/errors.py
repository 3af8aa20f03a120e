"""The transformer's errors, with their messages.

::

    YiwenError (protocol.errors)
    ├── InvalidRequest  400 ── UndetectedLanguage, UnusableText (UnusableMarkup)
    ├── NotFound        404 ── UnknownLanguage, UnknownPair
    ├── TooLong         413 ── TooManyTexts, TooManySegments, TooManyBytes, TooManyParts,
    │                        SegmentTooLong, GlossaryTooCostly
    ├── Overloaded      429 ── ConnectionsBusy, AdmissionRejected
    ├── InternalFault   500 ── PredictorFault
    ├── NotReady        503 ── PredictorUnreachable (NoConnection, ConnectionLost), GatewayError,
    │                        ReleaseNotServed, ColdStartTimeout, ColdStartQueueFull
    └── DeadlineExceeded 504 ─ PredictorTooLate

Messages name texts by their index in the request (from 0) and never quote them. They quote a language tag only if it
has the form of one: a caller may have sent a text in its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from protocol.error_codes import ErrorCode
from protocol.errors import (
    DeadlineExceeded,
    InternalFault,
    InvalidRequest,
    NotFound,
    NotReady,
    Overloaded,
    TooLong,
)

CONNECTION_LOST = "the connection to the predictor broke before its answer was complete; retry"

_TAG_FORM = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}")


class UndetectedLanguage(InvalidRequest):
    """400: a text is in no language that the release translates."""

    code = ErrorCode.LANGUAGE_UNDETECTED

    def __init__(self, index: int, candidates: Iterable[str]) -> None:
        super().__init__(
            f"text {index}: its language is none of {_listed(candidates)}, which this release reads for that target; "
            "pass `source` if it is one of them"
        )


class UnusableText(InvalidRequest):
    """400: a text is not valid Unicode."""

    code = ErrorCode.INVALID_TEXT

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"text {index}: {reason}")


class UnusableMarkup(UnusableText):
    """400: a text is not the markup that it is declared to be."""

    code = ErrorCode.INVALID_MARKUP


class UnknownLanguage(NotFound):
    """404: the release does not know a language."""

    code = ErrorCode.LANGUAGE_UNKNOWN

    def __init__(self, index: int, role: str, tag: str, known: Iterable[str]) -> None:
        super().__init__(
            f"text {index}: {role} language {_quoted(tag)} is not one this release speaks: {_listed(known)}"
        )


class UnknownPair(NotFound):
    """404: the release knows both languages but does not translate this pair."""

    code = ErrorCode.LANGUAGE_PAIR_UNSUPPORTED

    def __init__(self, index: int, source: str, target: str, pairs: Iterable[tuple[str, str]]) -> None:
        super().__init__(
            f"text {index}: this release does not translate {source} to {target}; "
            f"it translates {_listed(f'{a} to {b}' for a, b in pairs)}"
        )


class TooManyTexts(TooLong):
    """413: one request holds more texts than the transformer takes."""

    code = ErrorCode.TOO_MANY_TEXTS

    def __init__(self, texts: int, limit: int) -> None:
        super().__init__(
            f"the request holds {texts} texts, at most {limit} are taken; split it, or raise YIWEN_MAX_TEXTS"
        )


class TooManySegments(TooLong):
    """413: the texts of one request have more sentences or text nodes than the transformer takes."""

    code = ErrorCode.TOO_MANY_TEXTS

    def __init__(self, segments: int, limit: int) -> None:
        super().__init__(
            f"the request's texts come to {segments} sentences or text nodes, at most {limit} are taken; "
            "split it, or raise YIWEN_MAX_TEXTS"
        )


class TooManyBytes(TooLong):
    """413: the texts of one request are longer, all together, than the transformer takes."""

    code = ErrorCode.TEXTS_TOO_LARGE

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"the request's texts have {size} bytes, at most {limit} are taken; split it, or raise "
            "YIWEN_MAX_TEXT_BYTES"
        )


class TooManyParts(TooLong):
    """413: the texts of one request have more tags, entities, lines and sentences than the transformer takes."""

    code = ErrorCode.TEXTS_TOO_LARGE

    def __init__(self, parts: int, limit: int) -> None:
        super().__init__(
            f"the request's texts have {parts} tags, entities, lines or sentences, at most {limit} are taken; "
            "split it, or raise YIWEN_MAX_TEXTS"
        )


class SegmentTooLong(TooLong):
    """413: one sentence or text node has more bytes than the release can translate."""

    code = ErrorCode.TEXT_TOO_LONG

    def __init__(self, index: int, size: int, limit: int) -> None:
        super().__init__(
            f"text {index}: a sentence or text node of it has {size} bytes, this release takes at most {limit}; "
            "split it into shorter texts"
        )


class GlossaryTooCostly(TooLong):
    """413: finding a glossary's terms in the texts takes too many comparisons."""

    code = ErrorCode.GLOSSARY_TOO_LARGE

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"finding the glossary's terms in the request's texts takes more than {limit} comparisons; send fewer "
            "texts at a time, or only the terms that they need"
        )


class PredictorFault(InternalFault):
    """500: the predictor's answer does not follow the protocol."""

    code = ErrorCode.PREDICTOR_PROTOCOL


class PredictorUnreachable(NotReady):
    """503: no connection to the predictor, or it broke before the answer was complete."""

    code = ErrorCode.PREDICTOR_UNREACHABLE


class ConnectionLost(PredictorUnreachable):
    """503: a connection broke after the request was sent; the predictor may have begun the work, or died of it."""

    def __init__(self, *, retry_after_s: float) -> None:
        super().__init__(CONNECTION_LOST, retry_after_s=retry_after_s)


class NoConnection(PredictorUnreachable):
    """503: no connection was made, so the predictor has seen nothing of the request."""

    def __init__(self, *, retry_after_s: float) -> None:
        super().__init__(
            "no connection to the predictor; it may be starting: retry, or check YIWEN_PREDICTOR_URL",
            retry_after_s=retry_after_s,
        )


class GatewayError(NotReady):
    """503: a proxy before the predictor answered in its place, with 401, 403, 502, 503 or 504."""

    code = ErrorCode.GATEWAY_ERROR

    def __init__(self, gateway_status: int, *, retry_after_s: float) -> None:
        super().__init__(
            f"a proxy before the predictor answered with status {gateway_status}; retry, or look at the mesh's "
            "policies and whether a predictor is ready",
            retry_after_s=retry_after_s,
        )
        self.gateway_status = gateway_status
        self.was_forwarded = gateway_status in (502, 504)
        """Whether the proxy may have sent the request on, and got no answer."""


class ReleaseNotServed(NotReady):
    """503: only predictors of another release were found. Not 409: the caller cannot repair either side."""

    code = ErrorCode.RELEASE_NOT_SERVED

    def __init__(self, wanted: str, serving: str, *, retry_after_s: float) -> None:
        super().__init__(
            f"this transformer has release {wanted} and found only a predictor of {serving}; retry, roll both out "
            'together with serving.kserve.io/enable-tag-routing "true", or list the address of '
            f"{wanted} in YIWEN_PREDICTOR_TAGGED_URLS",
            retry_after_s=retry_after_s,
        )


class ColdStartTimeout(NotReady):
    """503: the predictor did not come up in time."""

    code = ErrorCode.PREDICTOR_STARTING

    def __init__(self, waited_s: float, *, retry_after_s: float) -> None:
        super().__init__(
            f"the predictor did not come up within {waited_s:.3g} s; retry, allow more time with `deadline_ms` or "
            "YIWEN_COLD_START_TIMEOUT_S, or look for why it does not start",
            retry_after_s=retry_after_s,
        )


class ColdStartQueueFull(NotReady):
    """503: as many requests as allowed wait for the predictor to come up."""

    code = ErrorCode.COLD_START_QUEUE_FULL

    def __init__(self, waiters: int, *, retry_after_s: float) -> None:
        super().__init__(
            f"the predictor is not up and {waiters} requests wait for it; retry, or raise YIWEN_COLD_START_WAITERS",
            retry_after_s=retry_after_s,
        )


class ConnectionsBusy(Overloaded):
    """429: no connection to the predictor became free in time."""

    code = ErrorCode.CONNECTIONS_BUSY

    def __init__(self, connections: int, *, retry_after_s: float) -> None:
        super().__init__(
            f"all {connections} connections to the predictor are busy; retry later, add replicas, or raise "
            "YIWEN_MAX_CONNECTIONS",
            retry_after_s=retry_after_s,
        )


class AdmissionRejected(Overloaded):
    """429: the work under way leaves no room for this request."""

    code = ErrorCode.ADMISSION_BUDGET_FULL

    def __init__(self, under_way: int, budget: int, wanted: int, *, retry_after_s: float) -> None:
        super().__init__(
            f"translations under way hold {under_way} of {budget} tokens and this request needs up to {wanted}; "
            "retry later, add replicas, or raise YIWEN_ADMISSION_TOKENS",
            retry_after_s=retry_after_s,
        )


class PredictorTooLate(DeadlineExceeded):
    """504: the predictor had not answered at the deadline."""

    def __init__(self, waited_s: float) -> None:
        super().__init__(
            f"no complete answer within {waited_s:.3g} s; allow more time with `deadline_ms`, or send fewer texts"
        )


def _quoted(tag: str) -> str:
    return repr(tag) if _TAG_FORM.fullmatch(tag) else "(not a language tag)"


def _listed(items: Iterable[str]) -> str:
    return ", ".join(items)
