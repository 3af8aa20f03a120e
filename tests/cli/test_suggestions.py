"""Suggestions from a caller over a person's review to what two services answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.__main__ import main
from tests.transformer.predictor_stand_in import RELEASE, StandIn, serve
from tests.transformer.process import Transformer, running_transformer
from tests.transformer.redis_server import running_redis
from tests.transformer.release import write_release

SERVED_WITHIN_S = 20.0


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("releases") / "tiny", release_id=RELEASE)


@pytest.fixture(scope="module", params=["directory", "redis"])
def settings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "directory":
        yield {"YIWEN_SUGGESTIONS_DIR": str(folder), "YIWEN_SUGGESTIONS": "true"}
        return
    with running_redis(folder) as redis:
        yield {"YIWEN_REDIS_URL": redis.url, "YIWEN_SUGGESTIONS": "true"}


@pytest.fixture(scope="module")
def replicas(release: Path, settings: dict[str, str]) -> Iterator[list[Transformer]]:
    with ExitStack() as stack:
        predictor = stack.enter_context(serve(StandIn()))
        yield [
            stack.enter_context(running_transformer(release, predictor.url, settings=settings))
            for _ in range(2)
        ]


def suggest(served: Transformer, text: str, better: str, **fields: str) -> httpx.Response:
    document = {"q": text, "s": better, "source": "en", "target": "zh", **fields}
    return httpx.post(f"{served.url}/suggest", json=document)


def translation(served: Transformer, text: str) -> str:
    document = {"q": text, "source": "en", "target": "zh"}
    answer: str = httpx.post(f"{served.url}/translate", json=document).json()["translatedText"]
    return answer


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["cache", *words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    return {row["translation"]: row for row in json.loads(run(capsys, "suggestions", "--json"))}


def test_an_accepted_suggestion_is_served_by_every_replica(
    replicas: list[Transformer],
    settings: dict[str, str],
    release: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert translation(replicas[1], "red shoes") == "red shoes"  # and the cache has it so
    assert httpx.get(f"{replicas[0].url}/frontend/settings").json()["suggestions"] is True
    for better in ("红鞋", "无意义"):
        assert suggest(replicas[0], "red shoes", better).json() == {"success": True}
    assert suggest(replicas[0], "Red shoes. Blue hat!", "红鞋。蓝帽！", source="auto").status_code == 200
    found = listed(capsys)
    assert (found["红鞋"]["text"], found["红鞋。蓝帽！"]["source"]) == ("red shoes", "en")
    assert "无意义" in run(capsys, "suggestions")
    run(capsys, "reject", found["无意义"]["id"])
    chosen = [found["红鞋"]["id"], found["红鞋。蓝帽！"]["id"]]
    assert run(capsys, "accept", *chosen, "--release", str(release)).startswith("accepted 2 suggestions: 3 ")
    assert listed(capsys) == {}
    end = time.monotonic() + SERVED_WITHIN_S
    for served in replicas:
        while translation(served, "red shoes") != "红鞋":
            assert time.monotonic() < end
            time.sleep(0.05)
        assert translation(served, " Blue hat! Red shoes. A coat.") == " 蓝帽！ 红鞋。 A coat."
    html = {"q": "<b>red shoes</b>", "source": "en", "target": "zh", "format": "html"}
    answer = httpx.post(f"{replicas[0].url}/translate", json=html).json()
    assert answer == {"translatedText": "<b>红鞋</b>"}


def test_what_cannot_be_suggested_is_refused_in_words(replicas: list[Transformer]) -> None:
    for fields, words in (
        ({"better": ""}, "Invalid request: missing s parameter"),
        ({"better": "x", "target": "zz"}, "zz is not supported"),
        ({"better": "x" * 20_000}, "Invalid request: suggestions have at most 10000 characters"),
    ):
        refused = suggest(replicas[0], "red shoes", **fields)
        assert (refused.status_code, refused.json()) == (400, {"error": words})


def test_a_review_that_cannot_be_done_changes_nothing(
    replicas: list[Transformer],
    settings: dict[str, str],
    release: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    suggest(replicas[0], "One. Two.", "一二。")
    (found,) = listed(capsys).values()
    assert main(["cache", "accept", found["id"], "--release", str(release)]) == 1
    assert "1 whose sentences do not pair up" in capsys.readouterr().err
    assert main(["cache", "reject", found["id"], "0123"]) == 1
    assert "no suggestion 0123: `yiwen cache suggestions` lists them" in capsys.readouterr().err
    assert [each["id"] for each in listed(capsys).values()] == [found["id"]]
