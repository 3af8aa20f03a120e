"""DeepL's API v2: /v2/translate, /v2/languages and /v2/usage; :mod:`transformer.apis.deepl_glossaries` has the rest.

Fields are those of DeepL's OpenAPI file, version 3.11. Bodies are JSON or forms, for a GET too: deepl-python sends
``type=target`` so, and deep-translator asks with GET and a query.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, YiwenError
from protocol.messages import DEFAULT_MARKUP, MarkupOptions, TextFormat
from serving.api_app import ApiRoute
from serving.api_request import ApiRequest, Fields
from serving.error_responses import RestResponse
from transformer.apis.answers import (
    FLAGS_HEADER,
    FORM_OR_JSON,
    IGNORED_HEADER,
    STRING,
    STRINGS,
    json_answer,
    listing_header,
    operation,
)
from transformer.apis.deepl_documents import DeepLDocuments
from transformer.apis.deepl_glossaries import DeepLGlossaries
from transformer.apis.deepl_languages import (
    formality_of,
    language_of,
    languages_of,
    source_code,
    source_languages,
    target_languages,
)
from transformer.apis.file_store import FileStore
from transformer.apis.glossary_store import GlossaryStore
from transformer.apis.text_service import TextService, request_of

DEADLINE_MS = 9_000
"""DeepL's clients give up after 10 s. A deadline that passes is answered with 503, which they retry; by then what was
complete is in the cache."""
MAX_GLOSSARIES = 5
_UNLIMITED = 1_000_000_000_000
"""What DeepL answers as the limit of accounts without one."""

_STATUSES = {
    ErrorCode.LANGUAGE_UNKNOWN: 400,
    ErrorCode.LANGUAGE_PAIR_UNSUPPORTED: 400,
    ErrorCode.DEADLINE_EXCEEDED: 503,
    ErrorCode.UNAUTHENTICATED: 403,
    ErrorCode.QUOTA_EXCEEDED: 456,
    ErrorCode.REQUEST_TIMEOUT: 400,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
}
"""DeepL's statuses, where they are not the error table's own."""
_REFUSED = ("style_id", "translation_memory_id")
"""Parameters that name resources which only DeepL has."""
_TAG_LISTS = ("ignore_tags", "splitting_tags", "non_splitting_tags")
_MAX_TAGS = 256
"""Tags of one list."""
_WITHOUT_EFFECT = {
    "custom_instructions": (),
    "translation_memory_threshold": (),
}
"""Parameters that are accepted and change nothing, with the values that ask for nothing."""
_VALUES = {
    "split_sentences": ("1", "0", "nonewlines", "true", "false"),
}
_KNOWN = frozenset(
    {
        "text", "target_lang", "source_lang", "preserve_formatting", "model_type", "glossary_id", "glossary_ids",
        "tag_handling", "tag_handling_version", "outline_detection", "show_billed_characters", "auth_key",
        "context", "formality", "split_sentences",
        *_TAG_LISTS, *_WITHOUT_EFFECT, *_REFUSED,
    }
)  # fmt: skip
_PROMPT_OPTIONS = ("context", "formality")
"""Parameters that a release may have no place for; flags of the translations then name them."""
_MODEL_TYPES = {
    "quality_optimized": "quality_optimized",
    "prefer_quality_optimized": "quality_optimized",
    "latency_optimized": "latency_optimized",
}
_FIELDS = {
    "text": STRINGS,
    "glossary_id": STRING,
    "tag_handling": {"type": "string", "enum": ["xml", "html"]},
}


@dataclass(frozen=True, slots=True)
class _Options:
    """What a request asks for besides texts and languages."""

    text_format: TextFormat
    markup: MarkupOptions
    split_sentences: str
    model_type: str | None
    tag_handling_version: str | None
    ignored: tuple[str, ...]


class DeepLApi:
    """DeepL's surface."""

    name = "deepl"
    open_to_pages = False

    def __init__(self, service: TextService, glossaries: GlossaryStore, files: FileStore) -> None:
        self._service = service
        self._languages = service.languages
        self._glossaries = DeepLGlossaries(service, glossaries)
        language = self._languages.schema
        fields = {**_FIELDS, "target_lang": language, "source_lang": language}
        translate = operation(
            "Translate texts", fields, required=("text", "target_lang"), media_types=FORM_OR_JSON
        )
        self.routes = [
            ApiRoute("POST", "/v2/translate", self._translate, translate),
            ApiRoute("GET", "/v2/translate", self._translate, operation("Translate texts, from a query")),
            ApiRoute("GET", "/v2/languages", self._list_languages, operation("Source or target languages")),
            ApiRoute("POST", "/v2/languages", self._list_languages, operation("The same")),
            ApiRoute("GET", "/v3/languages", self._list_languages_v3, operation("Languages of a resource")),
            ApiRoute("GET", "/v2/usage", self._usage, operation("Characters used and allowed")),
            ApiRoute("POST", "/v2/usage", self._usage, operation("The same")),
            *self._glossaries.routes,
            *DeepLDocuments(service, self._glossaries, files).routes,
        ]

    def error(self, error: YiwenError) -> RestResponse:
        """``{"message": "..."}``."""
        return json_answer({"message": error.message}, _STATUSES.get(error.code, error.status))

    def error_event(self, error: YiwenError) -> bytes:
        """Not used: nothing is streamed."""
        return b""

    async def _translate(self, request: ApiRequest) -> RestResponse:
        fields = request.fields
        texts = fields.texts("text")
        if not texts:
            raise InvalidRequest("Parameter 'text' not specified.")
        target = language_of(self._languages, "target_lang", fields.text("target_lang"))
        given = fields.text("source_lang")
        source = language_of(self._languages, "source_lang", given) if given else None
        options = _options(fields)
        context = fields.text("context")
        message = replace(
            request_of(texts, source, target),
            contexts=(context,) * len(texts) if context else (),
            formality=formality_of(self._languages, fields.text("formality"), source, target),
            text_format=options.text_format,
            markup=options.markup,
            join_lines=options.split_sentences == "nonewlines",
            split_sentences=options.split_sentences not in ("0", "false"),
            deadline_ms=DEADLINE_MS,
            glossary=await self._glossaries.glossary_for(
                request, _glossary_ids(fields), texts, (source, target)
            ),
        )
        response = await self._service.translate(message, request)
        translations = []
        for text, each in zip(texts, response.translations, strict=True):
            known = self._languages.resolve(each.source)
            document: dict[str, object] = {
                "detected_source_language": source_code(known or self._languages.sources[0]),
                "text": each.text,
                "billed_characters": len(text),
            }
            if options.model_type is not None:
                document["model_type_used"] = options.model_type
            if options.tag_handling_version is not None:
                document["tag_handling_version"] = options.tag_handling_version
            translations.append(document)
        flags = [flag for each in response.translations for flag in each.flags]
        ignored = [*options.ignored, *(flag for flag in flags if flag in _PROMPT_OPTIONS)]
        headers = listing_header(IGNORED_HEADER, ignored) | listing_header(
            FLAGS_HEADER, (flag for flag in flags if flag not in _PROMPT_OPTIONS)
        )
        return json_answer({"translations": translations}, headers=headers)

    async def _list_languages(self, request: ApiRequest) -> RestResponse:
        kind = request.fields.text("type") or "source"
        if kind not in ("source", "target"):
            raise InvalidRequest("Value for 'type' not supported. It must be 'source' or 'target'.")
        listed = source_languages if kind == "source" else target_languages
        return json_answer(list(listed(self._languages)))

    async def _list_languages_v3(self, request: ApiRequest) -> RestResponse:
        resource = request.fields.text("resource")
        if not resource:
            raise InvalidRequest("Parameter 'resource' not specified.")
        return json_answer(languages_of(self._languages, resource))

    async def _usage(self, request: ApiRequest) -> RestResponse:
        account = await self._service.account(request)
        limit = _UNLIMITED if account.limit is None else account.limit
        return json_answer({"character_count": account.used, "character_limit": limit})


