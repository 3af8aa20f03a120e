"""Requests of many texts through the whole service: what counts requests at the predictor sees their texts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from tests.e2e.conftest import Service, running_service

CALLERS, TEXTS = 3, 64
SLOTS = 2


def body(texts: list[str]) -> dict[str, object]:
    values = {"text": texts, "source": ["en"] * len(texts), "target": ["zh"] * len(texts)}
    return {
        "inputs": [
            {"name": name, "datatype": "BYTES", "shape": [len(data)], "data": data}
            for name, data in values.items()
        ]
    }


async def translate(client: httpx.AsyncClient, service: Service, texts: list[str]) -> list[str]:
    response = await client.post(f"{service.url}/v2/models/random/infer", json=body(texts), timeout=60)
    assert response.status_code == 200, response.text
    outputs = {output["name"]: output["data"] for output in response.json()["outputs"]}
    return [str(text) for text in outputs["translation"]]


async def test_three_callers_of_64_texts_are_as_many_requests_as_fill_the_slots_and_wait(
    random_release_dir: Path, tmp_path: Path
) -> None:
    """The predictor's gauge of requests in flight is what Knative's queue-proxy counts."""
    settings = {
        "YIWEN_SLOTS": str(SLOTS),
        "YIWEN_PREDICTOR_GROUP_SIZE": "1",
        "YIWEN_PREDICTOR_GROUPS_IN_FLIGHT": str(SLOTS + 1),
    }
    in_flight, waiting = [], []
    with running_service(random_release_dir, tmp_path / "log", **settings) as service:
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=20)) as client:
            callers = [
                asyncio.create_task(
                    translate(client, service, [f"caller {caller} text {number}" for number in range(TEXTS)])
                )
                for caller in range(CALLERS)
            ]
            while not all(caller.done() for caller in callers):
                in_flight.append(await asyncio.to_thread(service.metric, "yiwen_requests_in_flight"))
                waiting.append(await asyncio.to_thread(service.metric, "yiwen_predictor_waiting_sequences"))
            answers = [await caller for caller in callers]
        sequences = service.metric("yiwen_predictor_sequences_total")
    assert [len(answer) for answer in answers] == [TEXTS] * CALLERS
    assert sequences >= CALLERS * TEXTS
    assert CALLERS < max(in_flight) <= CALLERS * (SLOTS + 1)
    assert max(waiting) <= CALLERS * (SLOTS + 1) - SLOTS
