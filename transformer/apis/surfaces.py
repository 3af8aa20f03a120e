"""Makes the public APIs that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from serving.api_app import PublicApi
from transformer.apis.deepl import DeepLApi
from transformer.apis.deeplx import DeepLXApi
from transformer.apis.glossary_store import (
    DirectoryGlossaries,
    GlossaryStore,
    MemoryGlossaries,
    RedisGlossaries,
)
from transformer.apis.google import GoogleApi
from transformer.apis.immersive import ImmersiveApi
from transformer.apis.libretranslate import LibreTranslateApi
from transformer.apis.openai import OpenAIApi
from transformer.apis.page import WebPage
from transformer.apis.text_service import TextService
from transformer.cache.redis_client import RedisStore
from transformer.cache.tiers import store_settings
from transformer.config import TransformerConfig
from transformer.model import TranslatorModel


def create_apis(model: TranslatorModel, config: TransformerConfig) -> list[PublicApi]:
    """The APIs that ``config.apis`` names, over one model."""
    service = TextService(model, config)
    known: Mapping[str, Callable[[], PublicApi]] = {
        "immersive": lambda: ImmersiveApi(service),
        "deeplx": lambda: DeepLXApi(service),
        "libretranslate": lambda: LibreTranslateApi(service),
        "deepl": lambda: DeepLApi(service, _glossaries(model, config)),
        "openai": lambda: OpenAIApi(service),
        "google": lambda: GoogleApi(service),
        "page": lambda: WebPage(service),
    }
    return [create() for name, create in known.items() if name in config.apis]


def _glossaries(model: TranslatorModel, config: TransformerConfig) -> GlossaryStore:
    """Where the settings say that glossaries are kept."""
    if config.glossary_dir is not None:
        return DirectoryGlossaries(config.glossary_dir)
    if config.redis_url is not None:
        store = RedisStore(store_settings(config))
        model.close_later(store.close)
        return RedisGlossaries(store)
    model.notices.append(
        "glossaries of the DeepL API are kept in memory: set YIWEN_GLOSSARY_DIR or YIWEN_REDIS_URL to keep them"
    )
    return MemoryGlossaries()
