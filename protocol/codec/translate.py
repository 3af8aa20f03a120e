"""Converts TranslateRequest and TranslateResponse to the SDK's types and back, by the transformer's public table.

A source language of None (to be detected) is an empty string in the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import orjson

from protocol.codec.answers import our_fault
from protocol.codec.arrays import Values
from protocol.codec.markup import markup_options_of, markup_parameters
from protocol.codec.parameters import Parameters
from protocol.codec.placeholders import format_placeholders, placeholders_of
from protocol.codec.prompt_options import contexts_of, formality_of
from protocol.codec.release import answer_to, release_of
from protocol.codec.sdk import InferInput, InferOutput, InferRequest, InferResponse
from protocol.codec.tables import check_requested_outputs, numbers, tensor, texts, values_by_name
from protocol.error_codes import ErrorCode
from protocol.errors import InternalFault, InvalidRequest
from protocol.glossary import format_glossary, parse_glossary
from protocol.messages import (
    CacheStatus,
    Formality,
    Glossary,
    OnError,
    TextError,
    TextFormat,
    TranslateRequest,
    TranslateResponse,
    Translation,
)
from protocol.tensors import (
    BATCH_PARAMETERS,
    CACHE,
    CONFIDENCE,
    CONTEXT,
    ERROR,
    FLAGS,
    SOURCE,
    TARGET,
    TEXT,
    TRANSLATE_INPUTS,
    TRANSLATE_OUTPUTS,
    TRANSLATION,
    TensorSpec,
)

_LANGUAGE_PARAMETERS = frozenset((SOURCE.name, TARGET.name))


def translate_request_from_infer(request: InferRequest) -> TranslateRequest:
    """Decode a caller's request to the transformer.

    Raises:
        InvalidRequest: an input, parameter or requested output is missing, unknown or wrong.
        TooLong: the glossary is larger than one may be.
    """
    values = values_by_name(request.inputs, TRANSLATE_INPUTS, "input")
    check_requested_outputs(request, TRANSLATE_OUTPUTS)
    parameters = Parameters.of(request.parameters, BATCH_PARAMETERS)
    wanted = texts(values, TEXT)
    if not wanted:
        raise InvalidRequest("input text is empty: send at least one text")
    sources = _languages(SOURCE, values, parameters, len(wanted)) or [""] * len(wanted)
    targets = _languages(TARGET, values, parameters, len(wanted))
    if targets is None or not all(targets):
        raise InvalidRequest("target is missing: give a language tag, e.g. en, as parameter or tensor")
    given = tuple(source or None for source in sources)
    if CONTEXT.name not in values and parameters.values.keys() <= _LANGUAGE_PARAMETERS:
        return TranslateRequest(tuple(wanted), given, tuple(targets))  # as most requests are
    text_format = text_format_of(parameters)
    return TranslateRequest(
        texts=tuple(wanted),
        sources=given,
        targets=tuple(targets),
        max_new_tokens=parameters.integer("max_new_tokens", low=1),
        deadline_ms=parameters.deadline_ms(),
        text_format=text_format,
        glossary=glossary_of(parameters),
        on_error=_on_error_of(parameters),
        markup=markup_options_of(parameters, text_format),
        placeholders=placeholders_of(parameters),
        contexts=contexts_of(values, parameters, len(wanted)),
        formality=formality_of(parameters),
        join_lines=parameters.flag("join_lines", default=False),
        split_sentences=parameters.flag("split_sentences", default=True),
    )


def infer_from_translate_request(
    request: TranslateRequest, *, model_name: str, request_id: str | None = None
) -> InferRequest:
    """Encode a request; the inverse of :func:`translate_request_from_infer`.

    Args:
        request: texts and their parameters.
        model_name: in the service's URL.
        request_id: of the v2 protocol.
    """
    inputs = [
        tensor(InferInput, TEXT, list(request.texts)),
        tensor(InferInput, TARGET, list(request.targets)),
    ]
    if any(request.sources):
        inputs.append(tensor(InferInput, SOURCE, [source or "" for source in request.sources]))
    if any(request.contexts):
        inputs.append(tensor(InferInput, CONTEXT, list(request.contexts)))
    plain = request.text_format is TextFormat.TEXT
    parameters = {
        "max_new_tokens": request.max_new_tokens,
        "deadline_ms": request.deadline_ms,
        "format": None if plain else request.text_format.value,
        "glossary": None if request.glossary is None else format_glossary(request.glossary),
        "on_error": None if request.on_error is OnError.FAIL else request.on_error.value,
        "placeholders": format_placeholders(request.placeholders),
        "formality": None if request.formality is Formality.DEFAULT else request.formality.value,
        "join_lines": request.join_lines or None,
        "split_sentences": None if request.split_sentences else False,
        **markup_parameters(request.markup),
    }
    return InferRequest(
        model_name=model_name,
        infer_inputs=inputs,
        request_id=request_id,
        parameters={name: value for name, value in parameters.items() if value is not None},
    )


def infer_from_translate_response(
    response: TranslateResponse, request: InferRequest, targets: Sequence[str] = ()
) -> InferResponse:
    """Encode the transformer's response.

    Args:
        response: to ``request``.
        request: as it was sent.
        targets: language tags that the texts were wanted in; empty where nobody needs to know what was served.

    Raises:
        InternalFault: a confidence is not a number in [0, 1].
    """
    answers = response.translations
    confidence = np.array([answer.confidence for answer in answers], dtype=np.float32)
    if not all(0 <= value <= 1 for value in confidence.tolist()):
        raise InternalFault("a confidence is not a number from 0 to 1")
    outputs = [
        tensor(InferOutput, TRANSLATION, [answer.text for answer in answers]),
        tensor(InferOutput, SOURCE, [answer.source for answer in answers]),
        tensor(InferOutput, CONFIDENCE, confidence),
        tensor(InferOutput, CACHE, [answer.cache.value for answer in answers]),
    ]
    asked = {output.name for output in request.request_outputs or ()}
    if FLAGS.name in asked or any(answer.flags for answer in answers):
        outputs.append(tensor(InferOutput, FLAGS, [",".join(answer.flags) for answer in answers]))
    per_text = (request.parameters or {}).get("on_error") == OnError.PER_TEXT.value
    if ERROR.name in asked or per_text:
        outputs.append(tensor(InferOutput, ERROR, [_error_document(answer.error) for answer in answers]))
    served = [answer.target for answer in answers]
    if TARGET.name in asked or (targets and served != list(targets)):
        outputs.append(tensor(InferOutput, TARGET, served))
    return answer_to(request, response.release, outputs)


def translate_response_from_infer(response: InferResponse) -> TranslateResponse:
    """Decode a response; the inverse of :func:`infer_from_translate_response`, without finish reasons.

    Raises:
        InternalFault: the response does not match the table.
    """
    with our_fault("the transformer's answer cannot be read"):
        values = values_by_name(response.outputs, TRANSLATE_OUTPUTS, "output")
        columns = [texts(values, spec) or [] for spec in (TRANSLATION, SOURCE, CACHE)]
        confidence = numbers(values, CONFIDENCE).tolist()
        columns += [texts(values, spec) or [""] * len(confidence) for spec in (FLAGS, ERROR, TARGET)]
        if {len(column) for column in columns} != {len(confidence)}:
            raise InvalidRequest("the outputs differ in length")
        rows = zip(*columns, confidence, strict=True)
        translations = tuple(_translation(*row) for row in rows)
        return TranslateResponse(translations=translations, release=release_of(response))


def _translation(
    text: str, source: str, cache: str, flags: str, error: str, target: str, confidence: float
) -> Translation:
    if not (math.isfinite(confidence) and 0 <= confidence <= 1):
        raise InvalidRequest("a confidence is not a number from 0 to 1")
    try:
        status = CacheStatus(cache)
    except ValueError:
        raise InvalidRequest("a cache status is unknown") from None
    kinds = tuple(flags.split(",")) if flags else ()
    return Translation(
        text=text,
        source=source,
        confidence=confidence,
        cache=status,
        flags=kinds,
        error=_text_error(error),
        target=target,
    )


def _error_document(error: TextError | None) -> str:
    return "" if error is None else orjson.dumps({"code": error.code.value, "error": error.message}).decode()


def _text_error(document: str) -> TextError | None:
    if not document:
        return None
    try:
        match orjson.loads(document):
            case {"code": str(code), "error": str(message)}:
                return TextError(ErrorCode.of(code) or ErrorCode.INTERNAL, message)
    except orjson.JSONDecodeError:
        pass
    raise InvalidRequest("an error is not a JSON object with code and error")


def _on_error_of(parameters: Parameters) -> OnError:
    name = parameters.text("on_error") or OnError.FAIL.value
    try:
        return OnError(name)
    except ValueError:
        known = ", ".join(known.value for known in OnError)
        raise InvalidRequest(f"parameter on_error is unknown; known are {known}") from None


def text_format_of(parameters: Parameters) -> TextFormat:
    """Format of the texts; plain text if the parameter ``format`` is absent."""
    name = parameters.text("format") or TextFormat.TEXT.value
    try:
        return TextFormat(name)
    except ValueError:
        known = ", ".join(known.value for known in TextFormat)
        raise InvalidRequest(f"parameter format is unknown; known are {known}") from None


def glossary_of(parameters: Parameters) -> Glossary | None:
    """The parameter ``glossary``; None if it is absent.

    Raises:
        InvalidRequest, TooLong: as :func:`protocol.glossary.parse_glossary` says.
    """
    text = parameters.text("glossary")
    return None if text is None else parse_glossary(text)


def language_of(parameters: Parameters, name: str) -> str | None:
    """The parameter ``source`` or ``target``; None if it is absent, or an empty source, which is to be detected."""
    if name == SOURCE.name and parameters.values.get(name) == "":
        return None
    return parameters.text(name)


def _languages(
    spec: TensorSpec, values: dict[str, Values], parameters: Parameters, count: int
) -> list[str] | None:
    """One tag for each of ``count`` texts, from the tensor or the parameter; None without both."""
    name = spec.name
    parameter, given = language_of(parameters, name), texts(values, spec)
    if given is None:
        return None if parameter is None else [parameter] * count
    if parameter is not None:
        raise InvalidRequest(f"{name} is there twice, as tensor and as parameter; send one of them")
    if len(given) not in (1, count):
        raise InvalidRequest(
            f"input {name} has {len(given)} values; send 1, or one for each of {count} texts"
        )
    return given * count if len(given) == 1 else given
