"""The load generator as a process of its own, against real servers that answer, stall, break off or say nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Queue

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.transformer_stages import processes
from benchmarks.transformer_stages.job import (
    FAILED,
    LoadJob,
    LoadRequest,
    Outcome,
    RequestSample,
    Target,
    job_from_json,
    outcome_from_json,
)

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]

TARGETS = st.builds(
    Target,
    st.integers(1, 65535),
    st.sampled_from(["/a", "/b"]),
    st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.text("abc", max_size=3)),
)
REQUESTS = st.lists(st.builds(LoadRequest, TARGETS, st.binary(max_size=20)), max_size=5).map(tuple)
FLOATS = st.floats(0, 100)


@contextmanager
def server(handle: Handler) -> Iterator[int]:
    """Calls ``handle`` with each request's body, in a thread of its own; gives the port."""
    began: Queue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Queue()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                await handle(await reader.readexactly(length), writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def serve() -> None:
        listening = await asyncio.start_server(connected, "127.0.0.1", 0)
        stop = asyncio.Event()
        began.put((listening.sockets[0].getsockname()[1], asyncio.get_running_loop(), stop))
        await stop.wait()
        listening.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    port, loop, stop = began.get(timeout=10)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def requests(port: int, *bodies: bytes) -> tuple[LoadRequest, ...]:
    return tuple(LoadRequest(Target(port, "/infer"), body) for body in bodies)


async def answer(body: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + body[:5].ljust(5))


@given(
    REQUESTS,
    st.lists(FLOATS, max_size=3).map(tuple),
    st.integers(1, 9),
    FLOATS,
    st.lists(st.text(max_size=3), max_size=2).map(tuple),
)
def test_a_job_round_trips_through_json(
    wanted: tuple[LoadRequest, ...],
    at_s: tuple[float, ...],
    callers: int,
    seconds: float,
    marks: tuple[str, ...],
) -> None:
    job = LoadJob(wanted, at_s, callers, seconds, 3.0, marks)

    assert job_from_json(job.to_json()) == job


def test_an_outcome_round_trips_through_json() -> None:
    outcome = Outcome(
        (RequestSample(3, 200, 0.5, 0.001, 0.002, 0.003, 1), RequestSample(4, 0, 0.6, 0, 0, 0)), 1.5, 0.25
    )

    assert outcome_from_json(outcome.to_json()) == outcome


def test_a_closed_loop_sends_every_request_once() -> None:
    with processes.canned() as canned:
        outcome = processes.run_load(LoadJob(requests(canned.port, *(b"{}" for _ in range(50))), callers=4))

    assert sorted(each.number for each in outcome.samples) == list(range(50))
    assert {each.status for each in outcome.samples} == {200}
    assert all(0 < each.first_s <= each.latency_s <= outcome.wall_s for each in outcome.samples)


def test_a_closed_loop_runs_for_its_duration() -> None:
    with processes.canned() as canned:
        outcome = processes.run_load(LoadJob(requests(canned.port, b"{}", b"{}"), callers=2, seconds=0.3))

    assert len(outcome.samples) > 2
    assert outcome.wall_s >= 0.3
    assert all(each.start_s < 0.3 for each in outcome.samples)


def test_marks_classify_answers() -> None:
    with server(answer) as port:
        job = LoadJob(requests(port, b"hit", b"miss", b"other"), marks=("miss", "hit"))
        outcome = processes.run_load(job)

    assert [each.mark for each in outcome.samples] == [1, 0, -1]


def test_latency_counts_from_the_planned_start_during_a_stall() -> None:
    """No coordinated omission: the requests behind a stall start on time, and wait for as long as it lasts."""
    stall_s = 0.5
    free = asyncio.Lock()

    async def stalling(body: bytes, writer: asyncio.StreamWriter) -> None:
        async with free:
            if body == b"stall":
                await asyncio.sleep(stall_s)
        writer.write(OK + b"12345")

    at_s = tuple(0.05 * number for number in range(1, 9))
    with server(stalling) as port:
        bodies = (b"stall", *(b"next" for _ in at_s[1:]))
        outcome = processes.run_load(LoadJob(requests(port, *bodies), at_s=at_s))

    by_number = {each.number: each for each in outcome.samples}
    assert [by_number[number].start_s for number in range(len(at_s))] == pytest.approx(at_s)
    for number, start in enumerate(at_s):
        assert by_number[number].latency_s >= at_s[0] + stall_s - start - 0.001


def test_a_stream_has_a_first_byte_and_a_last_one() -> None:
    async def stream(body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\none \r\n")
        await asyncio.sleep(0.2)
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    with server(stream) as port:
        (only,) = processes.run_load(LoadJob(requests(port, b"x"), marks=("one two",))).samples

    assert only.mark == 0
    assert only.latency_s - only.first_s >= 0.19


def test_a_broken_connection_is_a_failure_and_the_next_request_gets_another() -> None:
    async def fragile(body: bytes, writer: asyncio.StreamWriter) -> None:
        if body == b"break":
            writer.write(OK + b"12")
            writer.close()
        else:
            await answer(body, writer)

    with server(fragile) as port:
        outcome = processes.run_load(LoadJob(requests(port, b"fine", b"break", b"again")))

    assert [each.status for each in outcome.samples] == [200, FAILED, 200]


def test_a_request_that_is_given_up_leaves_no_answer_for_the_next_one() -> None:
    async def slow(body: bytes, writer: asyncio.StreamWriter) -> None:
        if body == b"slow":
            await asyncio.sleep(0.4)
        await answer(body, writer)

    with server(slow) as port:
        job = LoadJob(requests(port, b"slow", b"fast"), patience_s=0.1, marks=("slow", "fast"))
        outcome = processes.run_load(job)

    assert [(each.status, each.mark) for each in outcome.samples] == [(FAILED, -1), (200, 1)]


def test_a_load_on_a_closed_port_ends_with_failures() -> None:
    with server(answer) as port:
        pass

    with pytest.raises(SystemExit, match="load generator failed"):
        processes.run_load(LoadJob(requests(port, b"x")))


@contextmanager
def grpc_server(handle: Callable[[bytes], bytes]) -> Iterator[int]:
    """Answers one method with ``handle``; gives the port."""
    method = grpc.unary_unary_rpc_method_handler(lambda message, _: handle(message))
    running = grpc.server(ThreadPoolExecutor(2))
    running.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.Service", {"Infer": method}),))
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    try:
        yield port
    finally:
        running.stop(None).wait()


def test_a_grpc_closed_loop_runs_for_its_duration() -> None:
    def echo(message: bytes) -> bytes:
        if message == b"fail":
            raise ValueError("as a server may")
        return b"<" + message + b">"

    with grpc_server(echo) as port:
        bodies = (b"hit", b"miss", b"fail")
        wanted = tuple(LoadRequest(Target(port, "/a.Service/Infer", {}), body) for body in bodies)
        job = LoadJob(wanted, callers=3, seconds=0.3, marks=("hit", "miss"))
        outcome = processes.run_load(job, "grpc_load")

    assert len(outcome.samples) > 3
    expected = {0: (200, 0), 1: (200, 1), 2: (FAILED, -1)}
    assert all((each.status, each.mark) == expected[each.number] for each in outcome.samples)
    assert all(0 < each.latency_s <= outcome.wall_s for each in outcome.samples)
