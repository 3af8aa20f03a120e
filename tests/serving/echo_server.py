"""A served model for tests, run as a process of its own: it answers each text with itself, or does what it is told.

A first text of ``!raise <error> [retry_after_s]``, ``!bug``, ``!leak``, ``!nan``, ``!sleep <s>`` or ``!stubborn <s>``
is an order. A stream is told how many events to send, how far apart, and the error that ends it.
``GET /test/...`` shows and sets its state.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from protocol import errors
from protocol.codec import (
    TEXT_SERVICE,
    InferRequest,
    InferResponse,
    infer_from_translate_response,
    translate_request_from_infer,
)
from protocol.messages import CacheStatus, TranslateResponse, Translation
from protocol.proto.yiwen.v1 import generation_pb2 as pb
from protocol.tensors import TRANSLATE_INPUTS, TRANSLATE_OUTPUTS
from serving.arguments import parse_kserve_arguments
from serving.disconnect import cancel_on_disconnect
from serving.error_responses import request_info_of
from serving.model import NamedEvent, RequestInfo, ServedModel
from serving.server import run_server
from serving.settings import (
    ServerSettings,
    SettingsError,
    settings_from_environment,
)

RELEASE = "0123456789abcdef"


class EchoModel(ServedModel):
    stream_service = TEXT_SERVICE

    def __init__(self, name: str) -> None:
        super().__init__(name, TRANSLATE_INPUTS, TRANSLATE_OUTPUTS, "echo", versions=(RELEASE,))
        self.healthy_now = True
        self.started = 0
        self.cancelled_at = 0.0
        """time.monotonic() of the last cancellation; one clock for all processes of a machine."""

    def is_healthy(self) -> bool:
        return self.healthy_now

    async def open(self) -> None:
        self.opened = True

    async def close(self) -> None:
        print("closed", flush=True)

    async def infer(self, request: InferRequest, info: RequestInfo) -> InferResponse:
        texts = translate_request_from_infer(request).texts
        info.log_fields["texts"] = len(texts)
        confidence = 1.0
        if texts[0].startswith("!"):
            confidence = await self._obey(texts[0])
        answers = tuple(Translation(text, "en", confidence, CacheStatus.MISS) for text in texts)
        return infer_from_translate_response(TranslateResponse(answers, RELEASE), request)

    async def generate(self, body: bytes, info: RequestInfo) -> dict[str, object]:
        order = json.loads(body)
        await self.sleep(order["pause_s"])
        if order.get("error"):
            raise make_error(*order["error"].split())
        return {"n": order["events"]}

    async def stream(
        self, body: bytes, info: RequestInfo
    ) -> AsyncGenerator[dict[str, object] | NamedEvent, None]:
        order = json.loads(body)
        if order.get("named"):
            yield NamedEvent(order["named"], {"n": -1})
        try:
            for number in range(order["events"]):
                await self.sleep(order["pause_s"])
                yield {"n": number, **({"padding": "x" * order["padding"]} if "padding" in order else {})}
        except GeneratorExit:  # left while an event was on its way out
            self.cancelled_at = time.monotonic()
            raise
        if order.get("error"):
            raise make_error(*order["error"].split())

    async def stream_messages(self, message: bytes, info: RequestInfo) -> AsyncGenerator[bytes, None]:
        """The text is the order, as :meth:`stream` has it; each event becomes a message."""
        asked = pb.TextStreamRequest.FromString(message)
        self.check_address(asked.model_name, asked.model_version)
        async with aclosing(self.stream(asked.text_input.encode(), info)) as events:
            async for event in events:
                text = json.dumps(event) + asked.source
                yield pb.TextStreamResponse(text_output=text).SerializeToString()

    async def _obey(self, order: str) -> float:
        verb, *arguments = order[1:].split()
        if verb == "raise":
            raise make_error(*arguments)
        if verb == "bug":
            dict[str, str]()[order]  # a KeyError whose message is the caller's text
        if verb == "nan":
            return math.nan
        if verb == "leak":
            raise asyncio.CancelledError  # a bug: nobody cancelled this request
        await self.sleep(float(arguments[0]), stubborn=verb == "stubborn")
        return 1.0

    async def sleep(self, seconds: float, *, stubborn: bool = False) -> None:
        self.started += 1
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled_at = time.monotonic()
            if stubborn:
                await asyncio.sleep(seconds)
            raise


def make_error(name: str, retry_after: str | None = None) -> errors.YiwenError:
    if name == "ReleaseMismatch":
        return errors.ReleaseMismatch("another release", serving=RELEASE)
    cls: type[errors.YiwenError] = getattr(errors, name)
    return cls(f"a {name}", retry_after_s=None if retry_after is None else float(retry_after))


class Order(BaseModel):
    order: str


def test_routes(model: EchoModel) -> APIRouter:
    router = APIRouter()

    @router.get("/test/state")
    async def state() -> dict[str, float]:
        return {"started": model.started, "cancelled_at": model.cancelled_at}

    @router.get("/test/healthy/{value}")
    async def set_healthy(value: bool) -> dict[str, bool]:
        model.healthy_now = value
        return {"healthy": value}

    @router.post("/test/order")
    async def order(body: Order, request: Request) -> dict[str, str]:
        await cancel_on_disconnect(request.receive, model._obey(body.order))
        return {"request_id": request_info_of(request).request_id}

    @router.post("/test/raw")
    async def raw(request: Request) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    return router


def main() -> None:
    try:
        environ = {**os.environ, **parse_kserve_arguments(sys.argv[1:])}
        settings = settings_from_environment(ServerSettings, environ)
        model = EchoModel(settings.model_name or "echo")
        run_server(model, settings, routes=[test_routes(model)])
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
