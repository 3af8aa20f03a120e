"""Single flight, leases and caches: whatever fails, is cut or cancelled, no text gets the answer of another.

20,000 requests over texts and options that are made to collide, many at once, against a dictionary. The generator is
a stand-in that is fast and often at fault; all between it and the request is real.
"""

from __future__ import annotations

import asyncio
import random
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from protocol.deadline import Deadline
from protocol.errors import InvalidRequest, NotReady, YiwenError
from protocol.messages import CacheStatus, FinishReason
from protocol.normal_form import normal_text
from protocol.prompt_encoder import PromptEncoder
from protocol.translation_spec import TranslationSpec
from tests.transformer.predictor_stand_in import RELEASE
from tests.transformer.redis_server import RedisServer
from transformer.cache.tiers import TieredCache, create_tiers
from transformer.config import TransformerConfig
from transformer.errors import PredictorTooLate
from transformer.generation.generator import Refuse, Report
from transformer.metrics import TransformerMetrics
from transformer.pipeline import Bounds, Pipeline
from transformer.request_context import RequestContext
from transformer.texts.bounds import TextBounds
from transformer.texts.languages import Languages
from transformer.texts.work_item import WorkItem, WorkResult

REQUESTS = 20_000
AT_ONCE = 200
PARTS = (
    *("red", "Red", "RED", "shoes", "shoe", "s", "|", ":", "\x1f", "\x00", "/", "\\", ",", "{}", "'", '"'),
    *("é", "e\u0301", "ﬁ", "fi", "Å", "\u212b", "A\u030a", "ß", "ss", "İ", "i\u0307", "\u200b", "\ufeff"),
    *(" ", "  ", "\t", "\n", "\u3000", "\u00a0", "", "1", "１", "中", "yiwen:", RELEASE),
)
"""Pieces of which different texts have the same look, the same parts, or the same form in some normalization."""
OPTIONS: tuple[dict[str, str], ...] = (
    {},
    {"a": "1"},
    {"a": "11"},
    {"a": "1", "b": "2"},
    {"b": "2", "a": "1"},
    {"a": "1b2"},
    {"ab": "12"},
)
Wish = tuple[str, str, str]


def truth(wish: Wish, options: dict[str, str]) -> str:
    """The dictionary: different for any two wishes that differ."""
    source, target, text = wish
    return f"{source}>{target}>{sorted(options.items())}>{unicodedata.normalize('NFC', text)!r}"


