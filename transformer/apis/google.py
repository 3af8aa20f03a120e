"""Google's Cloud Translation API v2 (basic): translate, languages and detect."""

from __future__ import annotations

from dataclasses import replace

from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, YiwenError
from protocol.messages import TextFormat
from serving.api_app import ApiRoute
from serving.api_request import ApiRequest, Fields
from serving.error_responses import RestResponse
from transformer.apis.answers import FLAGS_HEADER, STRING, STRINGS, json_answer, listing_header, operation
from transformer.apis.text_service import TextService, request_of, status_of

_PATH = "/language/translate/v2"
_RELIABLE = 0.5
"""A detection is called reliable from this confidence on."""


class GoogleApi:
    """Google's surface, version 2."""

    name = "google"
    open_to_pages = False

    def __init__(self, service: TextService) -> None:
        self._service = service
        self._languages = service.languages
        language = self._languages.schema
        fields = {"q": STRINGS, "target": language, "source": language, "format": STRING}
        self.routes = [
            ApiRoute(
                "POST", _PATH, self._translate, operation("Translate texts", fields, required=("q", "target"))
            ),
            ApiRoute("GET", _PATH, self._translate, operation("Translate texts, from a query")),
            ApiRoute("GET", f"{_PATH}/languages", self._list_languages, operation("Languages")),
            ApiRoute("POST", f"{_PATH}/languages", self._list_languages, operation("Languages")),
            ApiRoute("POST", f"{_PATH}/detect", self._detect, operation("Detect languages", {"q": STRINGS})),
            ApiRoute("GET", f"{_PATH}/detect", self._detect, operation("Detect languages, from a query")),
        ]

    def error(self, error: YiwenError) -> RestResponse:
        """``{"error": {"code", "message", "errors", "status"}}``."""
        status = status_of(error)
        code = ErrorCode.INVALID_REQUEST if status == ErrorCode.INVALID_REQUEST.http_status else error.code
        reason = "invalid" if status < ErrorCode.INTERNAL.http_status else "backendError"
        details = [{"message": error.message, "domain": "global", "reason": reason}]
        document = {"code": status, "message": error.message, "errors": details, "status": code.grpc_status}
        return json_answer({"error": document}, status)

    def error_event(self, error: YiwenError) -> bytes:
        """Not used: nothing is streamed."""
        return b""

    async def _translate(self, request: ApiRequest) -> RestResponse:
        fields = request.fields
        texts = _texts(fields)
        target = self._known(fields, "target")
        if target is None:
            raise InvalidRequest("Required Text: target")
        source = self._known(fields, "source")
        text_format = fields.text("format") or "html"
        if text_format not in ("html", "text"):
            raise InvalidRequest("Invalid Value: format")
        message = replace(request_of(texts, source, target), text_format=TextFormat(text_format))
        response = await self._service.translate(message, request)
        translations = []
        for each in response.translations:
            document = {"translatedText": each.text}
            if source is None:
                document["detectedSourceLanguage"] = self._languages.resolve(each.source) or "und"
            if fields.text("model"):
                document["model"] = "nmt"
            translations.append(document)
        flags = (flag for each in response.translations for flag in each.flags)
        headers = listing_header(FLAGS_HEADER, flags)
        return json_answer({"data": {"translations": translations}}, headers=headers)

    async def _list_languages(self, request: ApiRequest) -> RestResponse:
        names = self._languages.names
        with_names = request.fields.text("target") is not None
        listed = [{"language": tag, **({"name": names[tag]} if with_names else {})} for tag in names]
        return json_answer({"data": {"languages": listed}})

    async def _detect(self, request: ApiRequest) -> RestResponse:
        detections = []
        for text in _texts(request.fields):
            found = self._languages.detect(text)
            confidence = round(found.confidence, 4)
            document = {"language": found.tag or "und", "confidence": confidence}
            detections.append([{**document, "isReliable": confidence >= _RELIABLE}])
        return json_answer({"data": {"detections": detections}})

    def _known(self, fields: Fields, name: str) -> str | None:
        """The release's tag of a field; None if the field is missing."""
        given = fields.text(name)
        if not given:
            return None
        tag = self._languages.resolve(given)
        if tag is None:
            raise InvalidRequest(f"Invalid Value: {name}")
        return tag


def _texts(fields: Fields) -> list[str]:
    texts = fields.texts("q")
    if not texts:
        raise InvalidRequest("Required Text: q")
    return texts
