"""The body of a request: until it has arrived it has a time limit, and a drain does not wait for it for long."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message

from protocol.errors import RequestTimeout
from serving.body import read_body
from serving.drain import DrainGate
from serving.http_protocol import HAS_ARRIVED
from serving.metrics import Operation, RequestMetrics
from serving.requests import ServingContext, new_request_info
from serving.settings import ServerSettings
from tests.serving.echo_server import EchoModel

SETTINGS = ServerSettings(body_timeout_s=0.01)


@pytest.fixture
def serving() -> ServingContext:
    return ServingContext(EchoModel("echo"), DrainGate(), RequestMetrics("echo", CollectorRegistry()))


async def receive_late() -> Message:
    await asyncio.sleep(0.03)
    return {"type": "http.request", "body": b"text"}


async def test_a_body_that_has_not_arrived_must_come_in_time(serving: ServingContext) -> None:
    with serving.request(new_request_info({}, "rest"), Operation("rest")) as request_scope:
        body = request_scope.body(receive_late, SETTINGS, {})
        with pytest.raises(RequestTimeout, match=r"within 0\.01 s"):
            await read_body(body.receive)


async def test_a_body_that_has_arrived_needs_no_timer(serving: ServingContext) -> None:
    with serving.request(new_request_info({}, "rest"), Operation("rest")) as request_scope:
        body = request_scope.body(receive_late, SETTINGS, {HAS_ARRIVED: True})
        assert await read_body(body.receive) == b"text"
