"""Memory in front of a real Redis, and the promise above both: no text ever gets another one's translation.

The long run: ``TEST_COLLISIONS=100000 python -m pytest tests/transformer/cache/test_tiers.py -k never_gets``
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
import unicodedata
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from protocol.messages import CacheStatus, GenerateRequest, GenerateResponse, TranslateRequest
from protocol.normal_form import normal_text
from protocol.prompt_encoder import PromptEncoder
from protocol.translation_spec import TranslationSpec
from serving.settings import SettingsError
from tests.transformer.generators import create_generator
from tests.transformer.predictor_stand_in import RELEASE, echo
from tests.transformer.redis_server import RedisServer
from transformer.cache.cache_key import cache_key
from transformer.cache.entries import CacheEntry, look_up
from transformer.cache.entry_codec import encode_entry
from transformer.cache.redis_cache import store_key
from transformer.cache.tiers import TieredCache, create_tiers
from transformer.config import TransformerConfig
from transformer.metrics import TransformerMetrics
from transformer.pipeline import Bounds, Pipeline
from transformer.texts.bounds import TextBounds
from transformer.texts.guards import Guards
from transformer.texts.languages import Languages

REQUESTS = int(os.environ.get("TEST_COLLISIONS", "3000"))
Make = Callable[..., TieredCache]


@pytest.fixture
async def make_tiers(metrics: TransformerMetrics) -> AsyncIterator[Make]:
    made: list[TieredCache] = []

    def _make(redis_url: str | None, cache_bytes: int = 1 << 20, **settings: Any) -> TieredCache:
        config = TransformerConfig(
            Path("/unused"), "localhost", cache_bytes=cache_bytes, redis_url=redis_url, **settings
        )
        made.append(create_tiers(config, RELEASE, metrics))
        return made[-1]

    yield _make
    for tiers in made:
        await tiers.close()


class Counts:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def lookups(self, tier: str, result: str) -> float:
        labels = {"tier": tier, "result": result}
        return self._registry.get_sample_value("yiwen_transformer_cache_tier_lookups_total", labels) or 0.0

    def stored(self) -> float:
        labels = {"result": "stored"}
        return self._registry.get_sample_value("yiwen_transformer_redis_writes_total", labels) or 0.0


@pytest.fixture
def counts(registry: CollectorRegistry) -> Counts:
    return Counts(registry)


async def until_stored(counts: Counts, number: int) -> None:
    end = time.monotonic() + 10
    while counts.stored() < number:
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def test_without_a_redis_memory_is_the_cache(make_tiers: Make, counts: Counts) -> None:
    tiers = make_tiers(None)
    entry = CacheEntry("red shoes", "红鞋", 0.5)
    await tiers.put_many({b"k": entry})
    assert await tiers.get_many([b"k", b"l"]) == [entry, None]
    assert (counts.lookups("memory", "hit"), counts.lookups("memory", "miss")) == (1, 1)
    assert counts.lookups("redis", "miss") == 0


async def test_what_redis_knows_is_then_in_memory(
    redis: RedisServer, make_tiers: Make, counts: Counts
) -> None:
    entries = {bytes([n]): CacheEntry(f"text {n}", f"译文 {n}", 0.5) for n in range(4)}
    await make_tiers(redis.url).put_many(entries)
    await until_stored(counts, 4)
    other = make_tiers(redis.url)
    wanted = [bytes([n]) for n in (2, 9, 0, 2)]
    expected = [entries[b"\x02"], None, entries[b"\x00"], entries[b"\x02"]]
    assert await other.get_many(wanted) == expected
    assert (counts.lookups("redis", "hit"), counts.lookups("memory", "hit")) == (3, 0)
    redis.stop()
    assert await other.get_many(wanted) == expected
    assert counts.lookups("memory", "hit") == 3


async def test_a_hit_in_memory_does_not_ask_redis(
    redis: RedisServer, make_tiers: Make, counts: Counts
) -> None:
    tiers = make_tiers(redis.url)
    await tiers.put_many({b"k": CacheEntry("a", "b", 0.5)})
    await until_stored(counts, 1)
    await tiers.get_many([b"k"])
    assert b"cmdstat_mget" not in redis.command("INFO", "commandstats")


async def test_another_texts_entry_under_a_key_is_refused_counted_and_replaced(
    redis: RedisServer, make_tiers: Make, metrics: TransformerMetrics, counts: Counts
) -> None:
    tiers = make_tiers(redis.url)
    wrong = encode_entry(CacheEntry("enable", "启用", 0.9), RELEASE)
    redis.command("SET", store_key(RELEASE, b"k"), wrong)
    assert await look_up(tiers, [(b"k", "disable")], metrics) == [None]
    assert counts.lookups("redis", "mismatch") == 1
    right = CacheEntry("disable", "停用", 0.8)
    await tiers.put_many({b"k": right})
    await until_stored(counts, 1)
    assert await look_up(make_tiers(redis.url), [(b"k", "disable")], metrics) == [right]


@pytest.mark.parametrize("name", ["redis_password_file", "redis_ca_file"])
def test_a_file_that_is_not_there_ends_the_start(make_tiers: Make, tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=f"YIWEN_{name.upper()}: .* cannot be read"):
        make_tiers("redis://localhost", **{name: tmp_path / "none"})


PARTS = (
    *("red", "Red", "RED", "shoes", "shoe", "s", "|", ":", "\x1f", "\x00", "/", "\\", ",", "{}", "'", '"'),
    *("é", "e\u0301", "ﬁ", "fi", "Å", "\u212b", "A\u030a", "ß", "ss", "İ", "i\u0307", "\u200b", "\ufeff"),
    *(" ", "  ", "\t", "\n", "\u3000", "\u00a0", "", "1", "１", "中", "yiwen:", RELEASE),
)
"""Pieces of which different texts have the same look, the same parts, or the same form in some normalization."""


def truth(source: str, target: str, bound: int | None, text: str) -> str:
    """The dictionary: what each wish must be answered with, different for any two that differ."""
    return f"{source}>{target}>{bound}>{unicodedata.normalize('NFC', text.strip())!r}"


async def test_a_text_never_gets_the_translation_of_another(
    redis: RedisServer, make_tiers: Make, metrics: TransformerMetrics, counts: Counts
) -> None:
    """Two replicas with memories too small to matter, one Redis, texts and options made to collide."""
    rng = random.Random(20_26)
    replicas = [make_tiers(redis.url, cache_bytes=4_000), make_tiers(redis.url, cache_bytes=0)]
    for _ in range(REQUESTS // 5):
        wishes = [_wish(rng) for _ in range(5)]
        replica = rng.choice(replicas)
        keys = [_key(rng, *wish) for wish in wishes]
        found = await look_up(
            replica, [(key, wish[3]) for key, wish in zip(keys, wishes, strict=True)], metrics
        )
        missing: dict[bytes, CacheEntry] = {}
        for key, wish, entry in zip(keys, wishes, found, strict=True):
            assert entry is None or entry.text == truth(*wish)
            missing |= {} if entry else {key: CacheEntry(wish[3], truth(*wish), 0.5)}
        await replica.put_many(missing)
        await asyncio.sleep(0)
    assert counts.lookups("redis", "hit") > REQUESTS / 20
    assert counts.lookups("redis", "mismatch") == 0


def _wish(rng: random.Random) -> tuple[str, str, int | None, str]:
    """Source, target, bound and normal text."""
    text = normal_text("".join(rng.choice(PARTS) for _ in range(rng.randint(1, 5))))
    return rng.choice(["en", "zh"]), rng.choice(["zh", "en", "zh-Hant"]), rng.choice([None, 1, 11]), text


def _key(rng: random.Random, source: str, target: str, bound: int | None, text: str) -> bytes:
    options = [("max_new_tokens", str(bound))] if bound else []
    options.append(("glossary", "g"))
    rng.shuffle(options)
    return cache_key(release=RELEASE, source=source, target=target, options=dict(options), text=text)


async def test_requests_over_colliding_texts_get_their_own_answers_through_the_pipeline(
    redis: RedisServer,
    make_tiers: Make,
    metrics: TransformerMetrics,
    counts: Counts,
    spec: TranslationSpec,
    tokenizer: PromptEncoder,
) -> None:
    """The predictor repeats each text, so every answer must be the text that was asked for, in normal form."""

    class Echo:
        async def generate(self, request: GenerateRequest, headers: object) -> GenerateResponse:
            return echo(request)

    pipelines = [
        Pipeline(
            release=RELEASE,
            bounds=Bounds(TextBounds(100), max_deadline_ms=5_000),
            languages=Languages(spec),
            tokenizer=tokenizer,
            cache=make_tiers(redis.url, cache_bytes=size),
            generator=create_generator(tokenizer, Guards(spec), Echo(), metrics),
            metrics=metrics,
        )
        for size in (0, 4_000)
    ]
    rng = random.Random(7)
    words = (
        "red",
        "Red",
        "RED",
        "shoe",
        "shoes",
        "enable",
        "disable",
        "café",
        "cafe\u0301",
        "café s",
        "|",
        ":",
    )
    hits = 0
    for _ in range(REQUESTS // 10):
        texts = tuple(
            rng.choice(("", " ", "\n", "\u3000"))
            + rng.choice((" ", "|", "  ", "")).join(rng.choices(words, k=rng.randint(1, 3)))
            for _ in range(4)
        )
        request = TranslateRequest(texts, ("en",) * 4, ("zh",) * 4, max_new_tokens=rng.choice((None, 60)))
        response = await rng.choice(pipelines).translate(request, {})
        for text, answer in zip(texts, response.translations, strict=True):
            assert _evenly_spaced(answer.text) == _evenly_spaced(text)
            hits += answer.cache is CacheStatus.HIT
    assert hits > REQUESTS / 10
    assert counts.lookups("redis", "hit") > 0
    assert counts.lookups("redis", "mismatch") == 0


def _evenly_spaced(text: str) -> str:
    """``text`` in NFC, with one space between words, and its outer white space as it is."""
    return re.sub(r"(?<=\S)  (?=\S)", " ", unicodedata.normalize("NFC", text))
