"""A tiny release and a predictor stand-in for the transformer's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from protocol.release import TranslationSpec, load_translation_spec
from tests.transformer.predictor_stand_in import RELEASE, StandIn, serve
from tests.transformer.redis_server import RedisServer, running_redis
from tests.transformer.release import MAX_SEQUENCE_TOKENS, write_release
from transformer.client import PredictorClient
from transformer.config import TransformerConfig
from transformer.metrics import TransformerMetrics
from transformer.tokenizer import PromptTokenizer, load_tokenizer


@pytest.fixture(scope="session")
def release_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("releases") / "tiny", release_id=RELEASE)


@pytest.fixture(scope="session")
def spec(release_directory: Path) -> TranslationSpec:
    return load_translation_spec(release_directory / "translation.json")


@pytest.fixture(scope="session")
def tokenizer(release_directory: Path, spec: TranslationSpec) -> PromptTokenizer:
    return load_tokenizer(release_directory, spec, MAX_SEQUENCE_TOKENS)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> TransformerMetrics:
    return TransformerMetrics(RELEASE, registry)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with serve(StandIn()) as served:
        yield served


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test's own: it may be stopped, paused, filled."""
    with running_redis(tmp_path) as server:
        yield server


@pytest.fixture
async def connect(
    release_directory: Path, metrics: TransformerMetrics
) -> AsyncIterator[Callable[..., Awaitable[PredictorClient]]]:
    """Makes open clients: ``await connect(url, **settings)``."""
    clients: list[PredictorClient] = []

    async def _connect(url: str, **settings: float) -> PredictorClient:
        config = TransformerConfig(release=release_directory, predictor_url=url, **settings)  # type: ignore[arg-type]
        client = PredictorClient(config, "tiny", metrics)
        await client.open()
        clients.append(client)
        return client

    yield _connect
    for client in clients:
        await client.close()
