"""The load of a soak: titles, batches and streams at planned times; each answer is compared with the known one."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import aiohttp

from benchmarks.transformer_stages.setting import MODEL, SOURCE, TARGET, infer_body, some_titles

HIT_SHARE = 0.35
"""Of single titles: drawn from a small set, so that they are cached but for the first time."""
POPULAR = 200
BATCH = 16
KINDS = {"title": 0.9, "batch": 0.02, "stream": 0.08}
"""Share of each kind of request."""
PATIENCE_S = 60.0
REASONS = 5


@dataclass
class Result:
    """The counts of a load."""

    requests: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    """By kind and status, or error."""
    reasons: list[str] = field(default_factory=list)
    """Of the first failures, as they were answered, and of wrong texts."""
    differing: list[tuple[str, str, str]] = field(default_factory=list)
    """Texts, their known translations, and answers that are not these."""
    wrong: int = 0
    """Answers that the service does not give again without faults: not those that the model itself gets wrong."""
    latencies_s: list[float] = field(default_factory=list)


class Load:
    """Sends requests of the demo model's titles, whose translations are known."""

    def __init__(self, url: str, session: aiohttp.ClientSession, rng: Random, titles: int) -> None:
        self._url = f"{url}/v2/models/{MODEL}"
        self._session = session
        self._rng = rng
        pairs = some_titles(POPULAR + titles)
        self._popular, self._rare = pairs[:POPULAR], iter(pairs[POPULAR:])
        self.result = Result()

    async def capacity(self, callers: int, seconds: float) -> float:
        """Requests per second of a closed loop of ``callers``."""
        end = time.monotonic() + seconds
        before = self.result.requests.total()

        async def call() -> None:
            while time.monotonic() < end:
                await self.one()

        await asyncio.gather(*(call() for _ in range(callers)))
        return (self.result.requests.total() - before) / seconds

    async def run(self, per_s: float, seconds: float) -> None:
        """Poisson arrivals at a fixed rate, whatever the answers do."""
        self.result = Result()
        pending: set[asyncio.Task[None]] = set()
        next_at = start = time.monotonic()
        while next_at < start + seconds:
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
            task = asyncio.create_task(self.one())
            pending.add(task)
            task.add_done_callback(pending.discard)
            next_at += self._rng.expovariate(per_s)
        await asyncio.gather(*pending)

    async def one(self) -> None:
        """Send one request and check its answer."""
        (kind,) = self._rng.choices(list(KINDS), list(KINDS.values()))
        pairs = [self._pair() for _ in range(BATCH if kind == "batch" else 1)]
        started = time.monotonic()
        try:
            status, texts = await asyncio.wait_for(self._send(kind, [text for text, _ in pairs]), PATIENCE_S)
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            status, texts = type(error).__name__, []
        self.result.requests[kind] += 1
        self.result.latencies_s.append(time.monotonic() - started)
        if status != "200":
            self.result.failed[f"{kind} {status}"] += 1
            if len(self.result.reasons) < REASONS:
                self.result.reasons.append(f"{kind} {status}: {' '.join(texts)[:300]}")
        elif len(texts) != len(pairs):
            self.result.failed[f"{kind} answered {len(texts)} texts"] += 1
        else:
            self.result.differing += [
                (*pair, got) for pair, got in zip(pairs, texts, strict=True) if pair[1] != got
            ]

    async def judge(self, url: str) -> None:
        """Ask again for each differing text, with nothing cached and no fault: the model may be what is wrong.

        Args:
            url: of a transformer with nothing in its caches.
        """
        self._url = f"{url}/v2/models/{MODEL}"
        for text, known, got in self.result.differing:
            _, again = await self._send("title", [text])
            if again != [got]:
                self.result.wrong += 1
                self.result.reasons.append(
                    f"{text!r} is {known!r}, was {got!r} and is {again!r} without faults"
                )

    def _pair(self) -> tuple[str, str]:
        return self._rng.choice(self._popular) if self._rng.random() < HIT_SHARE else next(self._rare)

    async def _send(self, kind: str, texts: Sequence[str]) -> tuple[str, list[str]]:
        """The status, and the translations."""
        if kind == "stream":
            return await self._stream(texts[0])
        headers = {"Content-Type": "application/json"}
        async with self._session.post(
            f"{self._url}/infer", data=infer_body(texts), headers=headers
        ) as answer:
            if answer.status != 200:
                return str(answer.status), [await answer.text()]
            outputs = (await answer.json())["outputs"]
        return "200", next(output["data"] for output in outputs if output["name"] == "translation")

    async def _stream(self, text: str) -> tuple[str, list[str]]:
        body = {"text_input": text, "parameters": {"source": SOURCE, "target": TARGET}}
        parts = []
        async with self._session.post(f"{self._url}/generate_stream", json=body) as answer:
            if answer.status != 200:
                return str(answer.status), [await answer.text()]
            async for line in answer.content:
                if line.startswith(b"event: error"):
                    return "error event", [(await answer.content.readline()).decode()]
                if line.startswith(b"data: "):
                    parts.append(json.loads(line[6:]).get("text_output", ""))
        return "200", ["".join(parts)]
