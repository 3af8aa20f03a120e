"""The stand-in for the predictor with ``generate_stream``: a token of every prompt a step, held when told to."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import count
from typing import Any

from starlette.types import Receive, Scope, Send

from protocol.codec import (
    EVENT_STREAM,
    decode_rest_request,
    document_from_delta,
    encode_event,
    generate_request_from_infer,
)
from protocol.errors import YiwenError
from protocol.messages import GenerateResponse, GenerationEnd, TokenDelta
from tests.transformer.predictor_stand_in import StandIn, body_of, respond_with_error


class StreamingStandIn(StandIn):
    """What it generates is :attr:`answer`'s, whole or in a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.hold_at: int | None = None
        """Step before which streams wait for :attr:`go_on`."""
        self.go_on = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].endswith("/generate_stream"):
            await super().__call__(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        infer = decode_rest_request(await body_of(receive), headers, "tiny")
        self.paths.append(scope["path"])
        self.requests.append(generate_request_from_infer(infer))
        try:
            response = self.answer(self.requests[-1])
        except YiwenError as error:
            await respond_with_error(send, error)
            return
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", EVENT_STREAM.encode())],
            }
        )
        leaving = asyncio.ensure_future(receive())
        for step in count():
            if step == self.hold_at and await self._is_left(leaving):
                break
            deltas = _step(response, step)
            if not deltas:
                await send({"type": "http.response.body", "body": b""})
                break
            frame = b"".join(encode_event(document_from_delta(delta)) for delta in deltas)
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        leaving.cancel()

    async def _is_left(self, leaving: asyncio.Future[Any]) -> bool:
        while not self.go_on.is_set():
            done, _ = await asyncio.wait({leaving}, timeout=0.005)
            if done:
                self.left_at = time.monotonic()
                return True
        return False


def _step(response: GenerateResponse, step: int) -> list[TokenDelta]:
    """What one step generates: a token, or the end after the last one."""
    deltas = []
    for index, generation in enumerate(response.generations):
        if step < len(generation.token_ids):
            deltas.append(TokenDelta(index, generation.token_ids[step : step + 1], (generation.logprob,)))
        elif step == len(generation.token_ids):
            end = GenerationEnd(generation.logprob, generation.finish_reason, response.release)
            deltas.append(TokenDelta(index, (), (), end))
    return deltas
