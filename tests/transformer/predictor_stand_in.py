"""A stand-in for the predictor: the internal v2 contract on a real port, without a model.

It proves nothing about generation. It is for what lies between: bodies, statuses, delays, connections.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import uvicorn
from starlette.types import Receive, Scope, Send

from protocol.codec import (
    decode_rest_request,
    encode_rest_response,
    generate_request_from_infer,
    infer_from_generate_response,
)
from protocol.errors import ReleaseMismatch, YiwenError
from protocol.messages import FinishReason, GenerateRequest, GenerateResponse, Generation
from tests.transformer.release import END

RELEASE = "0123456789abcdef"


def echo(request: GenerateRequest) -> GenerateResponse:
    """Continues each prompt with its text's own ids, so that every text is its own translation."""
    return answer_with(request, lambda prompt: Generation(prompt[1:-1], -0.5, FinishReason.STOP))


def answer_with(
    request: GenerateRequest, generate: Callable[[tuple[int, ...]], Generation]
) -> GenerateResponse:
    return GenerateResponse(tuple(generate(prompt) for prompt in request.prompts), request.release or RELEASE)


def serving_only(
    release: str, answer: Callable[[GenerateRequest], GenerateResponse] = echo
) -> Callable[[GenerateRequest], GenerateResponse]:
    """``answer`` for one release's prompts; others are refused as the predictor does."""

    def _answer(request: GenerateRequest) -> GenerateResponse:
        if request.release != release:
            raise ReleaseMismatch("another release", serving=release)
        return answer(request)

    return _answer


class StandIn:
    """What the predictor's edge does with one request; tests set the fields."""

    def __init__(self) -> None:
        self.url = ""
        self.answer: Callable[[GenerateRequest], GenerateResponse] = echo
        self.release = RELEASE
        """What it says that it serves."""
        self.ready = True
        self.delay_s = 0.0
        self.requests: list[GenerateRequest] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.questions: list[str] = []
        """Paths of GET requests."""
        self.left_at: float | None = None
        """Monotonic time at which a caller was seen to leave before its answer was there."""
        self.raw: tuple[int, bytes, Mapping[str, str]] | None = None
        """Answer with exactly this status, body and headers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET":
            await self._describe(scope["path"], send)
            return
        body = await body_of(receive)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        infer = decode_rest_request(body, headers, scope["path"].split("/")[3])
        self.paths.append(scope["path"])
        self.headers.append(headers)
        request = generate_request_from_infer(infer)
        self.requests.append(request)
        if self.delay_s and await self._caller_leaves(receive):
            return
        if self.raw is not None:
            await _respond(send, *self.raw)
            return
        try:
            content, sent = encode_rest_response(
                infer_from_generate_response(self.answer(request), infer), infer
            )
            await _respond(send, 200, content, sent)
        except YiwenError as error:
            await respond_with_error(send, error)

    async def _describe(self, path: str, send: Send) -> None:
        """The model's description, or whether it is ready."""
        self.questions.append(path)
        status = 200 if self.ready or not path.endswith("/ready") else 503
        await _respond(send, status, json.dumps({"name": "tiny", "versions": [self.release]}).encode(), {})

    async def _caller_leaves(self, receive: Receive) -> bool:
        leaving = asyncio.ensure_future(receive())
        done, _ = await asyncio.wait({leaving}, timeout=self.delay_s)
        if done:
            self.left_at = time.monotonic()
            return True
        leaving.cancel()
        return False


@contextmanager
def serve(stand_in: StandIn, port: int = 0) -> Iterator[StandIn]:
    """Serve on ``port`` of this machine, 0 for a free one, in a thread with its own event loop."""
    listener = socket.create_server(("127.0.0.1", port))
    stand_in.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(
        uvicorn.Config(
            stand_in,
            lifespan="off",
            ws="none",
            log_config=None,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=75,  # longer than the transformer's, as the predictor's is
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield stand_in
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def length_limited(request: GenerateRequest) -> GenerateResponse:
    """Never stops by itself."""
    bounds = iter(request.max_new_tokens)
    return answer_with(request, lambda _: Generation((END + 1,) * next(bounds), -1.0, FinishReason.LENGTH))


async def body_of(receive: Receive) -> bytes:
    """The whole body of a request."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _respond(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*raw, length]})
    await send({"type": "http.response.body", "body": body})


async def respond_with_error(send: Send, error: YiwenError) -> None:
    """As the predictor's edge does."""
    await _respond(send, error.status, *_error(error))


def _error(error: YiwenError) -> tuple[bytes, dict[str, str]]:
    document = {"error": error.message, "code": error.code.value}
    headers = {"content-type": "application/json", "x-yiwen-error-code": error.code.value}
    if error.retry_after_s is not None:
        headers["retry-after"] = f"{error.retry_after_s:g}"
    if isinstance(error, ReleaseMismatch):
        document["release"] = error.serving
        headers["x-yiwen-release"] = error.serving
    return json.dumps(document).encode(), headers