def _options(fields: Fields) -> _Options:
    """What is done, what is only accepted, and what is refused.

    Raises:
        InvalidRequest: a value is not one of DeepL's, or a parameter is refused.
    """
    for name in _REFUSED:
        if fields.value(name):
            raise InvalidRequest(f"Parameter '{name}' is not supported by this server.")
    model_type = fields.text("model_type")
    if model_type is not None and model_type not in _MODEL_TYPES:
        raise InvalidRequest("Value for 'model_type' not supported.")
    handling = fields.text("tag_handling") or ""
    if handling not in ("", "xml", "html"):
        raise InvalidRequest("Value for 'tag_handling' not supported.")
    words = {name: _word(fields, name, known) for name, known in _VALUES.items()}
    version = fields.text("tag_handling_version")
    if version not in (None, "v1", "v2"):
        raise InvalidRequest("Value for 'tag_handling_version' not supported.")
    unused = [
        name
        for name, idle in _WITHOUT_EFFECT.items()
        if name in fields and str(fields.value(name)).lower() not in idle
    ]
    return _Options(
        text_format=TextFormat(handling or "text"),
        markup=_markup(fields, handling),
        split_sentences=words["split_sentences"],
        model_type=None if model_type is None else _MODEL_TYPES[model_type],
        tag_handling_version=version if handling else None,
        ignored=(*unused, *_header_words(name for name in fields.names if name not in _KNOWN)),
    )


def _word(fields: Fields, name: str, known: Sequence[str]) -> str:
    """The value of a parameter that has one of some words, the first of them if it is missing.

    Args:
        fields: of the request.
        name: of the parameter.
        known: its values, in lower case.

    Raises:
        InvalidRequest: it has another value.
    """
    value = fields.value(name)
    word = known[0] if value in (None, "") else str(value).lower()
    if word not in known:
        raise InvalidRequest(f"Value for '{name}' not supported.")
    return word


def _markup(fields: Fields, handling: str) -> MarkupOptions:
    """The lists of tags; without ``tag_handling`` they mean nothing, as at DeepL.

    Raises:
        InvalidRequest: a list is too long.
    """
    if not handling:
        return DEFAULT_MARKUP
    lists: dict[str, frozenset[str]] = {}
    for name in _TAG_LISTS:
        tags = [tag.strip() for each in fields.texts(name) for tag in each.split(",")]
        lists[name] = frozenset(tag.lower() if handling == "html" else tag for tag in tags if tag)
        if len(lists[name]) > _MAX_TAGS:
            raise InvalidRequest(f"Value for '{name}' not supported: it has more than {_MAX_TAGS} tags.")
    return MarkupOptions(
        lists["ignore_tags"],
        lists["splitting_tags"],
        lists["non_splitting_tags"],
        outline_detection=fields.flag("outline_detection") is not False,
    )


def _header_words(names: Iterable[str]) -> list[str]:
    """Those of a client's own names that may stand in a header."""
    return [name for name in names if name.isascii() and name.isidentifier() and len(name) <= 40]


def _glossary_ids(fields: Fields) -> list[str]:
    ids = [*fields.texts("glossary_id"), *fields.texts("glossary_ids")]
    ids = [part for each in ids for part in each.split(",") if part]
    if len(ids) > MAX_GLOSSARIES:
        raise InvalidRequest(f"Parameter 'glossary_ids' takes at most {MAX_GLOSSARIES} glossaries.")
    return ids