class Faulty:
    """Answers by the dictionary, in its own time; some of it flagged, cut, failed or refused."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.items = 0
        self.at_work: Counter[tuple[Wish, str]] = Counter()

    async def generate(
        self, items: Sequence[WorkItem], context: RequestContext, report: Report, refuse: Refuse | None = None
    ) -> None:
        names = [(wish_of(item), str(item.options)) for item in items]
        self.items += len(items)
        self.at_work.update(names)
        assert max(self.at_work[name] for name in names) == 1, "one generation of a text at a time"
        try:
            for _ in range(self._rng.randint(0, 6)):
                await asyncio.sleep(0)
            error = self._rng.choices(
                (None, NotReady("gone"), InvalidRequest("text 3"), PredictorTooLate(1.0)), (94, 2, 2, 2)
            )[0]
            if error is not None:
                raise error
            for start in range(0, len(items), 3):
                self.at_work.subtract(names[:3])
                del names[:3]
                await report([(item, self._result(item)) for item in items[start : start + 3]])
                await asyncio.sleep(0)
        finally:
            self.at_work.subtract(names)

    def _result(self, item: WorkItem) -> WorkResult:
        chance = self._rng.random()
        if chance < 0.02:
            return WorkResult("", 0.5, finish_reason=FinishReason.DEADLINE)
        flags = ("ratio",) if chance < 0.05 else ()
        return WorkResult(truth(wish_of(item), dict(item.options)), 0.5, flags=flags)


@pytest.fixture
async def make(
    spec: TranslationSpec, tokenizer: PromptEncoder
) -> AsyncIterator[Callable[..., tuple[Pipeline, Faulty]]]:
    """Makes replicas with memories so small that most of what was known is soon forgotten."""
    tiers: list[TieredCache] = []

    def _make(rng: random.Random, cache_bytes: int, redis_url: str | None) -> tuple[Pipeline, Faulty]:
        metrics = TransformerMetrics(CollectorRegistry())
        config = TransformerConfig(
            Path("/unused"),
            "localhost",
            cache_bytes=cache_bytes,
            redis_url=redis_url,
            redis_command_timeout_s=5.0,
        )
        cache = create_tiers(config, RELEASE, metrics)
        tiers.append(cache)
        generator = Faulty(rng)
        pipeline = Pipeline(
            release=RELEASE,
            bounds=Bounds(TextBounds(100), max_deadline_ms=60_000),
            languages=Languages(spec),
            tokenizer=tokenizer,
            cache=cache,
            sharing=cache,
            generator=generator,  # type: ignore[arg-type]
            metrics=metrics,
        )
        return pipeline, generator

    yield _make
    for each in tiers:
        await each.close()


def draw(rng: random.Random) -> Wish:
    """Some wishes are far more common than others, so that they meet."""
    common = rng.random() < 0.7
    text = normal_text("".join(rng.choices(PARTS[::6] if common else PARTS, k=rng.randint(1, 2))))
    return rng.choice(("en", "zh")), "zh" if common else rng.choice(("en", "zh-Hant")), text


def item_of(wish: Wish, options: dict[str, str]) -> WorkItem:
    source, target, text = wish
    return WorkItem(text, source, target, options=tuple(sorted(options.items())))


def wish_of(item: WorkItem) -> Wish:
    return item.source, item.target, item.text


async def ask(pipeline: Pipeline, rng: random.Random, seen: Counter[str]) -> None:
    """One request: its answers are those of the dictionary, or it has none."""
    wishes = list({draw(rng): None for _ in range(rng.choice((1, 1, 1, 1, 2)))})
    options = rng.choice(OPTIONS)
    context = RequestContext({}, None, Deadline.after(60.0))
    try:
        results = await pipeline.results([item_of(wish, options) for wish in wishes], context)
    except YiwenError as error:
        seen[type(error).__name__] += 1
        return
    for wish in wishes:
        answer = results[item_of(wish, options)]
        assert answer.text == truth(wish, options)
        seen[answer.cache.value] += 1


async def storm(pipelines: Sequence[Pipeline], requests: int, rng: random.Random, seen: Counter[str]) -> None:
    """``AT_ONCE`` callers at a time; some of them leave before their answer is there."""
    for _ in range(requests // AT_ONCE):
        tasks = [asyncio.create_task(ask(rng.choice(pipelines), rng, seen)) for _ in range(AT_ONCE)]
        await asyncio.sleep(0)
        for task in rng.sample(tasks, AT_ONCE // 20):
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            seen["left"] += isinstance(outcome, asyncio.CancelledError)
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome


async def test_no_text_gets_another_ones_answer(
    redis: RedisServer, make: Callable[..., tuple[Pipeline, Faulty]]
) -> None:
    rng = random.Random(20_26)
    alone = [make(rng, cache_bytes, None) for cache_bytes in (200_000, 20_000)]
    replicas = [make(rng, cache_bytes, redis.url) for cache_bytes in (200_000, 0)]
    seen: Counter[str] = Counter()
    for _ in range(10):
        for pipelines, share in ((alone, 0.9), (replicas, 0.1)):
            await storm([each for each, _ in pipelines], int(REQUESTS * share / 10), rng, seen)
    print(dict(seen), [generator.items for _, generator in (*alone, *replicas)])
    wanted = {status.value for status in CacheStatus if status not in (CacheStatus.BYPASS, CacheStatus.NONE)}
    assert wanted | {"left", "NotReady", "InvalidRequest", "PredictorTooLate"} == set(seen)
    assert min(seen[status] for status in wanted) > REQUESTS / 50
    for _, generator in (*alone, *replicas):
        assert sum(generator.at_work.values()) == 0
