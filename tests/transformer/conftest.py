"""A tiny release and a predictor stand-in for the transformer's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from protocol.prompt_encoder import PromptEncoder
from protocol.translation_spec import TranslationSpec, load_translation_spec
from tests.transformer.predictor_stand_in import RELEASE, StandIn, serve, serving_only
from tests.transformer.redis_server import RedisServer, running_redis
from tests.transformer.release import write_release
from tests.transformer.routing import Predictors, Route
from transformer.config import TransformerConfig
from transformer.metrics import TransformerMetrics
from transformer.predictors.client import PredictorClient
from transformer.predictors.router import PredictorRouter


@pytest.fixture(scope="session")
def release_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("releases") / "tiny", release_id=RELEASE)


@pytest.fixture(scope="session")
def spec(release_directory: Path) -> TranslationSpec:
    return load_translation_spec(release_directory / "translation.json")


@pytest.fixture(scope="session")
def tokenizer(release_directory: Path) -> PromptEncoder:
    return PromptEncoder.load(release_directory)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> TransformerMetrics:
    return TransformerMetrics(registry)


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


@pytest.fixture(scope="module")
def pool() -> Iterator[list[StandIn]]:
    """As many as one test needs: to stop a server takes longer than most tests."""
    with ExitStack() as stack:
        yield [stack.enter_context(serve(StandIn())) for _ in range(3)]


@pytest.fixture
def predictors(pool: list[StandIn]) -> Iterator[Predictors]:
    """Serves stand-ins: ``predictors(release)``, or ``predictors(port=port)`` for a certain port."""
    free = iter(pool)
    with ExitStack() as stack:

        def _serve(release: str = RELEASE, port: int = 0) -> StandIn:
            served = stack.enter_context(serve(StandIn(), port)) if port else next(free)
            vars(served).update(vars(StandIn()) | {"url": served.url})
            served.release, served.answer = release, serving_only(release)
            return served

        yield _serve


@pytest.fixture
async def route(
    release_directory: Path, metrics: TransformerMetrics, predictors: Predictors
) -> AsyncIterator[Route]:
    """Makes an open router: ``await route(main, *tagged, **settings)``."""
    routers: list[PredictorRouter] = []

    async def _route(main: str, *tagged: str, **settings: float) -> PredictorRouter:
        config = TransformerConfig(
            release=release_directory,
            predictor_url=main,
            predictor_tagged_urls=tagged,
            **settings,  # type: ignore[arg-type]
        )
        router = PredictorRouter(config, "tiny", RELEASE, metrics)
        await router.open()
        routers.append(router)
        return router

    yield _route
    for router in routers:
        await router.close()
