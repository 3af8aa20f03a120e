from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from protocol.errors import DeadlineExceeded
from serving.event_stream import EventStream


class Wire:
    """What ASGI was told to send."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        await asyncio.sleep(0)  # a server may pause here
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])


async def numbers(count: int, pause_s: float = 0.0) -> AsyncGenerator[dict[str, object], None]:
    for number in range(count):
        await asyncio.sleep(pause_s)
        yield {"n": number}


async def test_events_go_out_one_by_one_with_the_headers_of_a_stream() -> None:
    wire = Wire()
    answer = EventStream(wire.send, [(b"x-request-id", b"7")])
    await answer.relay(numbers(2))
    assert [message["body"] for message in wire.messages[1:]] == [b'data: {"n":0}\n\n', b'data: {"n":1}\n\n']
    await answer.end(None)
    assert wire.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert dict(wire.messages[0]["headers"]) == {
        b"content-type": b"text/event-stream; charset=utf-8",
        b"cache-control": b"no-cache",
        b"x-accel-buffering": b"no",
        b"x-request-id": b"7",
    }


async def test_silence_is_broken_by_comments_also_before_the_first_event() -> None:
    wire = Wire()
    await EventStream(wire.send, (), heartbeat_s=0.02).relay(numbers(1, pause_s=0.2))
    *beats, event = [message["body"] for message in wire.messages[1:]]
    assert set(beats) == {b": heartbeat\n\n"}
    assert 2 <= len(beats) <= 10
    assert event == b'data: {"n":0}\n\n'


async def test_a_busy_stream_has_no_heartbeat() -> None:
    wire = Wire()
    await EventStream(wire.send, (), heartbeat_s=0.2).relay(numbers(100, pause_s=0.005))
    assert b"heartbeat" not in wire.body


async def test_nothing_is_sent_before_the_first_event_so_that_a_failure_keeps_its_status() -> None:
    wire = Wire()

    async def late() -> AsyncGenerator[dict[str, object], None]:
        none: list[dict[str, object]] = []
        for event in none:
            yield event
        raise DeadlineExceeded("too late")

    answer = EventStream(wire.send, ())
    with pytest.raises(DeadlineExceeded):
        await answer.relay(late())
    assert not answer.started
    assert wire.messages == []


async def test_a_failure_after_the_start_is_the_last_event() -> None:
    wire = Wire()
    answer = EventStream(wire.send, ())
    await answer.relay(numbers(1))
    await answer.end(DeadlineExceeded("too late"))
    assert (
        wire.body
        == b'data: {"n":0}\n\nevent: error\ndata: {"error":"too late","code":"deadline_exceeded","status":504}\n\n'
    )
    assert wire.messages[-1]["more_body"] is False


async def test_cancelling_closes_the_events_and_stops_the_heart() -> None:
    wire = Wire()
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[dict[str, object], None]:
        try:
            while True:
                await asyncio.sleep(0.01)
                yield {}
        finally:
            closed.set()

    relaying = asyncio.create_task(EventStream(wire.send, (), heartbeat_s=0.01).relay(endless()))
    await asyncio.sleep(0.05)
    relaying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await relaying
    assert closed.is_set()
    await asyncio.sleep(0)
    sent = len(wire.messages)
    await asyncio.sleep(0.05)
    assert len(wire.messages) == sent
