"""Replicas of the transformer in one process, over a real Redis and before one predictor that waits for a word."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry

from protocol.messages import GenerateRequest, GenerateResponse, TranslateRequest, TranslateResponse
from protocol.prompt_encoder import PromptEncoder
from protocol.translation_spec import TranslationSpec
from tests.transformer.generators import create_generator
from tests.transformer.predictor_stand_in import RELEASE, echo
from transformer.cache.circuit import CircuitPolicy
from transformer.cache.memory import LruCache
from transformer.cache.redis_cache import RedisCache, RedisCachePolicy
from transformer.cache.redis_client import RedisStore, StoreSettings
from transformer.cache.tiers import TieredCache
from transformer.metrics import TransformerMetrics
from transformer.pipeline import Bounds, Pipeline
from transformer.redis_url import parse_redis_url
from transformer.texts.bounds import TextBounds
from transformer.texts.guards import Guards
from transformer.texts.languages import Languages

POLICY = RedisCachePolicy(60.0, 0.1, 4_096, 1 << 20, CircuitPolicy(3, 0.2, 0.4), lease_s=20.0)


class Predictor:
    """One predictor for all replicas, which answers when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.answer: Callable[[GenerateRequest], GenerateResponse] = echo
        self.sequences = 0
        self.cancelled = 0
        self.asked = asyncio.Event()

    async def generate(self, request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        self.sequences += len(request.prompts)
        self.asked.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.answer(request)


@dataclasses.dataclass
class Replica:
    pipeline: Pipeline
    cache: TieredCache
    registry: CollectorRegistry

    def ask(self, *texts: str, deadline_ms: int | None = None) -> asyncio.Task[TranslateResponse]:
        request = TranslateRequest(texts, ("en",) * len(texts), ("zh",) * len(texts), deadline_ms=deadline_ms)
        return asyncio.create_task(self.pipeline.translate(request, {}))

    def count(self, kind: str) -> float:
        series = (("single_flight_total", "role"), ("single_flight_events_total", "event"))
        values = (
            self.registry.get_sample_value(f"yiwen_transformer_{name}", {label: kind})
            for name, label in series
        )
        return next((value for value in values if value is not None), 0.0)

    def claims(self, result: str) -> float:
        name = "yiwen_transformer_lease_acquisitions_total"
        return self.registry.get_sample_value(name, {"result": result}) or 0.0

    async def close(self) -> None:
        await self.pipeline.close()
        await self.cache.close()


def create_replica(
    redis_url: str, spec: TranslationSpec, tokenizer: PromptEncoder, predictor: Predictor
) -> Replica:
    registry = CollectorRegistry()
    metrics = TransformerMetrics(registry)
    store = RedisStore(StoreSettings(parse_redis_url(redis_url), None, None, 5.0, 5.0, 32))
    cache = TieredCache(LruCache(1_000_000), RedisCache(store, RELEASE, POLICY, metrics), metrics.tiers)
    generator = create_generator(tokenizer, Guards(spec), predictor, metrics)
    pipeline = Pipeline(
        release=RELEASE,
        bounds=Bounds(TextBounds(100), max_deadline_ms=60_000),
        languages=Languages(spec),
        tokenizer=tokenizer,
        cache=cache,
        sharing=cache,
        generator=generator,
        metrics=metrics,
    )
    return Replica(pipeline, cache, registry)
