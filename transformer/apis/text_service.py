"""The service behind all public APIs: the model's translations, and the languages and limits of its release."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from protocol.messages import TranslateRequest, TranslateResponse
from protocol.text_stream import TextDelta
from serving.model import RequestInfo
from transformer.apis.language_table import LanguageTable
from transformer.config import TransformerConfig
from transformer.model import TranslatorModel
from transformer.predictors.readiness import ColdStartStatus


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

    async def translate(self, request: TranslateRequest, info: RequestInfo) -> TranslateResponse:
        """Translate texts.

        Raises:
            YiwenError: as :meth:`transformer.pipeline.Pipeline.translate` says.
        """
        return await self._model.translate(request, info)

    def stream(
        self, request: TranslateRequest, info: RequestInfo
    ) -> AsyncGenerator[TextDelta | ColdStartStatus, None]:
        """The translation of one text in pieces.

        Raises:
            YiwenError: as :meth:`translate`.
        """
        return self._model.stream_text(request, info)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """The number of tokens of texts in the release's vocabulary."""
        return sum(self._model.encoder.count_tokens(text) for text in texts)


def request_of(texts: Sequence[str], source: str | None, target: str) -> TranslateRequest:
    """A request for texts of one language pair.

    Args:
        texts: to translate.
        source: the release's tag; None detects each text's.
        target: the release's tag.
    """
    return TranslateRequest(tuple(texts), (source,) * len(texts), (target,) * len(texts))
