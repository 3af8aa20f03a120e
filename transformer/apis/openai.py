"""OpenAI's chat completions and models, also under KServe's prefix ``/openai``.

A message's content is the text to translate, never an instruction. The languages come from Qwen-MT's
``translation_options``, from the codes of a content part as TranslateGemma has them in vLLM, or from the model's
name: ``demo@en-zh``, or ``demo@zh`` to detect the source. Anything else is answered with 400 and a hint.

``/v1/models`` is a path of KServe's v1 protocol as well: the documents hold the fields of both.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

import orjson

from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, NotFound, NotReady, YiwenError
from protocol.glossary import MAX_GLOSSARY_ENTRIES, normalize_term
from protocol.messages import FinishReason, Glossary, TranslateRequest
from protocol.template_sections import CONTEXT
from protocol.text_stream import TextDelta
from serving.api_app import ApiRoute
from serving.api_request import ApiRequest, EventFrames, Fields
from serving.error_responses import RestResponse
from transformer.apis.answers import (
    FLAGS_HEADER,
    IGNORED_HEADER,
    STRING,
    json_answer,
    listing_header,
    operation,
)
from transformer.apis.text_service import TextService, request_of

_HINT = (
    "this model translates the user's message and follows no instructions: name the languages with the model "
    "({name}@en-zh), with translation_options, or with source_lang_code and target_lang_code of a content part"
)
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_STATUSES = {
    ErrorCode.LANGUAGE_UNKNOWN: 400,
    ErrorCode.LANGUAGE_PAIR_UNSUPPORTED: 400,
    ErrorCode.RELEASE_MISMATCH: 503,
}
_KNOWN = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "translation_options",
        "n",
    }
)  # fmt: skip
_KNOWN_OPTIONS = frozenset({"source_lang", "target_lang", "terms", "tm_list", "domains"})
_QWEN_MT = "qwen-mt"
"""Clients of Qwen-MT may be unable to name another model."""


@dataclass(frozen=True, slots=True)
class _Languages:
    """The language pair that a request names; None detects the source."""

    source: str | None
    target: str


@dataclass(frozen=True, slots=True)
class _Chat:
    """A decoded request."""

    message: TranslateRequest
    model: str
    text: str
    memory: Mapping[str, str]
    """Translations of whole texts that the request brings (``tm_list``)."""
    ignored: tuple[str, ...]


class OpenAIApi:
    """OpenAI's surface."""

    name = "openai"
    open_to_pages = False

    def __init__(self, service: TextService) -> None:
        self._service = service
        self._languages = service.languages
        self._started = int(time.time())
        pairs = [f"{service.model_name}@{source}-{target}" for source, target in self._languages.pairs]
        message = {"role": {"type": "string", "enum": ["user"]}, "content": STRING}
        fields: dict[str, dict[str, object]] = {
            "model": {"anyOf": [{"enum": pairs}, {"type": "string"}]},
            "messages": {"type": "array", "items": {"type": "object", "properties": message}},
            "stream": {"type": "boolean"},
        }
        chat = operation("Translate the user's message", fields, required=("model", "messages"))
        self.routes = []
        for prefix in ("/v1", "/openai/v1"):
            self.routes += [
                ApiRoute("POST", f"{prefix}/chat/completions", self._complete, chat),
                ApiRoute("GET", f"{prefix}/models", self._models, operation("Names of the models")),
                ApiRoute("GET", f"{prefix}/models/{{model}}", self._model, operation("One model")),
            ]

    def error(self, error: YiwenError) -> RestResponse:
        """``{"error": {"message", "type", "param", "code"}}``."""
        status = _STATUSES.get(error.code, error.status)
        return json_answer(_error(error, status), status)

    def error_event(self, error: YiwenError) -> bytes:
        """An event with the error, which the client raises."""
        return _frame(_error(error, error.status))

    async def _complete(self, request: ApiRequest) -> RestResponse | EventFrames:
        fields = request.fields
        chat = self._chat(fields)
        if fields.flag("stream"):
            options = fields.value("stream_options")
            usage = isinstance(options, dict) and bool(options.get("include_usage"))
            return EventFrames(self._chunks(chat, request, with_usage=usage))
        known = chat.memory.get(normalize_term(chat.text))
        headers = listing_header(IGNORED_HEADER, chat.ignored)
        finish, answer = "stop", known or ""
        if known is None:
            (translation,) = (await self._service.translate(chat.message, request)).translations
            answer, finish = translation.text, _finish_reason(translation.finish_reason)
            headers |= listing_header(FLAGS_HEADER, translation.flags)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": answer, "refusal": None},
            "logprobs": None,
            "finish_reason": finish,
        }
        document = {
            **_head(chat, request, "chat.completion"),
            "choices": [choice],
            "usage": self._usage(chat.text, answer),
        }
        return json_answer(document, headers=headers)

    async def _chunks(
        self, chat: _Chat, request: ApiRequest, *, with_usage: bool
    ) -> AsyncGenerator[bytes, None]:
        head = _head(chat, request, "chat.completion.chunk")

        def chunk(delta: Mapping[str, object], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return _frame({**head, "choices": [choice]})

        answer: list[str] = []
        finish = "stop"
        known = chat.memory.get(normalize_term(chat.text))
        first = True
        async with aclosing(self._deltas(chat, request, known)) as deltas:
            async for delta in deltas:
                if first:
                    yield chunk({"role": "assistant", "content": ""})
                    first = False
                if delta.text:
                    answer.append(delta.text)
                    yield chunk({"content": delta.text})
                if delta.end is not None:
                    finish = _finish_reason(delta.end.finish_reason)
        yield chunk({}, finish)
        if with_usage:
            yield _frame({**head, "choices": [], "usage": self._usage(chat.text, "".join(answer))})
        yield b"data: [DONE]\n\n"

    async def _deltas(
        self, chat: _Chat, request: ApiRequest, known: str | None
    ) -> AsyncGenerator[TextDelta, None]:
        if known is not None:
            yield TextDelta(known)
            return
        async with aclosing(self._service.stream(chat.message, request)) as items:
            async for item in items:
                if isinstance(item, TextDelta):
                    yield item

    def _usage(self, text: str, answer: str) -> dict[str, int]:
        """Tokens of the text and of its translation in the release's vocabulary, whether or not it was cached."""
        prompt, completion = (self._service.count_tokens([each]) for each in (text, answer))
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    async def _models(self, request: ApiRequest) -> RestResponse:
        name = self._service.model_name
        names = [name, *(f"{name}@{source}-{target}" for source, target in self._languages.pairs)]
        data = [self._model_document(each) for each in names]
        return json_answer({"object": "list", "data": data, "models": [name]})

    async def _model(self, request: ApiRequest) -> RestResponse:
        given = request.arguments["model"]
        name, _, pair = given.partition("@")
        if name != self._service.model_name or (pair and self._named_pair(pair) is None):
            raise _unknown_model(self._service.model_name)
        if not self._service.is_ready:
            raise NotReady(f"{name} is not ready", retry_after_s=1.0)
        return json_answer({**self._model_document(given), "name": given, "ready": True})

    def _model_document(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._started, "owned_by": "yiwen"}

    def _chat(self, fields: Fields) -> _Chat:
        """Decode a request.

        Raises:
            InvalidRequest: it does not say what to translate, or how.
            NotFound: it names another model.
        """
        model = fields.text("model")
        if not model:
            raise InvalidRequest("you must provide a model parameter")
        if (fields.integer("n") or 1) != 1:
            raise InvalidRequest("n must be 1: there is one translation of a text")
        hint = _HINT.format(name=self._service.model_name)
        content = _user_content(fields, hint)
        options = fields.value("translation_options")
        if options is not None and not isinstance(options, dict):
            raise InvalidRequest("translation_options must be an object")
        text, part = _text_of(content, hint)
        languages = self._pair_of(model, options, part)
        if languages is None:
            raise InvalidRequest(hint)
        if options is None:
            options = {}
        domain = options.get("domains") or ""
        if not isinstance(domain, str):
            raise InvalidRequest("translation_options.domains must be a string")
        has_context = self._languages.has_section(CONTEXT, languages.source, languages.target)
        message = replace(
            request_of([text], languages.source, languages.target),
            contexts=(domain,) if domain and has_context else (),
            max_new_tokens=fields.integer("max_completion_tokens") or fields.integer("max_tokens"),
            glossary=_terms(options),
        )
        ignored = [name for name in fields.names if name not in _KNOWN and name.isidentifier()]
        ignored += [f"translation_options.{name}" for name in options if name not in _KNOWN_OPTIONS]
        ignored += ["translation_options.domains"] if domain and not has_context else []
        ignored = [name for name in ignored if name.isascii() and len(name) <= 60]
        return _Chat(message, model, text, dict(_pairs(options, "tm_list")), tuple(ignored))

    def _pair_of(
        self, model: str, options: Mapping[str, object] | None, part: Mapping[str, object]
    ) -> _Languages | None:
        """The languages from options, content part or model name, in this order; None if nothing names them."""
        name, at, pair = model.partition("@")
        known = name == self._service.model_name or (options is not None and name.startswith(_QWEN_MT))
        if not known:
            raise _unknown_model(self._service.model_name)
        if options is not None:
            return _Languages(
                self._tag(options.get("source_lang", "auto"), "source_lang"),
                self._target(options.get("target_lang"), "target_lang"),
            )
        if "target_lang_code" in part:
            return _Languages(
                self._tag(part.get("source_lang_code", "auto"), "source_lang_code"),
                self._target(part["target_lang_code"], "target_lang_code"),
            )
        if not at:
            return None
        named = self._named_pair(pair)
        if named is None:
            raise _unknown_model(self._service.model_name)
        return named

    def _named_pair(self, pair: str) -> _Languages | None:
        """``en-zh``, or ``zh`` alone. Tags are the release's own: every hyphen may be the one between them."""
        places = [place for place, letter in enumerate(pair) if letter == "-"]
        for place in places:
            found = (self._languages.exact(pair[:place]), self._languages.exact(pair[place + 1 :]))
            if found[0] is not None and found[1] is not None and found in self._languages.pairs:
                return _Languages(found[0], found[1])
        target = self._languages.exact(pair)
        return None if target is None else _Languages(None, target)

    def _tag(self, value: object, field: str) -> str | None:
        if value in (None, "", "auto"):
            return None
        return self._target(value, field)

    def _target(self, value: object, field: str) -> str:
        if not isinstance(value, str) or not value:
            raise InvalidRequest(f"{field} must name a language")
        tag = self._languages.by_name(value)
        if tag is None:
            served = ", ".join(self._languages.names)
            raise InvalidRequest(f"{field} is not a language of this model: {served}")
        return tag


def _user_content(fields: Fields, hint: str) -> object:
    """The content of the one message.

    Raises:
        InvalidRequest: there is more than one message, or it is not the user's.
    """
    messages = fields.value("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages must be a list with one message of the user")
    if len(messages) > 1 or not isinstance(messages[0], dict) or messages[0].get("role") != "user":
        raise InvalidRequest(f"messages must be one message of the user; {hint}")
    return messages[0].get("content")


def _text_of(content: object, hint: str) -> tuple[str, Mapping[str, object]]:
    """The text of a content, and its part with language codes."""
    if isinstance(content, str):
        return content, {}
    if not isinstance(content, list) or not content:
        raise InvalidRequest("content must be a string, or a list of parts of type text")
    texts: list[str] = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise InvalidRequest(f"content must be a string, or a list of parts of type text; {hint}")
        texts.append(part["text"])
    coded = [part for part in content if "target_lang_code" in part]
    if coded and len(content) > 1:
        raise InvalidRequest("a content part with language codes must be the only one")
    return "\n".join(texts), coded[0] if coded else {}


def _terms(options: Mapping[str, object]) -> Glossary | None:
    terms = _pairs(options, "terms")
    if len(terms) > MAX_GLOSSARY_ENTRIES:
        raise InvalidRequest(f"translation_options.terms has more than {MAX_GLOSSARY_ENTRIES} entries")
    return Glossary(terms=tuple(terms)) if terms else None


def _pairs(options: Mapping[str, object], name: str) -> list[tuple[str, str]]:
    """A list of ``{"source", "target"}`` objects, as normalized terms."""
    listed = options.get(name) or []
    example = f'translation_options.{name} must be a list like [{{"source": "...", "target": "..."}}]'
    if not isinstance(listed, list):
        raise InvalidRequest(example)
    found: dict[str, str] = {}
    for each in listed:
        source, target = (each.get("source"), each.get("target")) if isinstance(each, dict) else (None, None)
        if (
            not isinstance(source, str)
            or not isinstance(target, str)
            or not source.strip()
            or not target.strip()
        ):
            raise InvalidRequest(example)
        found[normalize_term(source)] = target if name == "tm_list" else normalize_term(target)
    return list(found.items())


def _finish_reason(reason: FinishReason) -> str:
    return "length" if reason is FinishReason.LENGTH else "stop"


def _head(chat: _Chat, request: ApiRequest, kind: str) -> dict[str, object]:
    return {
        "id": f"chatcmpl-{request.info.request_id}",
        "object": kind,
        "created": int(time.time()),
        "model": chat.model,
    }


def _error(error: YiwenError, status: int) -> dict[str, object]:
    if error.code is ErrorCode.QUOTA_EXCEEDED:
        document = {"message": error.message, "type": "insufficient_quota", "param": None}
        return {"error": {**document, "code": "insufficient_quota"}}
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": error.message, "type": kind, "param": None, "code": error.code.value}}


def _frame(document: Mapping[str, object]) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(document)


def _unknown_model(name: str) -> NotFound:
    return NotFound(f"the model does not exist: this server serves {name}, and {name}@SOURCE-TARGET")
