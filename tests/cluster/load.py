"""Requests at a constant rate to an InferenceService, each with a title never sent before."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any

import aiohttp
import httpx

from tests.cluster.releases import translations_of_the_model

MODEL = "yiwen"
RATE_PER_S = 10.0
MAX_UNROUTED = 0.005
"""Share of requests that the gateway may refuse itself while revisions change."""
DEADLINE_MS = 110_000
"""That requests state; the service's default of 30 s is for machines that do nothing else."""
TIMEOUT_S = 130.0
"""Longer than the deadline of the overlays, so that the service's own answer is seen."""


@dataclass(frozen=True)
class Answer:
    """What a caller got."""

    text: str
    expected: str
    started: float
    """Seconds of the monotonic clock."""
    seconds: float
    status: int
    """HTTP status; 0: no answer."""
    release: str = ""
    translation: str = ""
    cache: str = ""
    error: str = ""

    @property
    def is_gateways(self) -> bool:
        """Whether the gateway refused it for want of a route: Envoy says so by a 503 without a body."""
        return self.status == 503 and not self.error


def wrong_answers(answers: Iterable[Answer]) -> list[Answer]:
    """Translations that are not right, and not what every release alone gives: the model errs, too."""
    others = [each for each in answers if each.status == 200 and each.translation != each.expected]
    own = translations_of_the_model([each.text for each in others]) if others else {}
    return [each for each in others if each.translation != own[each.text]]


@dataclass(frozen=True)
class Service:
    """An InferenceService as callers reach it."""

    url: str
    """Of the gateway."""
    host: str
    """Of the InferenceService, for the header Host."""

    def is_ready(self) -> bool:
        """Whether the service says so through the gateway."""
        try:
            answer = httpx.get(f"{self.url}/v2/health/ready", headers={"Host": self.host}, timeout=10)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    async def translate(self, session: aiohttp.ClientSession, text: str, expected: str = "") -> Answer:
        """One text in one request."""
        started = time.monotonic()
        body = {
            "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}],
            "parameters": {"source": "en", "target": "zh", "deadline_ms": DEADLINE_MS},
        }
        status, content = 0, ""
        try:
            async with session.post(
                f"{self.url}/v2/models/{MODEL}/infer", json=body, headers={"Host": self.host}
            ) as response:
                status, content = response.status, await response.text()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            return Answer(text, expected, started, time.monotonic() - started, 0, error=repr(error))
        seconds = time.monotonic() - started
        if status != 200:
            return Answer(text, expected, started, seconds, status, error=content[:300])
        document = json.loads(content)
        outputs = {output["name"]: output["data"][0] for output in document["outputs"]}
        return Answer(
            text,
            expected,
            started,
            seconds,
            status,
            document["parameters"]["release"],
            outputs["translation"],
            outputs["cache"],
        )

    def translate_all(self, texts: list[tuple[str, str]]) -> list[Answer]:
        """All texts at once, each in a request of its own."""

        async def send() -> list[Answer]:
            async with _session() as session:
                return await asyncio.gather(*(self.translate(session, *each) for each in texts))

        return asyncio.run(send())


class Load(AbstractContextManager["Load"]):
    """Sends in a thread of its own while the test changes the cluster."""

    def __init__(
        self, service: Service, texts: Iterator[tuple[str, str]], rate_per_s: float = RATE_PER_S
    ) -> None:
        self.answers: list[Answer] = []
        """Of all requests that have ended."""
        self._service, self._texts, self._rate_per_s = service, texts, rate_per_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send()), daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if kind is None:
            self._thread.join(TIMEOUT_S + 10)

    def summary(self) -> Summary:
        """Of what has been answered until now."""
        return Summary(list(self.answers))

    async def _send(self) -> None:
        async with _session() as session:
            tasks: set[asyncio.Task[None]] = set()
            began, sent = time.monotonic(), 0
            while not self._stopping.is_set():
                task = asyncio.create_task(self._ask(session, *next(self._texts)))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                sent += 1
                await asyncio.sleep(max(0.0, began + sent / self._rate_per_s - time.monotonic()))
            await asyncio.gather(*tasks)

    async def _ask(self, session: aiohttp.ClientSession, text: str, expected: str) -> None:
        self.answers.append(await self._service.translate(session, text, expected))


@dataclass(frozen=True)
class Summary:
    """Of a load's answers."""

    answers: list[Answer] = field(repr=False)

    @property
    def failed(self) -> list[Answer]:
        """What was not answered, but for what never came as far as a pod."""
        return [each for each in self.answers if each.status != 200 and not each.is_gateways]

    @property
    def unrouted(self) -> list[Answer]:
        """What the gateway refused itself, as one does whose routes and clusters change in two steps."""
        return [each for each in self.answers if each.is_gateways]

    @cached_property
    def wrong(self) -> list[Answer]:
        """As :func:`wrong_answers`."""
        return wrong_answers(self.answers)

    @property
    def releases(self) -> Counter[str]:
        return Counter(each.release for each in self.answers if each.status == 200)

    def figures(self) -> dict[str, Any]:
        """For the report."""
        seconds = sorted(each.seconds for each in self.answers)
        return {
            "requests": len(seconds),
            "failed": len(self.failed),
            "unrouted": len(self.unrouted),
            "wrong": len(self.wrong),
            "p50_s": round(seconds[len(seconds) // 2], 3) if seconds else None,
            "slowest_s": round(seconds[-1], 2) if seconds else None,
            "releases": dict(self.releases),
        }

    def assert_whole(self) -> None:
        """Every request was answered, and with its own release's translation."""
        assert self.answers, "no request was answered"
        assert not self.failed, (len(self.failed), len(self.answers), self.failed[:3])
        assert len(self.unrouted) <= MAX_UNROUTED * len(self.answers), (len(self.unrouted), len(self.answers))
        assert not self.wrong, (len(self.wrong), len(self.answers), self.wrong[:3])


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), connector=aiohttp.TCPConnector(limit=0)
    )
