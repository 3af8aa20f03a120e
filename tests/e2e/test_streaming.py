"""Token ids streamed by the real predictor process: equal to the whole answer, and freed when callers are killed."""

from __future__ import annotations

import json
import random
import socket
import statistics
import time
from collections.abc import Iterator
from datetime import datetime, timezone

import httpx
import pytest

from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from protocol.codec import EventDecoder, delta_from_event
from protocol.errors import DeadlineExceeded
from protocol.messages import TokenDelta
from tests.e2e.conftest import Service, running_service
from tests.releases import write_checkpoint

STREAM = "/v2/models/random/generate_stream"
CALLERS = 50
BOUND = 240
STEPS = "yiwen_predictor_step_seconds_count"
SOON = BOUND / 4
"""Steps. Some 25 on a machine where they take 0.07 s, and as many on one where they take twice as long."""


def body(prompts: list[list[int]], bound: int, **parameters: object) -> dict[str, object]:
    """A v2 request over prompts of one length."""
    shape = [len(prompts), len(prompts[0])]
    ids = {
        "name": "input_ids",
        "datatype": "INT32",
        "shape": shape,
        "data": [token for prompt in prompts for token in prompt],
    }
    lengths = {
        "name": "input_lengths",
        "datatype": "INT32",
        "shape": shape[:1],
        "data": [shape[1]] * shape[0],
    }
    return {"inputs": [ids, lengths], "parameters": {"max_new_tokens": bound, **parameters}}


def stream(service: Service, request: dict[str, object]) -> list[TokenDelta]:
    answer = httpx.post(service.predictor_url + STREAM, json=request, timeout=60)
    assert answer.status_code == 200, answer.text
    return [delta_from_event(event) for event in EventDecoder().feed(answer.content)]


