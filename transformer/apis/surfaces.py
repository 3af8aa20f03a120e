"""Makes the public APIs that the settings name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from serving.api_app import PublicApi
from transformer.apis.deepl import DeepLApi
from transformer.apis.deeplx import DeepLXApi
from transformer.apis.file_store import FileStore, MemoryFiles, RedisFiles
from transformer.apis.file_translation import SUFFIXES
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
from transformer.suggestions.corrections import CorrectionRefresh
from transformer.suggestions.store import DirectorySuggestions, RedisSuggestions, SuggestionStore

FILE_TIMEOUT_S = 5.0
"""Seconds for a Redis command with a file, of up to tens of megabytes."""


def create_apis(model: TranslatorModel, config: TransformerConfig) -> list[PublicApi]:
    """The APIs that ``config.apis`` names, over one model."""
    service = TextService(model, config)
    suggestions = _suggestions(model, config)
    files, close_files = _files(config)
    known: Mapping[str, Callable[[], PublicApi]] = {
        "immersive": lambda: ImmersiveApi(service),
        "deeplx": lambda: DeepLXApi(service),
        "libretranslate": lambda: LibreTranslateApi(service, files, suggestions),
        "deepl": lambda: DeepLApi(service, _glossaries(model, config), files),
        "openai": lambda: OpenAIApi(service),
        "google": lambda: GoogleApi(service),
        "page": lambda: WebPage(service, SUFFIXES if LibreTranslateApi.name in config.apis else ()),
    }
    apis = [create() for name, create in known.items() if name in config.apis]
    model.close_later(close_files)  # once the APIs have kept what they still had to
    return apis


def _files(config: TransformerConfig) -> tuple[FileStore, Callable[[], Awaitable[None]]]:
    """Where files wait to be fetched, and what closes it."""
    if config.redis_url is None:
        return MemoryFiles(), _nothing
    store = RedisStore(replace(store_settings(config), command_timeout_s=FILE_TIMEOUT_S))
    return RedisFiles(store), store.close


async def _nothing() -> None:
    """Close nothing."""


def _suggestions(model: TranslatorModel, config: TransformerConfig) -> SuggestionStore | None:
    """Where suggestions are kept; None if they are off. What was accepted of them is served from now on."""
    if not config.suggestions:
        return None
    store: SuggestionStore
    if config.suggestions_dir is not None:
        store = DirectorySuggestions(config.suggestions_dir)
    else:
        redis = RedisStore(store_settings(config))
        model.close_later(redis.close)
        store = RedisSuggestions(redis)
    refresh = CorrectionRefresh(store, model.corrections)
    model.open_later(refresh.open)
    model.close_later(refresh.close)
    return store


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
