"""The custom API of Immersive Translate: ``{source_lang, target_lang, text_list}``.

The add-on marks the inline elements of a page with ``<b0></b0>`` and ``{0}``: texts with such tags are translated as
HTML, so that the tags survive.
"""

from __future__ import annotations

import re
from dataclasses import replace

from protocol.errors import InvalidRequest, YiwenError
from protocol.messages import TextFormat, TranslateRequest
from serving.api_app import ApiRoute
from serving.api_request import ApiRequest
from serving.error_responses import RestResponse
from transformer.apis.answers import FLAGS_HEADER, STRINGS, json_answer, listing_header, operation
from transformer.apis.text_service import TextService, request_of, status_of

_TAG = re.compile(r"</?[a-z]{1,2}\d+ ?/?>")


class ImmersiveApi:
    """Immersive Translate's surface."""

    name = "immersive"
    open_to_pages = True

    def __init__(self, service: TextService) -> None:
        self._service = service
        language = service.languages.schema
        fields = {"source_lang": language, "target_lang": language, "text_list": STRINGS}
        translate = operation("Translate texts", fields, required=("target_lang", "text_list"))
        self.routes = [
            ApiRoute("POST", "/translate", self._translate, translate, claims=_claims),
            ApiRoute("POST", "/immersive", self._translate, translate),
            ApiRoute("POST", "/immersive/translate", self._translate, translate),
        ]

    def error(self, error: YiwenError) -> RestResponse:
        """``{"error": "..."}``."""
        return json_answer({"error": error.message}, status_of(error))

    def error_event(self, error: YiwenError) -> bytes:
        """Not used: nothing is streamed."""
        return b""

    async def _translate(self, request: ApiRequest) -> RestResponse:
        fields = request.fields
        texts = fields.texts("text_list")
        if not texts:
            raise InvalidRequest("text_list must be a list of texts")
        source, target = self._service.pair_of(fields)
        message = _with_format(request_of(texts, source, target))
        response = await self._service.translate(message, request)
        translations = [
            {"detected_source_lang": each.source, "text": each.text} for each in response.translations
        ]
        flags = (flag for each in response.translations for flag in each.flags)
        return json_answer({"translations": translations}, headers=listing_header(FLAGS_HEADER, flags))


def _claims(request: ApiRequest) -> bool:
    return "text_list" in request.fields


def _with_format(message: TranslateRequest) -> TranslateRequest:
    """The request as HTML if a text holds the add-on's tags."""
    if any(_TAG.search(text) for text in message.texts):
        return replace(message, text_format=TextFormat.HTML)
    return message