@pytest.fixture(scope="module")
def slow_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A slot for every caller, over a model that takes some milliseconds a step and hardly ever stops by itself."""
    directory = tmp_path_factory.mktemp("streaming")
    checkpoint = write_checkpoint(directory / "checkpoint", layers=4, hidden=192)
    translation = json.loads((checkpoint / "translation.json").read_text())
    (checkpoint / "translation.json").write_text(
        json.dumps(translation | {"stop_tokens": translation["stop_tokens"][:1]})
    )
    request = BuildRequest(checkpoint=checkpoint, out=directory / "random", name="random")
    build_release(request, built_at=datetime(2026, 1, 1, tzinfo=timezone.utc), reporter=SilentReporter())
    settings = {
        "YIWEN_SLOTS": str(CALLERS),
        # A busy machine takes minutes for what takes seconds elsewhere.
        "YIWEN_DEFAULT_DEADLINE_MS": "600000",
        "YIWEN_MAX_DEADLINE_MS": "600000",
    }
    with running_service(directory / "random", directory / "log", **settings) as service:
        yield service


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_deltas_add_up_to_the_answer_in_one_piece(service: Service, temperature: float) -> None:
    prompts = [[i + 10, 40, 50 + i] for i in range(5)]
    request = body(prompts, 40, temperature=temperature, seed=3)
    deltas = stream(service, request)
    answer = httpx.post(f"{service.predictor_url}/v2/models/random/infer", json=request, timeout=60).json()
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    width = len(outputs["output_ids"]) // len(prompts)
    for index in range(len(prompts)):
        streamed = [token for delta in deltas if delta.index == index for token in delta.token_ids]
        row = outputs["output_ids"][index * width :][: outputs["output_lengths"][index]]
        assert streamed == row
        (end,) = [delta.end for delta in deltas if delta.index == index and delta.end is not None]
        assert end.finish_reason.value == outputs["finish_reason"][index]
        assert end.logprob == pytest.approx(outputs["logprob"][index], rel=1e-5)
        assert end.release == answer["parameters"]["release"]


def test_errors_at_the_door_keep_their_status(service: Service) -> None:
    url = service.predictor_url + STREAM
    assert httpx.post(url, content=b"{").status_code == 400
    assert httpx.post(url, json=body([[1]], 10_000)).status_code == 413
    mismatch = httpx.post(url, json=body([[1]], 4, release="f" * 16))
    assert mismatch.status_code == 409
    assert mismatch.headers["x-yiwen-release"] != "f" * 16


class Caller:
    """A stream in flight on a raw connection, so that killing it is one call."""

    def __init__(self, service: Service, *prompts: list[int]) -> None:
        self.prompt = prompts[0]
        host, port = service.predictor_url.removeprefix("http://").split(":")
        content = json.dumps(body(list(prompts), BOUND)).encode()
        self._connection = socket.create_connection((host, int(port)))
        head = f"POST {STREAM} HTTP/1.0\r\nHost: test\r\nContent-Length: {len(content)}\r\n\r\n"
        self._connection.sendall(head.encode() + content)

    def kill(self) -> None:
        """As the kernel does for a killed process: unread bytes make the close a reset."""
        self._connection.close()

    def tokens(self) -> list[int]:
        """All that came until the server closed (HTTP/1.0 has neither chunks nor keep-alive)."""
        parts = []
        while part := self._connection.recv(65536):
            parts.append(part)
        self._connection.close()
        _, _, content = b"".join(parts).partition(b"\r\n\r\n")
        deltas = [delta_from_event(event) for event in EventDecoder().feed(content)]
        assert deltas[-1].end is not None
        return [token for delta in deltas for token in delta.token_ids]


@pytest.fixture(scope="module")
def long_answers(slow_service: Service) -> dict[tuple[int, ...], list[int]]:
    """As many prompts as callers whose answers are as long as they may be, and those answers."""
    prompts = [[i, j, 40] for i in range(20, 40) for j in range(30, 40)]
    url = f"{slow_service.predictor_url}/v2/models/random/infer"
    outputs = {
        output["name"]: output["data"]
        for output in httpx.post(url, json=body(prompts, BOUND), timeout=600).json()["outputs"]
    }
    ids = outputs["output_ids"]
    answers = {
        tuple(prompt): ids[row * BOUND : (row + 1) * BOUND]
        for row, prompt in enumerate(prompts)
        if outputs["output_lengths"][row] == BOUND
    }
    assert len(answers) >= CALLERS
    return dict(list(answers.items())[:CALLERS])


def wait_for_slots(service: Service, wanted: int) -> float:
    """Seconds until so many slots were in use."""
    started = time.monotonic()
    while service.metric("yiwen_predictor_slots_used") != wanted:
        assert time.monotonic() < started + 10
        time.sleep(0.002)
    return time.monotonic() - started


def test_killing_half_of_the_callers_frees_their_slots_and_leaves_the_others_alone(
    slow_service: Service, long_answers: dict[tuple[int, ...], list[int]]
) -> None:
    steps = []
    for round_ in range(3):
        callers = [Caller(slow_service, list(prompt)) for prompt in long_answers]
        wait_for_slots(slow_service, CALLERS)
        killed = random.Random(round_).sample(callers, CALLERS // 2)
        before = slow_service.metric(STEPS)
        for caller in killed:
            caller.kill()
        wait_for_slots(slow_service, CALLERS - len(killed))
        steps.append(slow_service.metric(STEPS) - before)
        for caller in callers:
            if caller not in killed:
                assert caller.tokens() == long_answers[tuple(caller.prompt)]
        assert wait_for_slots(slow_service, 0) < 5
    assert statistics.median(steps) < SOON, steps


def test_a_deadline_ends_a_stream_with_an_error_event(
    slow_service: Service, long_answers: dict[tuple[int, ...], list[int]]
) -> None:
    prompt, answer = next(iter(long_answers.items()))
    request = body([list(prompt)], BOUND, deadline_ms=40)
    response = httpx.post(slow_service.predictor_url + STREAM, json=request, timeout=10)
    assert response.status_code == 200
    *events, last = EventDecoder().feed(response.content)
    tokens = [token for event in events for token in delta_from_event(event).token_ids]
    assert 0 < len(tokens) < BOUND
    assert tokens == answer[: len(tokens)]
    with pytest.raises(DeadlineExceeded):
        delta_from_event(last)


def test_a_deadline_before_the_first_token_is_504(slow_service: Service) -> None:
    prompts = [[i, 30, 40] for i in range(20, 20 + 4 * CALLERS)]
    busy = Caller(slow_service, *prompts)
    wait_for_slots(slow_service, CALLERS)
    late = body([[1, 2, 3]], BOUND, deadline_ms=30)
    assert httpx.post(slow_service.predictor_url + STREAM, json=late, timeout=10).status_code == 504
    busy.kill()
