"""Requests for translations at a constant rate while a cluster changes, and what callers get."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp

from tests.e2e.release_cluster import MODEL, Cluster

START_S = 300.0
"""Of processes, on a machine that has other things to do."""
RATE_PER_S = 10.0


@dataclass(frozen=True)
class Answer:
    """What a caller got."""

    text: str
    status: int
    release: str = ""
    translation: str = ""
    error: str = ""


async def ask(session: aiohttp.ClientSession, url: str, text: str) -> Answer:
    body = {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}],
        "parameters": {"source": "en", "target": "zh"},
    }
    try:
        async with session.post(f"{url}/v2/models/{MODEL}/infer", json=body) as response:
            document = await response.json(content_type=None) if response.status == 200 else {}
            if not document:
                return Answer(text, response.status, error=await response.text())
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        return Answer(text, 0, error=repr(error))
    outputs = {output["name"]: output["data"] for output in document["outputs"]}
    return Answer(text, 200, document["parameters"]["release"], outputs["translation"][0])


class Load:
    """Requests at a constant rate."""

    def __init__(self, session: aiohttp.ClientSession, url: str, texts: Iterator[str]) -> None:
        self._session, self._url, self._texts = session, url, texts
        self._requests: list[asyncio.Task[Answer]] = []
        self._sending = asyncio.create_task(self._send())

    async def __aenter__(self) -> Load:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._sending, *self._requests):
            task.cancel()

    async def _send(self) -> None:
        started = time.monotonic()
        while True:
            self._requests.append(asyncio.create_task(ask(self._session, self._url, next(self._texts))))
            await asyncio.sleep(max(0.0, started + len(self._requests) / RATE_PER_S - time.monotonic()))

    async def stop(self) -> list[Answer]:
        """All answers, the last ones waited for."""
        self._sending.cancel()
        return await asyncio.gather(*self._requests)


async def until(cluster: Cluster, condition: str, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not getattr(cluster, condition):
        assert time.monotonic() < end, (condition, cluster.pods)
        await asyncio.sleep(0.1)
