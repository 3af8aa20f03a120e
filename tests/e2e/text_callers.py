"""Callers of streams of text: whole ones, and ones on raw connections that can be killed."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx

from protocol.codec import STREAM_METHOD, TEXT_SERVICE, TOKEN_SERVICE, EventDecoder
from protocol.proto.yiwen.v1 import generation_pb2 as pb
from tests.e2e.conftest import Service
from tests.e2e.endless_release import TOKENS

MODEL = "/v2/models/random"
SENTENCES = 32
"""Of a text that takes the endless model some tenths of a second: all its sentences at once."""


def body_of(text: str, **parameters: object) -> dict[str, object]:
    return {"text_input": text, "parameters": {"source": "en", "target": "zh", **parameters}}


def whole(service: Service, text: str, **parameters: object) -> dict[str, Any]:
    """The answer of /generate."""
    answer = httpx.post(f"{service.url}{MODEL}/generate", json=body_of(text, **parameters), timeout=60)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def documents_of(content: bytes) -> list[dict[str, Any]]:
    """Of a stream without an error."""
    events = EventDecoder().feed(content)
    assert {event.name for event in events} == {"message"}, content
    return [json.loads(event.data) for event in events]


def streamed(service: Service, text: str, **parameters: object) -> list[dict[str, Any]]:
    """The events of /generate_stream."""
    url = f"{service.url}{MODEL}/generate_stream"
    answer = httpx.post(url, json=body_of(text, **parameters), timeout=60)
    assert answer.status_code == 200, answer.text
    return documents_of(answer.content)


def joined(documents: list[dict[str, Any]]) -> str:
    return "".join(document["text_output"] for document in documents)


class Caller:
    """A POST in flight on a raw connection, so that killing it is one call."""

    def __init__(self, url: str, path: str, body: dict[str, object]) -> None:
        host, port = url.removeprefix("http://").split(":")
        content = json.dumps(body).encode()
        self._connection = socket.create_connection((host, int(port)), timeout=60)
        head = f"POST {MODEL}{path} HTTP/1.0\r\nHost: test\r\nContent-Length: {len(content)}\r\n\r\n"
        self._connection.sendall(head.encode() + content)

    def kill(self) -> None:
        """As the kernel does for a killed process: unread bytes make the close a reset."""
        self._connection.close()

    def first_bytes(self) -> bytes:
        return self._connection.recv(65536)

    def rest(self) -> bytes:
        """The answer's body (HTTP/1.0 has neither chunks nor keep-alive)."""
        parts = []
        while part := self._connection.recv(65536):
            parts.append(part)
        self._connection.close()
        return b"".join(parts).partition(b"\r\n\r\n")[2]


def text_stream(channel: grpc.Channel) -> grpc.UnaryStreamMultiCallable:
    """The method of the transformer's service."""
    return channel.unary_stream(
        f"/{TEXT_SERVICE}/{STREAM_METHOD}",
        request_serializer=pb.TextStreamRequest.SerializeToString,
        response_deserializer=pb.TextStreamResponse.FromString,
    )


def token_stream(channel: grpc.Channel) -> grpc.UnaryStreamMultiCallable:
    """The method of the predictor's service."""
    return channel.unary_stream(
        f"/{TOKEN_SERVICE}/{STREAM_METHOD}",
        request_serializer=pb.TokenStreamRequest.SerializeToString,
        response_deserializer=pb.TokenStreamResponse.FromString,
    )


def request_of(text: str, **fields: Any) -> pb.TextStreamRequest:
    return pb.TextStreamRequest(
        **{"model_name": "random", "text_input": text, "source": "en", "target": "zh", **fields}
    )


def messages_of(service: Service, request: pb.TextStreamRequest) -> Iterator[pb.TextStreamResponse]:
    with grpc.insecure_channel(service.grpc) as channel:
        yield from text_stream(channel)(request, timeout=60)


def wait_for(holds: Callable[[], bool], seconds: float = 10.0) -> float:
    """Seconds until it held."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() < started + seconds
        time.sleep(0.01)
    return time.monotonic() - started


def long_text(name: str) -> str:
    return " ".join(f"Number {number} of {name}." for number in range(SENTENCES))


def slots(service: Service) -> float:
    return service.metric("yiwen_predictor_slots_used")


def prompts_body(count: int = SENTENCES) -> dict[str, object]:
    data = [id_ for number in range(count) for id_ in (20, 30, 40 + number)]
    ids = {"name": "input_ids", "datatype": "INT32", "shape": [count, 3], "data": data}
    lengths = {"name": "input_lengths", "datatype": "INT32", "shape": [count], "data": [3] * count}
    return {"inputs": [ids, lengths], "parameters": {"max_new_tokens": TOKENS}}
