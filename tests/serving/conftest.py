"""Real servers: the echo model in a process of its own, one for the session and one for each test that ends it."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx
import pytest
from google.protobuf.message import Message
from grpc import aio

from protocol.codec import encode_grpc_request, infer_from_translate_request
from protocol.codec.sdk import pb
from protocol.messages import TranslateRequest
from tests.forkserver import start_module
from tests.metric_samples import sample_sum
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
MODEL = "echo"
METHOD = "/inference.GRPCInferenceService/"


T = TypeVar("T")
Reply = TypeVar("Reply", bound=Message)


def wait_until(holds: Callable[[], T], seconds: float = 60.0) -> T:
    """Value of ``holds`` once it is true; the test fails if it is not within ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = holds()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def ask(
    *texts: str, target: str = "de", request_id: str | None = None, **parameters: object
) -> dict[str, Any]:
    """Body of a v2 request."""
    text = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
    body: dict[str, Any] = {"inputs": [text], "parameters": {"target": target, **parameters}}
    return body if request_id is None else {**body, "id": request_id}


def grpc_ask(*texts: str, raw: bool = False) -> pb.ModelInferRequest:
    request = TranslateRequest(texts, (None,) * len(texts), ("de",) * len(texts))
    return encode_grpc_request(infer_from_translate_request(request, model_name=MODEL), raw=raw)


class Server:
    def __init__(self, **environment: str) -> None:
        self.http_port, self.grpc_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.infer_url = f"{self.url}/v2/models/{MODEL}/infer"
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by stop()
        self._out = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by stop()
        environ = {name: value for name, value in os.environ.items() if not name.startswith("YIWEN_")}
        arguments = ("--model_name", MODEL, "--http_port", str(self.http_port))
        environ |= {"YIWEN_GRPC_PORT": str(self.grpc_port), "YIWEN_HOST": "127.0.0.1", **environment}
        self.process = start_module(
            "tests.serving.echo_server", *arguments, env=environ, stdout=self._out, stderr=self._log
        )

    def wait_ready(self) -> Server:
        def ready() -> bool:
            assert self.process.poll() is None, self.log()
            try:
                return httpx.get(f"{self.url}/v2/health/ready").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(ready, seconds=90.0)  # the imports take long on a busy machine
        return self

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def stdout(self) -> str:
        """All that an ended process printed."""
        self._out.seek(0)
        return self._out.read()

    def log_of(self, request_id: str) -> list[dict[str, Any]]:
        """Log lines of one request, once it is over."""

        def lines() -> list[dict[str, Any]]:
            documents = [json.loads(line) for line in self.log().splitlines() if request_id in line]
            return documents if any(document["message"] == "request" for document in documents) else []

        return wait_until(lines)

    def state(self) -> dict[str, float]:
        state: dict[str, float] = httpx.get(f"{self.url}/test/state").json()
        return state

    def metric(self, selector: str) -> float:
        return sample_sum(httpx.get(f"{self.url}/metrics").text, selector)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._log.close()
        self._out.close()

    async def call(self, method: str, request: Message, reply: type[Reply], **options: object) -> Reply:
        """One gRPC call on a channel of its own."""
        async with aio.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            stub = channel.unary_unary(
                METHOD + method,
                request_serializer=type(request).SerializeToString,
                response_deserializer=reply.FromString,
            )
            answer: Reply = await stub(request, **options)
            return answer

    async def infer(self, request: pb.ModelInferRequest, **options: object) -> pb.ModelInferResponse:
        return await self.call("ModelInfer", request, pb.ModelInferResponse, **options)

    async def failure(self, request: pb.ModelInferRequest, **options: object) -> aio.AioRpcError:
        """The error that an inference ends with."""
        with pytest.raises(grpc.RpcError) as caught:
            await self.infer(request, **options)
        error: aio.AioRpcError = caught.value
        return error


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One server for all tests that leave it as it was."""
    started = Server()
    try:
        yield started.wait_ready()
    finally:
        started.stop()


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Start servers that the test may end."""
    servers: list[Server] = []

    def start(**environment: str) -> Server:
        servers.append(Server(**environment))
        return servers[-1]

    yield start
    for started in servers:
        started.stop()


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as opened:
        yield opened
