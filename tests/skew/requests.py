"""Requests of every kind that becomes one to the predictor, and what of an answer must not depend on versions."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.e2e.release_cluster import MODEL

CALLERS = 4
BATCH = 16


@dataclass(frozen=True)
class Request:
    """A request to a transformer."""

    kind: str
    method: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a caller got; ``content`` is all translations and flags."""

    status: int
    content: str
    cache: tuple[str, ...] = ()


def requests_of(titles: Sequence[str]) -> Iterator[Request]:
    """One text and several, whole answers and streams, with each parameter that travels on to the predictor."""
    for title in titles:
        yield Request("infer", "infer", _infer([title]))
        yield Request("stream", "generate_stream", _generate(title))
    for start in range(0, len(titles), BATCH):
        yield Request("batch", "infer", _infer(titles[start : start + BATCH]))
    for title in titles[:BATCH]:
        yield Request("generate", "generate", _generate(title))
        yield Request("bounded", "infer", _infer([title], max_new_tokens=5))
        yield Request("deadline", "infer", _infer([title], deadline_ms=20_000))


async def ask_all(url: str, requests: Sequence[Request], callers: int = CALLERS) -> list[Answer]:
    """The answers, in order; ``callers`` requests are under way at a time."""
    turn = asyncio.Semaphore(callers)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120.0)) as session:

        async def ask(request: Request) -> Answer:
            async with turn:
                return await _ask(session, url, request)

        return await asyncio.gather(*map(ask, requests))


def statuses(answers: Sequence[Answer]) -> str:
    """How many answers had which status."""
    return ", ".join(
        f"{count} x {status}" for status, count in sorted(Counter(a.status for a in answers).items())
    )


async def _ask(session: aiohttp.ClientSession, url: str, request: Request) -> Answer:
    try:
        async with session.post(f"{url}/v2/models/{MODEL}/{request.method}", json=request.body) as response:
            body = await response.text()
            if response.status != 200:
                return Answer(response.status, body)
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        return Answer(0, repr(error))
    if request.method == "generate_stream":
        return _streamed(body)
    document = json.loads(body)
    if request.method == "generate":
        return Answer(200, document["text_output"])
    outputs = {output["name"]: output["data"] for output in document["outputs"]}
    return Answer(200, "\n".join(outputs["translation"]), tuple(outputs["cache"]))


def _streamed(body: str) -> Answer:
    events = [json.loads(line[5:]) for line in body.splitlines() if line.startswith("data:")]
    failed = [event for event in events if "error" in event]
    if failed:
        return Answer(500, json.dumps(failed[0]))
    return Answer(200, "".join(event.get("text_output", "") for event in events))


def _infer(texts: Sequence[str], **parameters: object) -> dict[str, Any]:
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
    return {"inputs": [tensor], "parameters": {"source": "en", "target": "zh", **parameters}}


def _generate(text: str) -> dict[str, Any]:
    return {"text_input": text, "parameters": {"source": "en", "target": "zh"}}
