"""A change of release under load: no request fails, and no text is translated by two releases.

The new release's predictor is slow, or never comes; YIWEN_TEST_PREDICTOR_DELAY_S sets how slow (4 s).
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.release_cluster import MODEL, Cluster, running_cluster
from tests.releases import SPECIAL_TOKENS, build_random_release, byte_tokenizer
from tests.transformer.release import renumber

DELAY_S = float(os.environ.get("YIWEN_TEST_PREDICTOR_DELAY_S", "4"))
RATE_PER_S = 10.0
AFTER_S = 10.0
"""Load goes on after the change, until the pods of the release before are gone."""


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
    """Requests at a constant rate, each with a text never seen before."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url
        self._requests: list[asyncio.Task[Answer]] = []
        self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        started = time.monotonic()
        while True:
            text = f"item {len(self._requests)}"
            self._requests.append(asyncio.create_task(ask(self._session, self._url, text)))
            await asyncio.sleep(max(0.0, started + len(self._requests) / RATE_PER_S - time.monotonic()))

    async def stop(self) -> list[Answer]:
        """All answers, the last ones waited for."""
        self._sending.cancel()
        return await asyncio.gather(*self._requests)


async def until(cluster: Cluster, condition: str, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not getattr(cluster, condition):
        assert time.monotonic() < end, condition
        await asyncio.sleep(0.1)


async def translations(releases: list[Path], texts: list[str]) -> dict[tuple[str, str], str]:
    """The translation of each text by each release, from a pair of processes that know nothing of the other."""
    found: dict[tuple[str, str], str] = {}
    for release in releases:
        async with running_cluster("plain") as alone, aiohttp.ClientSession() as session:
            await alone.apply(release)
            await until(alone, "is_up", 90)
            for answer in await asyncio.gather(*(ask(session, alone.url, text) for text in texts)):
                assert answer.status == 200, answer
                found[answer.release, answer.text] = answer.translation
    return found


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two releases whose tokenizers disagree, so that a mixed text is noise."""
    directory = tmp_path_factory.mktemp("releases")
    other = renumber(byte_tokenizer(), len(SPECIAL_TOKENS))
    build_random_release(directory, name="a", seed=0)
    build_random_release(directory, name="b", seed=1, tokenizer=other)
    return [directory / "a", directory / "b"]


@pytest.mark.timeout(240 + 2 * DELAY_S)
@pytest.mark.parametrize("starts", [True, False], ids=["slow", "never"])
@pytest.mark.parametrize("form", ["canary", "plain", "standard"])
async def test_a_release_change_fails_no_request_and_mixes_no_text(
    releases: list[Path], form: str, starts: bool
) -> None:
    async with running_cluster(form) as cluster, aiohttp.ClientSession() as session:
        await cluster.apply(releases[0])
        await until(cluster, "is_up", 90)
        load = Load(session, cluster.url)
        await asyncio.sleep(1.0)
        await cluster.apply(releases[1], predictor_delay_s=DELAY_S if starts else None)
        if starts:
            await until(cluster, "is_over", 90)
        else:
            await until(cluster, "is_new_transformer_live", 90)
            await asyncio.sleep(DELAY_S)
        await asyncio.sleep(AFTER_S)
        answers = await load.stop()
        assert cluster.is_over == starts
    failed = [answer for answer in answers if answer.status != 200]
    served = {answer.release for answer in answers}
    print(f"{form}: {len(answers)} requests, {len(failed)} failed, by releases {sorted(served)}")
    assert not failed, (len(failed), len(answers), failed[:3])
    assert len(served) == (2 if starts else 1)
    expected = await translations(releases, [answer.text for answer in answers])
    mixed = [each for each in answers if each.translation != expected[each.release, each.text]]
    assert not mixed, (len(mixed), mixed[:3])
