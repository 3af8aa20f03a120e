"""LibreTranslate's API: texts, files, detection, languages, suggestions, settings and its OpenAPI document.

Fields, words of errors and their statuses are those of LibreTranslate's app.py; /translate takes JSON, a form or a
query.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, YiwenError
from protocol.messages import TextFormat, Translation
from serving.api_app import ApiRoute
from serving.api_request import ApiRequest, Fields
from serving.error_responses import RestResponse
from serving.openapi import api_paths
from transformer.apis.answers import (
    FLAGS_HEADER,
    FORM_OR_JSON,
    STRING,
    STRINGS,
    json_answer,
    listing_header,
    operation,
)
from transformer.apis.file_store import FileStore
from transformer.apis.file_translation import (
    SUFFIXES,
    FileLanguages,
    UnknownFileFormat,
    parse_file,
    translate_file,
)
from transformer.apis.text_service import TextService, request_of
from transformer.generation.alternatives import MAX_ALTERNATIVES
from transformer.suggestions.store import SuggestionStore
from transformer.suggestions.suggestion import Suggestion

_FRONTEND_TIMEOUT_MS = 500
_STATUSES = {401: 403, 404: 400, 409: 503, 413: 400, 415: 400, 504: 500}
"""LibreTranslate's statuses, where they are not the error table's own."""
_FIELDS = {
    "q": STRINGS,
    "format": {"type": "string", "enum": ["text", "html"]},
    "alternatives": {"type": "integer"},
    "join_lines": {"type": "boolean"},
    "api_key": STRING,
}

_FILE_FIELDS = {
    "file": {"type": "string", "format": "binary"},
    "api_key": STRING,
}
_SUGGEST_FIELDS = {"q": STRING, "s": STRING, "api_key": STRING}
MAX_SUGGESTED_CHARACTERS = 10_000
"""Of a suggestion's text, and of its translation."""
_MULTIPART = ("multipart/form-data",)
_FILE_NAME = re.compile(r"[0-9a-f]{32}\.[a-z0-9]+")
MAX_KEPT_BYTES = 16 * 2**20
"""Bytes of translated files that are kept for their download; the oldest go first."""


