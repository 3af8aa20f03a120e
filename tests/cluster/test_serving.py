"""Requests, streams and the shared cache, as callers see them."""

from __future__ import annotations

import json
import time
from itertools import islice, pairwise
from typing import Any

import httpx
import pytest

from tests.cluster.installation import Site
from tests.cluster.kubectl import eventually
from tests.cluster.load import MODEL
from tests.cluster.releases import titles

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

LINES = 100
"""Of the text that is streamed."""
MIN_EVENTS = 10
"""Of them at different times; lines that are ready together come in one."""


def test_texts_are_translated(site: Site, figures: dict[str, Any]) -> None:
    texts = list(islice(titles(f"unary-{time.time()}"), 40))
    answers = site.service.translate_all(texts)
    assert [each.translation for each in answers] == [expected for _, expected in texts]
    again = site.service.translate_all(texts)
    assert {each.cache for each in again} == {"hit"}
    figures |= {"p50_miss_s": _median(answers), "p50_hit_s": _median(again)}


def test_a_stream_comes_event_by_event(site: Site, figures: dict[str, Any]) -> None:
    lines = list(islice(titles(f"stream-{time.time()}"), LINES))
    body = {
        "text_input": "\n".join(english for english, _ in lines),
        "parameters": {"source": "en", "target": "zh"},
    }
    service, pieces, times = site.service, [], []
    began = time.monotonic()
    with httpx.stream(
        "POST",
        f"{service.url}/v2/models/{MODEL}/generate_stream",
        json=body,
        headers={"Host": service.host},
        timeout=60,
    ) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            if line.startswith("data:"):
                pieces.append(json.loads(line[5:])["text_output"])
                times.append(time.monotonic() - began)
    assert "".join(pieces).split("\n") == [chinese for _, chinese in lines]
    figures |= {"events": len(times), "first_s": round(times[0], 2), "last_s": round(times[-1], 2)}
    apart = sum(later - earlier > 0.001 for earlier, later in pairwise(times))
    assert apart >= MIN_EVENTS
    assert times[0] < times[-1] / 2


def test_two_transformers_share_the_cache(site: Site) -> None:
    site.installation.patch(transformer={"minReplicas": 2})
    pods = eventually("two transformers", lambda: site.installation.ready_pods("transformer", 2), 240.0)
    text, expected = next(titles(f"shared-{time.time()}"))
    answers = [site.ask_pod(pod, text) for pod in pods[:2]]
    assert [each["translation"] for each in answers] == [expected, expected]
    assert [each["cache"] for each in answers] == ["miss", "hit"]


def _median(answers: list[Any]) -> float:
    seconds: list[float] = sorted(each.seconds for each in answers)
    return round(seconds[len(seconds) // 2], 3)
