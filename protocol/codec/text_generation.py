"""The generate extension of the Open Inference Protocol: JSON documents for one text and its translation.

::

    {"text_input": "...", "parameters": {"target": "zh", ...}}

    {"text_output": "...", "model_name": "...", "model_version": "<release>", "source": "en", "target": "zh",
     "confidence": 0.9, "cache": "miss", "flags": [], "finish_reason": "stop",
     "usage": {"segments": 1, "generated_tokens": 7}}

A stream's events are such documents with ``done``; all but the last have the first two fields alone. Field names are
those of the protocol's generate_rest.yaml. Parameters are those of
:func:`protocol.codec.translate_request_from_infer`.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocol.codec.documents import check_fields, object_field, read_object
from protocol.codec.markup import markup_options_of
from protocol.codec.parameters import Parameters
from protocol.codec.placeholders import placeholders_of
from protocol.codec.prompt_options import context_of, formality_of
from protocol.codec.translate import glossary_of, language_of, text_format_of
from protocol.errors import InternalFault, InvalidRequest
from protocol.messages import TranslateRequest
from protocol.tensors import TRANSLATE_PARAMETERS
from protocol.text_stream import TextDelta, TextEnd

_REQUEST_FIELDS = ("text_input", "parameters")
_EXAMPLE = '{"text_input": "...", "parameters": {"target": "en"}}'


def translate_request_from_generate(body: bytes) -> TranslateRequest:
    """Decode a request to ``generate`` or ``generate_stream`` as a request of one text.

    Raises:
        InvalidRequest: a field or parameter is missing, unknown or wrong.
        TooLong: the glossary is larger than one may be.
    """
    document = read_object(body, _EXAMPLE)
    check_fields(document, _REQUEST_FIELDS, "the request")
    text = document.get("text_input")
    if not isinstance(text, str):
        raise InvalidRequest("text_input must be one string; send several texts to /infer")
    return request_of_text(text, object_field(document, "parameters", "the request"))


def request_of_text(text: str, values: Mapping[str, object]) -> TranslateRequest:
    """Make a request of one text with these parameters.

    Raises:
        InvalidRequest, TooLong: as :func:`translate_request_from_generate` says.
    """
    parameters = Parameters.of(values, TRANSLATE_PARAMETERS)
    target = parameters.text("target")
    if target is None:
        raise InvalidRequest("target is missing: give a language tag, e.g. en, as parameter")
    text_format = text_format_of(parameters)
    context = context_of(parameters)
    return TranslateRequest(
        texts=(text,),
        sources=(language_of(parameters, "source"),),
        targets=(target,),
        max_new_tokens=parameters.integer("max_new_tokens", low=1),
        deadline_ms=parameters.deadline_ms(),
        text_format=text_format,
        glossary=glossary_of(parameters),
        markup=markup_options_of(parameters, text_format),
        placeholders=placeholders_of(parameters),
        contexts=(context,) if context else (),
        formality=formality_of(parameters),
        join_lines=parameters.flag("join_lines", default=False),
        split_sentences=parameters.flag("split_sentences", default=True),
    )


def document_from_text(text: str, end: TextEnd, model_name: str) -> dict[str, object]:
    """The document of a complete answer.

    Args:
        text: the translation.
        end: the fields other than the text.
        model_name: of the service.

    Raises:
        InternalFault: the confidence is not a number in [0, 1].
    """
    return {"text_output": text, "model_name": model_name, **_end(end)}


def document_from_text_delta(delta: TextDelta, model_name: str) -> dict[str, object]:
    """The document of one event of a stream.

    Raises:
        InternalFault: the confidence is not a number in [0, 1].
    """
    document: dict[str, object] = {"text_output": delta.text, "model_name": model_name}
    if delta.end is None:
        return {**document, "done": False}
    return {**document, **_end(delta.end), "done": True}


def checked_confidence(end: TextEnd) -> float:
    """The confidence of ``end``.

    Raises:
        InternalFault: it is not a number in [0, 1].
    """
    if not 0 <= end.confidence <= 1:
        raise InternalFault("a confidence is not a number from 0 to 1")
    return end.confidence


def _end(end: TextEnd) -> dict[str, object]:
    return {
        "model_version": end.release,
        "source": end.source,
        "target": end.target,
        "confidence": checked_confidence(end),
        "cache": end.cache.value,
        "flags": list(end.flags),
        "finish_reason": end.finish_reason.value,
        "usage": {"segments": end.usage.segments, "generated_tokens": end.usage.generated_tokens},
    }
