"""The table of error codes: HTTP status, gRPC status, meaning and fix of everything that a service may answer.

A code is sent beside the words of each error, over REST and gRPC and in streams, and is the same in logs and metrics.
Clients and alerts rely on codes; words may change. docs/errors.md is written from this table.
"""

from __future__ import annotations

from enum import Enum

ERROR_CODE_HEADER = "x-yiwen-error-code"
"""HTTP header and gRPC trailing metadata that carry the code. A response without it is not from a service of ours."""


class Origin(str, Enum):
    """The service in which an error arises. The transformer passes errors of the predictor on."""

    SERVER = "both"
    TRANSFORMER = "transformer"
    PREDICTOR = "predictor"


class ErrorCode(str, Enum):
    """All errors. The first code of an HTTP status stands for the status where nothing else is known of an error."""

    http_status: int
    grpc_status: str
    """Name of the gRPC status code (``grpc.StatusCode[...]``)."""
    origin: Origin
    meaning: str
    fix: str
    """Fix for the caller or the operator."""

    def __new__(
        cls, value: str, http_status: int, grpc_status: str, origin: Origin, meaning: str, fix: str
    ) -> ErrorCode:
        code = str.__new__(cls, value)
        code._value_ = value
        code.http_status, code.grpc_status, code.origin = http_status, grpc_status, origin
        code.meaning, code.fix = meaning, fix
        return code

    INVALID_REQUEST = (
        "invalid_request", 400, "INVALID_ARGUMENT", Origin.SERVER,
        "The request is malformed, or a parameter or tensor is missing, unknown or has a wrong value.",
        "Change what the message names.",
    )  # fmt: skip
    INVALID_TEXT = (
        "invalid_text", 400, "INVALID_ARGUMENT", Origin.TRANSFORMER,
        "A text is not valid Unicode, or the release's tokenizer cannot write it.",
        "Mend the text, or leave it out.",
    )  # fmt: skip
    INVALID_MARKUP = (
        "invalid_markup", 400, "INVALID_ARGUMENT", Origin.TRANSFORMER,
        "A text is not the HTML or XML that `format` says.",
        "Mend the markup, or send it with `format=text`.",
    )  # fmt: skip
    LANGUAGE_UNDETECTED = (
        "language_undetected", 400, "INVALID_ARGUMENT", Origin.TRANSFORMER,
        "A text is in no language that the release translates to the target.",
        "Send `source` if it is one of them.",
    )  # fmt: skip
    UNAUTHENTICATED = (
        "unauthenticated", 401, "UNAUTHENTICATED", Origin.TRANSFORMER,
        "The service needs an API key, and none or no valid one was sent.",
        "Send a key: `Authorization: Bearer KEY`.",
    )  # fmt: skip
    FORBIDDEN = (
        "forbidden", 403, "PERMISSION_DENIED", Origin.SERVER,
        "Models are not loaded or unloaded by request.",
        "Roll a release out as a new revision of the InferenceService.",
    )  # fmt: skip
    KEY_FORBIDDEN = (
        "key_forbidden", 403, "PERMISSION_DENIED", Origin.TRANSFORMER,
        "The API key may not translate to this language, or a setting turns off what was asked for.",
        "Take a language that the message lists, or another key; or turn the setting on.",
    )  # fmt: skip
    PATH_NOT_FOUND = (
        "path_not_found", 404, "NOT_FOUND", Origin.SERVER,
        "Nothing is served at this path.",
        "See `GET /openapi.json` for what is served.",
    )  # fmt: skip
    MODEL_NOT_FOUND = (
        "model_not_found", 404, "NOT_FOUND", Origin.SERVER,
        "The server serves no model or version of this name.",
        "See `GET /v2/models` for the name, and leave the version out.",
    )  # fmt: skip
    LANGUAGE_UNKNOWN = (
        "language_unknown", 404, "NOT_FOUND", Origin.TRANSFORMER,
        "The release does not know a language.",
        "Take a tag that the message lists.",
    )  # fmt: skip
    LANGUAGE_PAIR_UNSUPPORTED = (
        "language_pair_unsupported", 404, "NOT_FOUND", Origin.TRANSFORMER,
        "The release knows both languages but does not translate this pair.",
        "Take a pair that the message lists.",
    )  # fmt: skip
    METHOD_NOT_ALLOWED = (
        "method_not_allowed", 405, "UNIMPLEMENTED", Origin.SERVER,
        "The path does not take this HTTP method.",
        "Use the method in the header `Allow`.",
    )  # fmt: skip
    REQUEST_TIMEOUT = (
        "request_timeout", 408, "DEADLINE_EXCEEDED", Origin.SERVER,
        "The headers or the body of the request did not arrive in time.",
        "Send faster, or raise `YIWEN_HEAD_TIMEOUT_S` or `YIWEN_BODY_TIMEOUT_S`.",
    )  # fmt: skip
    RELEASE_MISMATCH = (
        "release_mismatch", 409, "FAILED_PRECONDITION", Origin.PREDICTOR,
        "Token ids of one release reached a predictor of another; the header `x-yiwen-release` names the latter.",
        "Nothing: a transformer looks for a predictor of its own release.",
    )  # fmt: skip
    BODY_TOO_LARGE = (
        "body_too_large", 413, "RESOURCE_EXHAUSTED", Origin.SERVER,
        "The request has more bytes than `YIWEN_MAX_BODY_BYTES`.",
        "Send fewer texts per request, or raise the setting.",
    )  # fmt: skip
    TEXT_TOO_LONG = (
        "text_too_long", 413, "RESOURCE_EXHAUSTED", Origin.TRANSFORMER,
        "A text, or one sentence of it, is longer than the release takes.",
        "Split the text.",
    )  # fmt: skip
    CONTEXT_TOO_LONG = (
        "context_too_long", 413, "RESOURCE_EXHAUSTED", Origin.TRANSFORMER,
        "The context of a text is longer than the release takes.",
        "Send the sentences next to the text, or raise `limits.max_context_tokens` of the release.",
    )  # fmt: skip
    TOO_MANY_TEXTS = (
        "too_many_texts", 413, "RESOURCE_EXHAUSTED", Origin.TRANSFORMER,
        "The request has more texts, or more sentences, than `YIWEN_MAX_TEXTS`.",
        "Split the request, or raise the setting.",
    )  # fmt: skip
    TEXTS_TOO_LARGE = (
        "texts_too_large", 413, "RESOURCE_EXHAUSTED", Origin.TRANSFORMER,
        "The texts of the request have more bytes, tags, lines or sentences, all together, than are taken.",
        "Split the request, or raise `YIWEN_MAX_TEXT_BYTES` or `YIWEN_MAX_TEXTS`.",
    )  # fmt: skip
    GLOSSARY_TOO_LARGE = (
        "glossary_too_large", 413, "RESOURCE_EXHAUSTED", Origin.TRANSFORMER,
        "The glossary has more characters or entries than one may have, or takes too long to find in the texts.",
        "Send the entries that the texts need, or put them into the release's glossary.",
    )  # fmt: skip
    SEQUENCE_TOO_LONG = (
        "sequence_too_long", 413, "RESOURCE_EXHAUSTED", Origin.PREDICTOR,
        "A prompt and its answer have more tokens than the model takes.",
        "Shorten the text, or lower `max_new_tokens`.",
    )  # fmt: skip
    REQUEST_TOO_LARGE = (
        "request_too_large", 413, "RESOURCE_EXHAUSTED", Origin.PREDICTOR,
        "The request has more tokens than the predictor's whole queue.",
        "Split the request, or raise `YIWEN_QUEUE_TOKENS`.",
    )  # fmt: skip
    UNSUPPORTED_ENCODING = (
        "unsupported_encoding", 415, "INVALID_ARGUMENT", Origin.SERVER,
        "The body has a `Content-Encoding` that is not read.",
        "Take one of the header `Accept-Encoding`, or send the body as it is.",
    )  # fmt: skip
    OVERLOADED = (
        "overloaded", 429, "RESOURCE_EXHAUSTED", Origin.TRANSFORMER,
        "Something in front of the predictor limits the rate of requests.",
        "Retry after the seconds in `Retry-After`.",
    )  # fmt: skip
    BODIES_FULL = (
        "bodies_full", 429, "RESOURCE_EXHAUSTED", Origin.SERVER,
        "The bodies of the requests in progress take as much memory as is allowed.",
        "Retry after `Retry-After`, add replicas, or raise `YIWEN_MAX_BODIES_BYTES`.",
    )  # fmt: skip
    CONNECTIONS_BUSY = (
        "connections_busy", 429, "RESOURCE_EXHAUSTED", Origin.TRANSFORMER,
        "All connections of the pool to the predictor are in use.",
        "Retry after `Retry-After`, add replicas, or raise `YIWEN_MAX_CONNECTIONS`.",
    )  # fmt: skip
    ADMISSION_BUDGET_FULL = (
        "admission_budget_full", 429, "RESOURCE_EXHAUSTED", Origin.TRANSFORMER,
        "The transformer's budget of tokens in progress is used up.",
        "Retry after `Retry-After`, add replicas, or raise `YIWEN_ADMISSION_TOKENS`.",
    )  # fmt: skip
    QUEUE_FULL = (
        "queue_full", 429, "RESOURCE_EXHAUSTED", Origin.PREDICTOR,
        "The predictor's queue is full.",
        "Retry after `Retry-After`, add predictors, or raise `YIWEN_QUEUE_TOKENS`.",
    )  # fmt: skip
    QUOTA_EXCEEDED = (
        "quota_exceeded", 429, "RESOURCE_EXHAUSTED", Origin.TRANSFORMER,
        "The API key's characters of this month are used up.",
        "Wait for the next month, or raise the key's `characters_per_month`.",
    )  # fmt: skip
    RATE_LIMITED = (
        "rate_limited", 429, "RESOURCE_EXHAUSTED", Origin.TRANSFORMER,
        "The API key sends more requests a second than it may.",
        "Retry after the seconds in `Retry-After`, or raise the key's `requests_per_second`.",
    )  # fmt: skip
    HEAD_TOO_LARGE = (
        "head_too_large", 431, "RESOURCE_EXHAUSTED", Origin.SERVER,
        "The request has more headers, or longer ones, than a request may have.",
        "Send fewer headers.",
    )  # fmt: skip
    CLIENT_CLOSED_REQUEST = (
        "client_closed_request", 499, "CANCELLED", Origin.SERVER,
        "The client disconnected or cancelled; logged and counted, never sent.",
        "Allow more time at the client.",
    )  # fmt: skip
    INTERNAL = (
        "internal", 500, "INTERNAL", Origin.SERVER,
        "A fault of ours.",
        "Retry; see the log line with the request's id.",
    )  # fmt: skip
    PREDICTOR_PROTOCOL = (
        "predictor_protocol", 500, "INTERNAL", Origin.TRANSFORMER,
        "The predictor's answer does not follow the protocol.",
        "Run transformer and predictor of one version; check `YIWEN_PREDICTOR_URL`.",
    )  # fmt: skip
    NOT_READY = (
        "not_ready", 503, "UNAVAILABLE", Origin.SERVER,
        "The server is starting or unhealthy.",
        "Retry after `Retry-After`.",
    )  # fmt: skip
    SHUTTING_DOWN = (
        "shutting_down", 503, "UNAVAILABLE", Origin.SERVER,
        "The server is shutting down.",
        "Retry: another replica answers.",
    )  # fmt: skip
    PREDICTOR_UNREACHABLE = (
        "predictor_unreachable", 503, "UNAVAILABLE", Origin.TRANSFORMER,
        "No connection to the predictor, or it broke before the answer was complete.",
        "Retry; check `YIWEN_PREDICTOR_URL` and the predictor.",
    )  # fmt: skip
    GATEWAY_ERROR = (
        "gateway_error", 503, "UNAVAILABLE", Origin.TRANSFORMER,
        "A proxy before the predictor (mesh, ingress, activator, queue-proxy) answered in its place.",
        "Retry; if it goes on, look at the mesh's policies and whether predictors are ready.",
    )  # fmt: skip
    PREDICTOR_STARTING = (
        "predictor_starting", 503, "UNAVAILABLE", Origin.TRANSFORMER,
        "The predictor did not become ready while the request waited for it.",
        "Retry, allow more time with `deadline_ms` or `YIWEN_COLD_START_TIMEOUT_S`, or look why it does not start.",
    )  # fmt: skip
    COLD_START_QUEUE_FULL = (
        "cold_start_queue_full", 503, "UNAVAILABLE", Origin.TRANSFORMER,
        "As many requests as allowed wait for the predictor to become ready.",
        "Retry after `Retry-After`, or raise `YIWEN_COLD_START_WAITERS`.",
    )  # fmt: skip
    RELEASE_NOT_SERVED = (
        "release_not_served", 503, "UNAVAILABLE", Origin.TRANSFORMER,
        "No predictor of the transformer's release was found.",
        "Retry; roll transformer and predictor out together.",
    )  # fmt: skip
    DEADLINE_EXCEEDED = (
        "deadline_exceeded", 504, "DEADLINE_EXCEEDED", Origin.SERVER,
        "The deadline passed before the answer was complete.",
        "Allow more time with `deadline_ms`, or send fewer texts.",
    )  # fmt: skip

    @classmethod
    def of(cls, value: str | None) -> ErrorCode | None:
        """The code that is written ``value``; None if there is none."""
        return next((code for code in cls if code.value == value), None)

    @classmethod
    def of_status(cls, http_status: int) -> ErrorCode:
        """The code that stands for ``http_status``; the most general one for a status that no code has."""
        general = cls.INVALID_REQUEST if http_status < cls.INTERNAL.http_status else cls.INTERNAL
        return next((code for code in cls if code.http_status == http_status), general)

    @classmethod
    def of_predictor(cls) -> tuple[ErrorCode, ...]:
        """The codes of errors that a predictor answers with."""
        return tuple(code for code in cls if code.origin is not Origin.TRANSFORMER)


PER_TEXT_CODES = frozenset(
    {
        ErrorCode.INVALID_TEXT,
        ErrorCode.INVALID_MARKUP,
        ErrorCode.LANGUAGE_UNDETECTED,
        ErrorCode.LANGUAGE_UNKNOWN,
        ErrorCode.LANGUAGE_PAIR_UNSUPPORTED,
        ErrorCode.TEXT_TOO_LONG,
        ErrorCode.CONTEXT_TOO_LONG,
        ErrorCode.DEADLINE_EXCEEDED,
    }
)
"""Errors that concern one text of a request: with ``on_error=per_text`` they do not fail the other texts."""
