"""Wire to messages and back: REST bytes or gRPC messages, the SDK's tensors, our frozen message types.

::

    REST bytes ── rest ──────┐
                             ├── InferRequest / InferResponse ── translate | generate ── messages
    gRPC messages ─ protobuf ┘
    server-sent events ─────────────── stream ────────────────────────────────────────── TokenDelta
    JSON of the generate extension ─── text_generation ───────────────── TranslateRequest, TextDelta
    our own gRPC services ──────────── generation_proto ───────────── the requests and deltas above

Every request that is malformed raises :class:`protocol.errors.InvalidRequest` with the fix in its message; an answer
that is malformed raises :class:`protocol.errors.InternalFault`. Serving and sending are elsewhere.
"""

from __future__ import annotations

from protocol.codec.generate import (
    generate_request_from_infer,
    generate_response_from_infer,
    infer_from_generate_request,
    infer_from_generate_response,
)
from protocol.codec.generation_proto import (
    STREAM_METHOD,
    TEXT_SERVICE,
    TOKEN_SERVICE,
    Addressed,
    decode_text_stream_request,
    decode_token_stream_request,
    encode_text_delta,
    encode_token_delta,
    encode_warming,
)
from protocol.codec.protobuf import (
    decode_grpc_request,
    decode_grpc_response,
    encode_grpc_request,
    encode_grpc_response,
)
from protocol.codec.rest import (
    JSON_LENGTH_HEADER,
    decode_rest_request,
    decode_rest_response,
    encode_rest_request,
    encode_rest_response,
)
from protocol.codec.sdk import InferInput, InferOutput, InferRequest, InferResponse
from protocol.codec.stream import (
    EVENT_STREAM,
    HEARTBEAT,
    EventDecoder,
    ServerSentEvent,
    delta_from_event,
    document_from_delta,
    encode_error_event,
    encode_event,
)
from protocol.codec.text_generation import (
    document_from_text,
    document_from_text_delta,
    translate_request_from_generate,
)
from protocol.codec.translate import (
    infer_from_translate_request,
    infer_from_translate_response,
    translate_request_from_infer,
    translate_response_from_infer,
)

__all__ = [
    "EVENT_STREAM",
    "HEARTBEAT",
    "JSON_LENGTH_HEADER",
    "STREAM_METHOD",
    "TEXT_SERVICE",
    "TOKEN_SERVICE",
    "Addressed",
    "EventDecoder",
    "InferInput",
    "InferOutput",
    "InferRequest",
    "InferResponse",
    "ServerSentEvent",
    "decode_grpc_request",
    "decode_grpc_response",
    "decode_rest_request",
    "decode_rest_response",
    "decode_text_stream_request",
    "decode_token_stream_request",
    "delta_from_event",
    "document_from_delta",
    "document_from_text",
    "document_from_text_delta",
    "encode_error_event",
    "encode_event",
    "encode_grpc_request",
    "encode_grpc_response",
    "encode_rest_request",
    "encode_rest_response",
    "encode_text_delta",
    "encode_token_delta",
    "encode_warming",
    "generate_request_from_infer",
    "generate_response_from_infer",
    "infer_from_generate_request",
    "infer_from_generate_response",
    "infer_from_translate_request",
    "infer_from_translate_response",
    "translate_request_from_generate",
    "translate_request_from_infer",
    "translate_response_from_infer",
]
