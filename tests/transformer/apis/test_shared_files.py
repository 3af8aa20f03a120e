"""Documents and translated files over two transformers with one Redis."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.transformer.predictor_stand_in import StandIn, serve
from tests.transformer.process import Transformer, running_transformer
from tests.transformer.redis_server import RedisServer, running_redis
from transformer.apis.deepl_documents import STATUS_WAIT_S

WAIT_S = 20.0


@pytest.fixture(scope="module")
def predictor() -> Iterator[StandIn]:
    with serve(StandIn()) as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def replicas(release_directory: Path, predictor: StandIn, shared: RedisServer) -> Iterator[list[Transformer]]:
    settings = {"YIWEN_REDIS_URL": shared.url}
    with ExitStack() as stack:
        yield [
            stack.enter_context(running_transformer(release_directory, predictor.url, settings=settings))
            for _ in range(2)
        ]


def upload(served: Transformer, text: str) -> dict[str, str]:
    fields = {"target_lang": "ZH", "source_lang": "EN"}
    answer = httpx.post(f"{served.url}/v2/document", data=fields, files={"file": ("a.txt", text.encode())})
    handle: dict[str, str] = answer.json()
    return handle


def ask(served: Transformer, handle: dict[str, str], method: str = "POST", what: str = "") -> httpx.Response:
    url = f"{served.url}/v2/document/{handle['document_id']}{what}"
    return httpx.request(method, url, params={"document_key": handle["document_key"]})


def status_after(served: Transformer, handle: dict[str, str], *states: str) -> dict[str, Any]:
    """The status once it is none of ``states``."""
    end = time.monotonic() + WAIT_S
    while (document := ask(served, handle).json())["status"] in states:
        assert time.monotonic() < end
        time.sleep(0.02)
    found: dict[str, Any] = document
    return found


def test_a_document_is_known_to_every_replica_and_given_once(replicas: list[Transformer]) -> None:
    handle = upload(replicas[0], "hello there")
    done = status_after(replicas[1], handle, "queued", "translating")
    assert (done["status"], done["billed_characters"]) == ("done", len("hello there"))
    assert ask(replicas[1], {**handle, "document_key": "0"}).status_code == 404
    assert ask(replicas[1], handle, "HEAD", "/result").status_code == 200
    assert ask(replicas[1], handle, what="/result").text == "hello there"
    assert [ask(served, handle, what="/result").status_code for served in replicas] == [404, 404]


def test_a_question_for_the_status_waits_for_the_end(
    replicas: list[Transformer], predictor: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "delay_s", 0.3)
    for number, served in enumerate(replicas):
        handle = upload(replicas[0], f"a text that is not known {number}")
        asked = time.monotonic()
        while ask(served, handle).json()["status"] != "done":
            assert time.monotonic() - asked >= STATUS_WAIT_S
            asked = time.monotonic()


def test_a_translated_file_is_downloaded_from_every_replica(replicas: list[Transformer]) -> None:
    fields = {"source": "en", "target": "zh"}
    files = {"file": ("a.txt", b"hello there")}
    url = httpx.post(f"{replicas[0].url}/translate_file", data=fields, files=files).json()[
        "translatedFileUrl"
    ]
    path = url.removeprefix(replicas[0].url)
    assert [httpx.get(served.url + path).text for served in replicas] == ["hello there"] * 2
    assert httpx.get(f"{replicas[1].url}/download_file/{'0' * 32}.txt").status_code == 404


def test_a_document_whose_process_died_is_an_error_and_not_waited_for(
    replicas: list[Transformer], shared: RedisServer
) -> None:
    record = {
        "key": "K",
        "alive_at": time.time() - 3600,
        "status": "translating",
        "characters": 0,
        "fault": "",
    }
    shared.command("SET", f"yiwen:file:{'A' * 32}", json.dumps(record))
    found = ask(replicas[0], {"document_id": "A" * 32, "document_key": "K"}).json()
    assert found["status"] == "error"
    assert "Upload it again" in found["error_message"]


def test_a_drain_ends_a_document_with_an_error(
    release_directory: Path, replicas: list[Transformer], predictor: StandIn, shared: RedisServer
) -> None:
    settings = {"YIWEN_REDIS_URL": shared.url}
    with running_transformer(release_directory, predictor.url, settings=settings) as leaving:
        predictor.delay_s = 30.0
        try:
            handle = upload(leaving, "a text that takes long")
            assert status_after(replicas[0], handle, "queued")["status"] == "translating"
            leaving.process.send_signal(signal.SIGTERM)
            found = status_after(replicas[0], handle, "translating")
        finally:
            predictor.delay_s = 0.0
    assert found["status"] == "error"
    assert "Upload it again" in found["error_message"]


def test_without_redis_an_answer_says_that_it_cannot_be_reached(
    release_directory: Path, predictor: StandIn, tmp_path: Path
) -> None:
    with (
        running_redis(tmp_path) as redis,
        running_transformer(
            release_directory, predictor.url, settings={"YIWEN_REDIS_URL": redis.url}
        ) as served,
    ):
        handle = upload(served, "hello there")
        redis.stop()
        answer = ask(served, handle)
    assert (answer.status_code, answer.json()) == (503, {"message": "the files cannot be reached; try again"})
