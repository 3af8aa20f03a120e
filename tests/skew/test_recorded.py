"""Services of this version beside what version 0.1.0 sent, answered, built and stored (:mod:`tests.skew.record`)."""

from __future__ import annotations

import asyncio
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import redis

from protocol.codec import (
    EventDecoder,
    decode_rest_request,
    decode_rest_response,
    delta_from_event,
    generate_request_from_infer,
    generate_response_from_infer,
)
from protocol.messages import GenerateRequest, GenerateResponse
from protocol.release import load_release
from tests.e2e.release_cluster import MODEL, Pod
from tests.ports import free_ports
from tests.skew.exchanges import RECORDED, Exchange, Recording, read_recording
from tests.skew.requests import Answer, ask_all, requests_of
from tests.transformer.redis_server import running_redis
from transformer.cache.entry_codec import DecodeFailure, decode_entry
from transformer.predictors.http_responses import HttpResponse, error_of


@pytest.fixture(scope="module")
def recording() -> Recording:
    return read_recording(RECORDED / "0.1.0.json")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release that 0.1.0 built."""
    directory = tmp_path_factory.mktemp("recorded")
    with tarfile.open(RECORDED / "0.1.0.tar.gz") as archive:
        archive.extractall(directory, filter="data")
    return directory / "release"


@pytest.fixture(scope="module")
def predictor(release: Path) -> Iterator[str]:
    """The URL of today's predictor on that release."""
    with ExitStack() as stack:
        yield _start(stack, "predictor", release, YIWEN_THREADS="1")


def _start(stack: ExitStack, component: str, release: Path, **settings: str) -> str:
    pod = Pod(component, release, free_ports(1)[0])
    stack.callback(pod.kill)
    pod.start(**settings)
    assert pod.process is not None
    while httpx_status(f"{pod.url}/v2/health/ready") != 200:
        assert pod.process.poll() is None
    return pod.url


def httpx_status(url: str) -> int:
    try:
        return httpx.get(url, timeout=10.0).status_code
    except httpx.TransportError:
        return 0


def sent(exchange: Exchange) -> GenerateRequest:
    return generate_request_from_infer(decode_rest_request(exchange.request, exchange.request_headers, MODEL))


def whole(body: bytes, headers: dict[str, str]) -> GenerateResponse:
    return generate_response_from_infer(decode_rest_response(body, headers))


def streamed_tokens(body: bytes) -> dict[int, list[int]]:
    tokens: dict[int, list[int]] = {}
    for delta in map(delta_from_event, EventDecoder().feed(body)):
        tokens.setdefault(delta.index, []).extend(delta.token_ids)
    return tokens


def test_the_release_keeps_its_id(recording: Recording, release: Path) -> None:
    assert load_release(release).id == recording.release


def test_todays_predictor_answers_its_requests_with_the_same_tokens(
    recording: Recording, predictor: str
) -> None:
    assert {exchange.path.rpartition("/")[2] for exchange in recording.exchanges} == {
        "infer",
        "generate_stream",
    }
    for exchange in recording.exchanges:
        answer = httpx.post(
            predictor + exchange.path, content=exchange.request, headers=dict(exchange.request_headers)
        )
        assert answer.status_code == 200, answer.text
        if exchange.path.endswith("/generate_stream"):
            assert streamed_tokens(answer.content) == streamed_tokens(exchange.body)
        else:
            ours, theirs = (
                whole(answer.content, dict(answer.headers)),
                whole(exchange.body, dict(exchange.headers)),
            )
            assert ours.release == theirs.release == recording.release
            for mine, wanted in zip(ours.generations, theirs.generations, strict=True):
                assert (mine.token_ids, mine.finish_reason) == (wanted.token_ids, wanted.finish_reason)
                assert mine.logprob == pytest.approx(wanted.logprob, abs=1e-3)


def test_todays_predictor_refuses_what_it_refused(recording: Recording, predictor: str) -> None:
    refused = {each.status: each for each in recording.errors}
    for status in (400, 409):
        exchange = refused[status]
        answer = httpx.post(
            predictor + exchange.path, content=exchange.request, headers=dict(exchange.request_headers)
        )
        assert answer.status_code == status


class FormerPredictor(ThreadingHTTPServer):
    """Answers as 0.1.0 did, and refuses what it refused."""

    def __init__(self, recording: Recording) -> None:
        super().__init__(("127.0.0.1", 0), _FormerHandler)
        self.recording = recording
        self.unknown: list[str] = []
        """Names that 0.1.0 did not know."""

    def answer_of(self, path: str, headers: dict[str, str], body: bytes) -> Exchange | None:
        document = json.loads(body[: int(headers["inference-header-content-length"])])
        known = {*self.recording.predictor_parameters, "binary_data_output"}
        self.unknown += set(document["parameters"]) - known
        self.unknown += {each["name"] for each in document["inputs"]} - {*self.recording.predictor_inputs}
        prompts = sent(Exchange("POST", path, headers, body, 0, {}, b"")).prompts
        same = (
            each for each in self.recording.exchanges if each.path == path and sent(each).prompts == prompts
        )
        return next(same, None)


class _FormerHandler(BaseHTTPRequestHandler):
    server: FormerPredictor
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        model = {"name": MODEL, "versions": [self.server.recording.release], "platform": "yiwen"}
        self._send(200, {"content-type": "application/json"}, json.dumps(model).encode())

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers["content-length"]))
        answer = self.server.answer_of(self.path, headers, body)
        if answer is None:
            self._send(500, {}, b"no such request was recorded")
        else:
            self._send(answer.status, dict(answer.headers), answer.body)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def former(recording: Recording) -> Iterator[FormerPredictor]:
    with FormerPredictor(recording) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def asked(url: str, recording: Recording) -> dict[str, Answer]:
    """Answers by text: streamed where 0.1.0 streamed."""
    found = {}
    for request in requests_of(list(recording.answers)):
        text = request.body.get("text_input") or request.body["inputs"][0]["data"][0]
        if request.kind == ("stream" if text == recording.streamed else "infer"):
            (found[text],) = asyncio.run(ask_all(url, [request]))
    return found


def test_todays_transformer_understands_its_predictor_and_shares_its_redis(
    recording: Recording, release: Path, former: FormerPredictor, tmp_path: Path
) -> None:
    with running_redis(tmp_path) as server, ExitStack() as stack:
        with redis.Redis.from_url(server.url) as client:
            client.mset(dict(recording.cache))
            settings = {"YIWEN_PREDICTOR_URL": f"http://127.0.0.1:{former.server_port}"}
            url = _start(stack, "transformer", release, YIWEN_REDIS_URL=server.url, **settings)
            answers = asked(url, recording)
            kept = client.mget(list(recording.cache))
    assert {text: answer.status for text, answer in answers.items()} == dict.fromkeys(recording.answers, 200)
    assert {text: answer.content for text, answer in answers.items()} == recording.answers
    assert former.unknown == []
    assert "hit" not in {status for answer in answers.values() for status in answer.cache}
    assert kept == list(recording.cache.values())


def test_its_errors_are_understood_without_a_code(recording: Recording) -> None:
    errors = {
        each.status: error_of(HttpResponse(each.status, each.headers, each.body)) for each in recording.errors
    }
    assert {status: error.code.http_status for status, error in errors.items()} == {
        status: status for status in (400, 409, 429, 504)
    }


def test_its_cache_entries_are_misses(recording: Recording) -> None:
    assert len(recording.cache) >= 3
    for value in recording.cache.values():
        assert decode_entry(value, recording.release) is DecodeFailure.OLDER
