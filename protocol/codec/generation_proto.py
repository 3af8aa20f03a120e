"""Codec of the messages of our own gRPC services, which ``protocol/proto`` defines.

Requests are checked by the code that checks REST requests: the same values are refused with the same messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import DecodeError

from protocol.codec.generate import generate_request_from_infer, infer_from_generate_request
from protocol.codec.stream import check_logprobs
from protocol.codec.text_generation import checked_confidence, request_of_text
from protocol.errors import InvalidRequest
from protocol.messages import GenerateRequest, SamplingParams, TokenDelta, TranslateRequest
from protocol.proto.yiwen.v1 import generation_pb2 as pb
from protocol.text_stream import TextDelta

TEXT_SERVICE = "yiwen.v1.TextGeneration"
"""On the transformer."""
TOKEN_SERVICE = "yiwen.v1.TokenGeneration"
"""On the predictor."""
STREAM_METHOD = "GenerateStream"
"""Of both."""

_OPTIONAL_TEXTS = ("source", "target", "format", "glossary", "context", "formality")
"""Fields of TextStreamRequest that are request parameters; empty for none."""
_TAG_LISTS = ("ignore_tags", "splitting_tags", "non_splitting_tags")
_OPTIONS_TO_SET = ("translate_attributes", "translate_cdata", "join_lines")
"""Parameters that are false unless they are set."""

_Request = TypeVar("_Request")


@dataclass(frozen=True, slots=True)
class Addressed(Generic[_Request]):
    """A request with the model that it is for."""

    model_name: str
    model_version: str
    """Empty for any version."""
    request: _Request


def decode_text_stream_request(message: bytes) -> Addressed[TranslateRequest]:
    """Decode a caller's request to the transformer.

    Raises:
        InvalidRequest, TooLong: as :func:`protocol.codec.translate_request_from_generate`.
    """
    asked = _parse(pb.TextStreamRequest, message)
    values: dict[str, object] = {name: getattr(asked, name) or None for name in _OPTIONAL_TEXTS}
    values |= {name: ",".join(getattr(asked, name)) or None for name in _TAG_LISTS}
    values |= {name: True for name in _OPTIONS_TO_SET if getattr(asked, name)}
    values |= _present(asked, "max_new_tokens", "deadline_ms", "outline_detection", "split_sentences")
    values["placeholders"] = list(asked.placeholders) or None
    request = request_of_text(asked.text_input, values)
    return Addressed(asked.model_name, asked.model_version, request)


def encode_text_delta(delta: TextDelta) -> bytes:
    """One message of the transformer's stream.

    Raises:
        InternalFault: the confidence is not a number in [0, 1].
    """
    message = pb.TextStreamResponse(text_output=delta.text)
    end = delta.end
    if end is not None:
        message.end.CopyFrom(
            pb.TextEnd(
                source=end.source,
                target=end.target,
                confidence=checked_confidence(end),
                cache=end.cache.value,
                finish_reason=end.finish_reason.value,
                flags=end.flags,
                release=end.release,
                usage=pb.Usage(segments=end.usage.segments, generated_tokens=end.usage.generated_tokens),
            )
        )
    return _bytes(message)


def encode_warming(waited_s: float) -> bytes:
    """The message that says that the model is being started, ``waited_s`` seconds after the request came."""
    return _bytes(pb.TextStreamResponse(warming=pb.Warming(waited_s=waited_s)))


def decode_token_stream_request(message: bytes) -> Addressed[GenerateRequest]:
    """Decode a caller's request to the predictor.

    Raises:
        InvalidRequest: as :func:`protocol.codec.generate_request_from_infer`.
    """
    asked = _parse(pb.TokenStreamRequest, message)
    unchecked = GenerateRequest(
        prompts=tuple(tuple(prompt.token_ids) for prompt in asked.prompts),
        max_new_tokens=tuple(prompt.max_new_tokens for prompt in asked.prompts),
        max_repeats=tuple(prompt.max_repeats for prompt in asked.prompts),
        params=SamplingParams(**_present(asked, "temperature", "top_p", "top_k", "seed")),
        release=asked.release or None,
        deadline_ms=_present(asked, "deadline_ms").get("deadline_ms"),
    )
    # The codec of tensors checks the request.
    infer = infer_from_generate_request(unchecked, model_name=asked.model_name)
    return Addressed(asked.model_name, asked.model_version, generate_request_from_infer(infer))


def encode_token_delta(delta: TokenDelta) -> bytes:
    """One message of the predictor's stream.

    Raises:
        InternalFault: a log-probability is not a finite number.
    """
    check_logprobs(delta)
    message = pb.TokenStreamResponse(index=delta.index, token_ids=delta.token_ids, logprobs=delta.logprobs)
    end = delta.end
    if end is not None:
        message.end.CopyFrom(
            pb.TokenEnd(finish_reason=end.finish_reason.value, logprob=end.logprob, release=end.release)
        )
    return _bytes(message)


def _parse(kind: type[Any], message: bytes) -> Any:  # noqa: ANN401  protobuf has no types here
    try:
        return kind.FromString(message)
    except DecodeError:
        name = kind.DESCRIPTOR.full_name
        raise InvalidRequest(f"the message is not a {name}; its text must be UTF-8") from None


def _bytes(message: Any) -> bytes:  # noqa: ANN401  as in _parse
    data: bytes = message.SerializeToString()
    return data


def _present(message: Any, *names: str) -> dict[str, Any]:  # noqa: ANN401  as in _parse
    return {name: getattr(message, name) for name in names if message.HasField(name)}