class LibreTranslateApi:
    """LibreTranslate's surface."""

    name = "libretranslate"
    open_to_pages = True

    def __init__(
        self, service: TextService, files: FileStore, suggestions: SuggestionStore | None = None
    ) -> None:
        """Make the routes.

        Args:
            service: translates.
            files: keeps translated files for their download.
            suggestions: where better translations are kept; None refuses them.
        """
        self._service = service
        self._suggestions = suggestions
        self._languages = service.languages
        self._files = files
        self._kept: dict[str, int] = {}
        """Bytes of the translated files of this process by their name in the URL, oldest first."""
        pair = {"source": self._languages.schema, "target": self._languages.schema}
        self.routes = [
            ApiRoute(
                "POST",
                "/translate",
                self._translate,
                operation(
                    "Translate texts",
                    {**_FIELDS, **pair},
                    required=("q", "source", "target"),
                    media_types=FORM_OR_JSON,
                ),
            ),
            ApiRoute(
                "POST",
                "/detect",
                self._detect,
                operation(
                    "Detect a language",
                    {"q": STRING, "api_key": STRING},
                    required=("q",),
                    media_types=FORM_OR_JSON,
                ),
            ),
            ApiRoute(
                "POST",
                "/translate_file",
                self._translate_file,
                operation(
                    "Translate a file",
                    {**_FILE_FIELDS, **pair},
                    required=("file", "source", "target"),
                    media_types=_MULTIPART,
                ),
            ),
            ApiRoute(
                "POST",
                "/suggest",
                self._suggest,
                operation(
                    "Suggest a better translation",
                    {**_SUGGEST_FIELDS, **pair},
                    required=("q", "s", "source", "target"),
                    media_types=FORM_OR_JSON,
                ),
            ),
            ApiRoute(
                "GET",
                "/download_file/{name}",
                self._download,
                operation("A translated file", answers=(200, 404)),
            ),
            ApiRoute("GET", "/languages", self._list_languages, operation("Languages and their targets")),
            ApiRoute("GET", "/frontend/settings", self._settings, operation("Settings of the service")),
            ApiRoute("GET", "/health", self._health, operation("Health")),
            ApiRoute("GET", "/spec", self._spec, operation("This API's OpenAPI document")),
        ]

    def error(self, error: YiwenError) -> RestResponse:
        """``{"error": "..."}``."""
        status = _STATUSES.get(error.status, error.status)
        if error.code is ErrorCode.UNAUTHENTICATED:
            return json_answer({"error": "Invalid API key"}, status)
        words = f"Slowdown: {error.message}" if status == ErrorCode.OVERLOADED.http_status else error.message
        return json_answer({"error": words}, status)

    def error_event(self, error: YiwenError) -> bytes:
        """Not used: nothing is streamed."""
        return b""

    async def _translate(self, request: ApiRequest) -> RestResponse:
        fields = request.fields
        texts = fields.texts("q")
        is_batch = isinstance(fields.value("q"), list)
        if not is_batch:
            texts = texts[-1:]
        source, target = self._pair(fields, has_texts=bool(texts) and (is_batch or texts != [""]))
        if "json" not in request.info.headers.get("content-type", "json"):
            texts = ["\n".join(text.splitlines()) for text in texts]  # forms have CRLF
        message = request_of(texts, source, target)
        alternatives = self._alternatives(fields, len(texts))
        message = replace(
            message,
            text_format=_text_format(fields),
            join_lines=fields.flag("join_lines") is True,
            alternatives=alternatives,
        )
        response = await self._service.translate(message, request)
        translated: list[object] = [each.text for each in response.translations]
        detected: list[object] = []
        if source is None:
            pairs = zip(texts, response.translations, strict=True)
            detected = [self._detected(text, each) for text, each in pairs]
        document = {"translatedText": translated if is_batch else translated[0]}
        if detected:
            document["detectedLanguage"] = detected if is_batch else detected[0]
        if alternatives:
            others: list[object] = [list(each.alternatives) for each in response.translations]
            document["alternatives"] = others if is_batch else others[0]
        flags = (flag for each in response.translations for flag in each.flags)
        return json_answer(document, headers=listing_header(FLAGS_HEADER, flags))

    async def _translate_file(self, request: ApiRequest) -> RestResponse:
        fields = request.fields
        file = fields.files.get("file")
        if file is None:
            raise InvalidRequest("Invalid request: missing file parameter")
        source, target = self._pair(fields, has_texts=True)
        languages = FileLanguages(source, target)
        try:
            document = await asyncio.to_thread(parse_file, file, languages)
        except UnknownFileFormat:
            raise InvalidRequest("Invalid request: file format not supported") from None
        translated = await translate_file(self._service, document, languages, request)
        name = f"{uuid.uuid4().hex}{Path(file.name).suffix.lower()}"
        await self._files.put(name, translated.content)
        self._kept[name] = len(translated.content)
        while sum(self._kept.values()) > MAX_KEPT_BYTES and len(self._kept) > 1:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            await self._files.delete(oldest)
        scheme = request.info.headers.get("x-forwarded-proto", "http").partition(",")[0]
        host = request.info.headers.get("x-forwarded-host") or request.info.headers.get("host", "")
        return json_answer({"translatedFileUrl": f"{scheme}://{host}/download_file/{name}"})

    async def _download(self, request: ApiRequest) -> RestResponse:
        name = request.arguments["name"]
        content = await self._files.get(name) if _FILE_NAME.fullmatch(name) else None
        if content is None:
            return json_answer({"error": "Not found"}, ErrorCode.PATH_NOT_FOUND.http_status)
        headers = {
            "content-type": "application/octet-stream",
            "content-disposition": f'attachment; filename="{name}"',
            "x-content-type-options": "nosniff",
        }
        return RestResponse(200, content, headers)

    def _pair(self, fields: Fields, *, has_texts: bool) -> tuple[str | None, str]:
        """The release's tags of source (None to detect it) and target."""
        given = {"q": has_texts, "source": fields.text("source"), "target": fields.text("target")}
        for name, value in given.items():
            if not value:
                raise InvalidRequest(f"Invalid request: missing {name} parameter")
        source, target = str(given["source"]), str(given["target"])
        from_tag = None if source == "auto" else self._known(source)
        to_tag = self._known(target)
        if from_tag is not None and from_tag != to_tag and (from_tag, to_tag) not in self._languages.pairs:
            names = self._languages.names
            raise InvalidRequest(
                f"{names[to_tag]} ({to_tag}) is not available as a target language from "
                f"{names[from_tag]} ({from_tag})"
            )
        return from_tag, to_tag

    def _alternatives(self, fields: Fields, texts: int) -> int:
        """Other translations that are wanted of each text, at most :data:`MAX_ALTERNATIVES`."""
        try:
            count = min(max(0, fields.integer("alternatives") or 0), MAX_ALTERNATIVES)
        except InvalidRequest:
            raise InvalidRequest("Invalid request: alternatives parameter is not a number") from None
        if count * texts > self._service.max_texts:
            raise InvalidRequest(
                f"Invalid request: {texts} texts with {count} alternatives each are more than "
                f"{self._service.max_texts} translations"
            )
        return count

    def _known(self, tag: str) -> str:
        found = self._languages.resolve(tag)
        if found is None:
            shown = (
                tag if len(tag) <= 12 and tag.replace("-", "").replace("_", "").isalnum() else "the language"
            )
            raise InvalidRequest(f"{shown} is not supported")
        return found

    def _detected(self, text: str, translation: Translation) -> dict[str, object]:
        """The language of one text, as the pipeline decided it."""
        if self._languages.resolve(translation.source) is None:
            return {"confidence": 0.0, "language": self._languages.sources[0]}
        found = self._languages.detect(text)
        confidence = found.confidence if found.tag == translation.source else 0.0
        return {"confidence": round(100 * confidence, 1), "language": translation.source}

    async def _detect(self, request: ApiRequest) -> RestResponse:
        text = request.fields.text("q")
        if not text:
            raise InvalidRequest("Invalid request: missing q parameter")
        found = self._languages.detect(text)
        tag = found.tag or self._languages.sources[0]
        return json_answer([{"confidence": round(100 * found.confidence, 1), "language": tag}])

    async def _suggest(self, request: ApiRequest) -> RestResponse:
        if self._suggestions is None:
            raise YiwenError("Suggestions are disabled on this server.", code=ErrorCode.KEY_FORBIDDEN)
        fields = request.fields
        caller = self._service.caller(request)
        text, better = fields.text("q"), fields.text("s")
        source, target = self._pair(fields, has_texts=bool(text))
        if not text or not better:
            raise InvalidRequest("Invalid request: missing s parameter")
        if max(len(text), len(better)) > MAX_SUGGESTED_CHARACTERS:
            raise InvalidRequest(
                f"Invalid request: suggestions have at most {MAX_SUGGESTED_CHARACTERS} characters"
            )
        source = source or self._languages.detect(text).tag or self._languages.sources[0]
        now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        await self._suggestions.add(Suggestion(text, better, source, target, caller, now))
        return json_answer({"success": True})

    async def _list_languages(self, request: ApiRequest) -> RestResponse:
        names = self._languages.names
        return json_answer(
            [
                {"code": tag, "name": names[tag], "targets": [*self._languages.targets_of(tag)]}
                for tag in self._languages.sources
            ]
        )

    async def _settings(self, request: ApiRequest) -> RestResponse:
        names = self._languages.names
        first = self._languages.targets[0]
        return json_answer(
            {
                "charLimit": self._service.max_text_bytes,
                "frontendTimeout": _FRONTEND_TIMEOUT_MS,
                "apiKeys": self._service.needs_keys,
                "keyRequired": self._service.needs_keys,
                "suggestions": self._suggestions is not None,
                "filesTranslation": True,
                "supportedFilesFormat": list(SUFFIXES),
                "language": {
                    "source": {"code": "auto", "name": "Auto Detect"},
                    "target": {"code": first, "name": names[first]},
                },
            }
        )

    async def _health(self, request: ApiRequest) -> RestResponse:
        return json_answer({"status": "ok"})

    async def _spec(self, request: ApiRequest) -> RestResponse:
        info = {"title": "LibreTranslate", "version": "1.6"}
        return json_answer({"openapi": "3.1.0", "info": info, "paths": api_paths([self])})


def _text_format(fields: Fields) -> TextFormat:
    given = fields.text("format") or "text"
    if given not in ("text", "html"):
        shown = given if given.isalnum() and len(given) <= 12 else "this"
        raise InvalidRequest(f"{shown} format is not supported")
    return TextFormat(given)
