"""The service behind all public APIs: the model's translations, and the languages and limits of its release."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, YiwenError
from protocol.messages import TranslateRequest, TranslateResponse
from protocol.template_sections import CONTEXT
from protocol.text_stream import TextDelta
from serving.api_request import ApiRequest, Fields
from transformer.apis.language_table import LanguageTable
from transformer.callers.admission import Account
from transformer.config import TransformerConfig
from transformer.model import TranslatorModel
from transformer.predictors.readiness import ColdStartStatus

_KEY_FIELDS = ("auth_key", "api_key", "key", "token")
"""Of old clients of DeepL, of LibreTranslate, Google and DeepLX."""
_LANGUAGE_ERRORS = frozenset({ErrorCode.LANGUAGE_UNKNOWN, ErrorCode.LANGUAGE_PAIR_UNSUPPORTED})


def status_of(error: YiwenError) -> int:
    """The HTTP status of an error for clients to which an unknown language is a bad request, and no 404."""
    return ErrorCode.INVALID_REQUEST.http_status if error.code in _LANGUAGE_ERRORS else error.status


class TextService:
    """What an API may ask of the transformer."""

    def __init__(self, model: TranslatorModel, config: TransformerConfig) -> None:
        self._model = model
        self.languages = LanguageTable(model.encoder.spec)
        self.max_texts = config.max_texts
        """Texts of one request."""
        self.max_text_bytes = config.max_text_bytes
        """UTF-8 bytes of the texts of one request."""

    @property
    def model_name(self) -> str:
        """The model's name in URLs."""
        name: str = self._model.name
        return name

    @property
    def is_ready(self) -> bool:
        """Whether readiness probes succeed."""
        return self._model.is_ready()

    async def translate(self, message: TranslateRequest, request: ApiRequest) -> TranslateResponse:
        """Translate texts.

        Args:
            message: what to translate.
            request: whose caller asks for it.

        Raises:
            YiwenError: as :meth:`transformer.model.TranslatorModel.translate` says.
        """
        return await self._model.translate(message, request.info, _key_field(request))

    def stream(
        self, message: TranslateRequest, request: ApiRequest
    ) -> AsyncGenerator[TextDelta | ColdStartStatus, None]:
        """The translation of one text in pieces; arguments and errors as of :meth:`translate`."""
        return self._model.stream_text(message, request.info, _key_field(request))

    def pair_of(self, fields: Fields) -> tuple[str | None, str]:
        """The release's tags of the fields ``source_lang`` and ``target_lang``; None as source detects it.

        Raises:
            InvalidRequest: the target is missing, or one of them is not a language of the release.
        """
        target = self._tag(fields, "target_lang")
        source = fields.text("source_lang")
        return None if not source or source.lower() == "auto" else self._tag(fields, "source_lang"), target

    def _tag(self, fields: Fields, name: str) -> str:
        code = fields.text(name)
        tag = self.languages.resolve(code) if code else None
        if tag is None:
            raise InvalidRequest(f"{name} is missing, or not a language of this server")
        return tag

    def close_later(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have ``close`` called when the service stops."""
        self._model.close_later(close)

    @property
    def needs_keys(self) -> bool:
        """Whether callers need API keys."""
        return not self._model.callers.is_open

    def caller(self, request: ApiRequest) -> str:
        """The id of the caller's key; empty where keys are not used.

        Raises:
            YiwenError: 401: it has no valid key.
        """
        key = self._model.callers.caller(request.info.headers, _key_field(request))
        return "" if key is None else key.id

    async def account(self, request: ApiRequest) -> Account:
        """What the caller has used; errors as of :meth:`caller`."""
        return await self._model.callers.account(request.info.headers, _key_field(request))

    def fitting_contexts(self, contexts: Sequence[str], source: str | None, target: str) -> tuple[str, ...]:
        """Contexts that nobody asked for by name, without those that are too long; empty if there is no use for them.

        Args:
            contexts: of texts.
            source: the release's tag of their language; None for any.
            target: the release's tag.
        """
        if not any(contexts) or not self.languages.has_section(CONTEXT, source, target):
            return ()
        encoder = self._model.encoder
        return tuple(
            context
            if len(context) <= encoder.max_context_bytes // 4
            and encoder.count_tokens(context) <= encoder.spec.limits.max_context_tokens
            else ""
            for context in contexts
        )

    def count_tokens(self, texts: Sequence[str]) -> int:
        """The number of tokens of texts in the release's vocabulary."""
        return sum(self._model.encoder.count_tokens(text) for text in texts)


def _key_field(request: ApiRequest) -> str | None:
    """An API key among the fields; None if there is none, as when it is in a header."""
    return next((key for name in _KEY_FIELDS if (key := request.fields.text(name))), None)


def request_of(texts: Sequence[str], source: str | None, target: str) -> TranslateRequest:
    """A request for texts of one language pair.

    Args:
        texts: to translate.
        source: the release's tag; None detects each text's.
        target: the release's tag.
    """
    return TranslateRequest(tuple(texts), (source,) * len(texts), (target,) * len(texts))
