"""Callers of both real processes that leave, one by one and in crowds, or do not read: what they held is free."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import grpc
import httpx
import pytest

from protocol.codec import infer_from_translate_request
from protocol.codec.protobuf import encode_grpc_request
from protocol.codec.sdk import pb as kserve_pb
from protocol.messages import TranslateRequest
from protocol.proto.yiwen.v1 import generation_pb2 as pb
from tests.e2e.conftest import CALLERS, Service
from tests.e2e.endless_release import TOKENS
from tests.e2e.text_callers import (
    MODEL,
    SENTENCES,
    Caller,
    body_of,
    documents_of,
    joined,
    long_text,
    prompts_body,
    request_of,
    slots,
    text_stream,
    token_stream,
    wait_for,
    whole,
)


def kserve_request(text: str) -> kserve_pb.ModelInferRequest:
    request = TranslateRequest((text,), ("en",), ("zh",))
    return encode_grpc_request(infer_from_translate_request(request, model_name="random"), raw=False)


def infer_body(text: str) -> dict[str, object]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
    return {"inputs": [tensor], "parameters": {"source": "en", "target": "zh"}}


@contextmanager
def rest_call(url: str, path: str, body: dict[str, object]) -> Iterator[None]:
    caller = Caller(url, path, body)
    yield
    caller.kill()


@contextmanager
def grpc_call(target: str, start: Callable[[grpc.Channel], grpc.Future]) -> Iterator[None]:
    with grpc.insecure_channel(target) as channel:
        call = start(channel)
        yield
        call.cancel()


def infer_over_grpc(channel: grpc.Channel, text: str) -> grpc.Future:
    method = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=kserve_pb.ModelInferRequest.SerializeToString,
        response_deserializer=kserve_pb.ModelInferResponse.FromString,
    )
    return method.future(kserve_request(text))


TOKEN_REQUEST = pb.TokenStreamRequest(
    model_name="random",
    prompts=[
        pb.Prompt(token_ids=[20, 30, 40 + number], max_new_tokens=TOKENS) for number in range(SENTENCES)
    ],
)
SURFACES: dict[str, Callable[[Service, str], AbstractContextManager[object]]] = {
    "infer": lambda s, text: rest_call(s.url, "/infer", infer_body(text)),
    "generate": lambda s, text: rest_call(s.url, "/generate", body_of(text)),
    "generate_stream": lambda s, text: rest_call(s.url, "/generate_stream", body_of(text)),
    "ModelInfer": lambda s, text: grpc_call(s.grpc, lambda channel: infer_over_grpc(channel, text)),
    "TextGeneration": lambda s, text: grpc_call(s.grpc, lambda c: text_stream(c)(request_of(text))),
    "the predictor's generate_stream": lambda s, _: rest_call(
        s.predictor_url, "/generate_stream", prompts_body()
    ),
    "TokenGeneration": lambda s, _: grpc_call(s.predictor_grpc, lambda c: token_stream(c)(TOKEN_REQUEST)),
}


@pytest.mark.parametrize("surface", SURFACES)
def test_a_caller_that_leaves_frees_its_slot_on_every_surface(endless_service: Service, surface: str) -> None:
    seconds = []
    for number in range(3):
        with SURFACES[surface](
            endless_service, long_text(f"surface {list(SURFACES).index(surface)}x{number}")
        ):
            wait_for(lambda: slots(endless_service) == SENTENCES)
        seconds.append(wait_for(lambda: slots(endless_service) == 0))
    assert min(seconds) < 0.5, seconds  # an answer takes some seconds


def test_a_caller_that_does_not_read_does_not_hold_the_model(endless_service: Service) -> None:
    text = long_text("the slow")
    caller = Caller(endless_service.url, "/generate_stream", body_of(text))
    wait_for(lambda: slots(endless_service) == SENTENCES)
    wait_for(lambda: slots(endless_service) == 0)
    assert joined(documents_of(caller.rest())) == whole(endless_service, text)["text_output"]


class Crowd:
    """Callers of streams, so many at a time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._number = 0
        self.callers: list[Caller] = []
        self.whole = 0

    def fill(self, size: int) -> None:
        while len(self.callers) < size:
            self._number += 1
            text = f"caller number {self._number}"
            self.callers.append(Caller(self._service.url, "/generate_stream", body_of(text)))

    def kill_half(self, rng: random.Random) -> None:
        for caller in rng.sample(self.callers, len(self.callers) // 2):
            self.callers.remove(caller)
            caller.kill()

    def see_off(self) -> None:
        """Read the others' answers, which must be whole."""
        while self.callers:
            *_, last = documents_of(self.callers.pop().rest())
            assert last["done"]
            self.whole += 1


def memory(service: Service) -> dict[str, int]:
    """Bytes that each process holds."""
    return {name: process.memory_info().rss for name, process in service.processes().items()}


def test_killing_half_of_200_callers_again_and_again_frees_their_slots_and_grows_nothing(
    endless_service: Service,
) -> None:
    crowd, rng = Crowd(endless_service), random.Random(0)
    # All slots at their longest: the predictor's memory is as large as it gets, then.
    url = f"{endless_service.predictor_url}{MODEL}/infer"
    assert httpx.post(url, json=prompts_body(CALLERS), timeout=60).status_code == 200
    full = memory(endless_service)
    seconds, held = [], []
    for _ in range(3):
        crowd.fill(CALLERS)
        wait_for(lambda: slots(endless_service) > 0.9 * CALLERS)
        crowd.kill_half(rng)
        seconds.append(wait_for(lambda: slots(endless_service) <= len(crowd.callers)))
        held.append(memory(endless_service))
    crowd.see_off()
    assert crowd.whole == CALLERS // 2
    wait_for(lambda: slots(endless_service) == 0)
    assert statistics.median(seconds) < 1.0, (
        seconds
    )  # 0.1 where nothing else runs; an answer takes some seconds
    first, *later = held
    for name, bytes_ in first.items():
        assert max(round_[name] for round_ in later) < 1.15 * max(bytes_, full[name]), (full, held)
