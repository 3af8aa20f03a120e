"""Makes the public APIs that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from serving.api_app import PublicApi
from transformer.apis.libretranslate import LibreTranslateApi
from transformer.apis.text_service import TextService
from transformer.config import TransformerConfig
from transformer.model import TranslatorModel

_APIS: Mapping[str, Callable[[TextService], PublicApi]] = {
    "libretranslate": LibreTranslateApi,
}
"""By the name in ``YIWEN_APIS``."""


def create_apis(model: TranslatorModel, config: TransformerConfig) -> list[PublicApi]:
    """The APIs that ``config.apis`` names, over one model."""
    service = TextService(model, config)
    return [create(service) for name, create in _APIS.items() if name in config.apis]
