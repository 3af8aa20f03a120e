"""DeepLX's API: POST /translate with ``text``, ``source_lang`` and ``target_lang``, also under /deeplx."""

from __future__ import annotations

from dataclasses import replace

from protocol.errors import InvalidRequest, YiwenError
from protocol.messages import TextFormat
from serving.api_app import ApiRoute
from serving.api_request import ApiRequest
from serving.error_responses import RestResponse
from transformer.apis.answers import FLAGS_HEADER, STRING, json_answer, listing_header, operation
from transformer.apis.text_service import TextService, request_of, status_of


class DeepLXApi:
    """DeepLX's surface."""

    name = "deeplx"
    open_to_pages = True

    def __init__(self, service: TextService) -> None:
        self._service = service
        language = service.languages.schema
        fields = {"text": STRING, "source_lang": language, "target_lang": language}
        translate = operation("Translate a text", fields, required=("text", "target_lang"))
        self.routes = [
            ApiRoute("POST", "/translate", self._translate, translate, claims=_claims),
            ApiRoute("POST", "/deeplx/translate", self._translate, translate),
        ]

    def error(self, error: YiwenError) -> RestResponse:
        """``{"code": 400, "message": "..."}``."""
        status = status_of(error)
        return json_answer({"code": status, "message": error.message}, status)

    def error_event(self, error: YiwenError) -> bytes:
        """Not used: nothing is streamed."""
        return b""

    async def _translate(self, request: ApiRequest) -> RestResponse:
        fields = request.fields
        text = fields.text("text")
        if not text:
            raise InvalidRequest("No text to translate")
        source, target = self._service.pair_of(fields)
        handling = fields.text("tag_handling") or "text"
        if handling not in ("text", "html", "xml"):
            raise InvalidRequest("Invalid tag_handling value. Allowed values are 'html' and 'xml'.")
        message = replace(request_of([text], source, target), text_format=TextFormat(handling))
        (translation,) = (await self._service.translate(message, request)).translations
        document = {
            "code": 200,
            "data": translation.text,
            "alternatives": [],
            "source_lang": translation.source.upper(),
            "target_lang": target.upper(),
            "method": "Free",
        }
        return json_answer(document, headers=listing_header(FLAGS_HEADER, translation.flags))


def _claims(request: ApiRequest) -> bool:
    fields = request.fields
    return "text" in fields and "target_lang" in fields and "q" not in fields
