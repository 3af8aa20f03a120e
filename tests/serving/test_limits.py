"""What slow, greedy and silent clients may do to a server over raw sockets: nothing for longer than its limits."""

from __future__ import annotations

import contextlib
import gzip
import json
import signal
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial

import brotli
import httpx
import psutil
import pytest

from tests.serving.conftest import MODEL, Server, ask, wait_until
from tests.serving.test_stream import STREAM

pytestmark = pytest.mark.slow

INFER = f"/v2/models/{MODEL}/infer"
TIMEOUT_S = 1.5
MIB = 2**20


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    """A server with short limits."""
    limits = dict.fromkeys(("YIWEN_HEAD_TIMEOUT_S", "YIWEN_BODY_TIMEOUT_S", "YIWEN_WRITE_TIMEOUT_S"), "1.5")
    started = Server(YIWEN_MAX_BODIES_BYTES=str(512 * MIB), **limits)
    try:
        yield started.wait_ready()
    finally:
        started.stop()


def connect(server: Server, data: bytes, *, receive_buffer: int | None = None) -> socket.socket:
    opened = socket.socket()
    opened.settimeout(20)
    if receive_buffer is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    opened.connect(("127.0.0.1", server.http_port))
    opened.sendall(data)
    return opened


def head(path: str, *headers: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: a", *headers, "", ""]).encode()


def answer(opened: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    parts = []
    with opened, contextlib.suppress(ConnectionError):  # a reset: the server did not read all that was sent
        while part := opened.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_half_sent_heads_end(strict: Server) -> None:
    began = time.monotonic()
    halves = [connect(strict, b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\nx: ") for _ in range(300)]
    for half in halves:
        assert answer(half).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < TIMEOUT_S + 10
    assert strict.metric('yiwen_connections_closed_total{reason="head_timeout"}') >= 300


def test_a_head_that_drips_ends(strict: Server) -> None:
    began = time.monotonic()
    with connect(strict, b"GET / HTTP/1.1\r\n") as opened, contextlib.suppress(ConnectionError):
        while time.monotonic() - began < 20:
            opened.sendall(b"x: y\r\n")
            time.sleep(0.1)
    assert time.monotonic() - began < TIMEOUT_S + 5


def test_half_sent_bodies_end_and_give_their_memory_back(strict: Server) -> None:
    process = psutil.Process(strict.process.pid)
    half = head(INFER, f"content-length: {7 * MIB + 1}") + b" " * (7 * MIB)
    answer(connect(strict, half))  # what is allocated once is not counted
    before = process.memory_info().rss
    halves = [connect(strict, half) for _ in range(40)]
    for opened in halves:
        assert answer(opened).startswith(b"HTTP/1.1 408 ")
    wait_until(lambda: process.memory_info().rss - before < 64 * MIB)
    wait_until(lambda: strict.metric(f'yiwen_requests_in_flight{{model="{MODEL}"}}') == 0)
    assert httpx.post(strict.infer_url, json=ask("x")).status_code == 200


def test_half_sent_bodies_of_other_routes_end(strict: Server) -> None:
    opened = connect(strict, head("/test/raw", "content-length: 10") + b"12345")
    assert answer(opened).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nx: " + b"y" * 80_000,
        head("/" + "p" * 80_000, method="GET"),
        head("/", *(f"x-{number}: {'y' * 900}" for number in range(80)), method="GET"),
        head("/", *(f"x-{number}: y" for number in range(101)), method="GET"),
    ],
    ids=["one header", "path", "all headers", "count"],
)
def test_a_head_has_a_size(strict: Server, sent: bytes) -> None:
    reply = answer(connect(strict, sent))
    assert reply.startswith(b"HTTP/1.1 431 ")
    assert "65536 bytes" in json.loads(reply.partition(b"\r\n\r\n")[2])["error"]


def test_the_largest_head_is_taken(strict: Server) -> None:
    largest = head("/v2/health/live", *(f"x-{number}: {'y' * 650}" for number in range(97)), method="GET")
    with connect(strict, largest) as opened:
        assert opened.recv(20).startswith(b"HTTP/1.1 200 ")


def test_a_chunked_body_has_no_room_beside_its_chunks(strict: Server) -> None:
    start = head(INFER, "transfer-encoding: chunked") + b"1;"
    opened = connect(strict, start + b"x" * 80_000)
    assert answer(opened).startswith(b"HTTP/1.1 431 ")
    trailers = b"0\r\n" + b"x: y\r\n" * 101
    opened = connect(strict, head(INFER, "transfer-encoding: chunked") + trailers)
    assert b"HTTP/1.1 431 " in answer(opened)


def test_a_half_head_behind_a_request_does_not_hold_its_answer(strict: Server) -> None:
    body = json.dumps(ask("!sleep 3")).encode()
    opened = connect(strict, head(INFER, f"content-length: {len(body)}") + body + b"GET / HT")
    reply = answer(opened)
    assert reply.startswith(b"HTTP/1.1 200 ")
    assert reply.count(b"HTTP/1.1") == 1


def test_what_is_not_http_is_answered_and_counted(strict: Server) -> None:
    before = strict.metric('yiwen_connections_closed_total{reason="malformed"}')
    assert answer(connect(strict, b"\x16\x03\x01 hello\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert strict.metric('yiwen_connections_closed_total{reason="malformed"}') == before + 1


def test_a_stream_that_nobody_reads_ends(strict: Server) -> None:
    order = json.dumps({"events": 100_000, "pause_s": 0, "padding": 60_000}).encode()
    with connect(strict, head(STREAM, f"content-length: {len(order)}") + order):
        began = time.monotonic()
        wait_until(lambda: strict.metric('yiwen_connections_closed_total{reason="not_read"}') >= 1)
        assert time.monotonic() - began < TIMEOUT_S + 8
        wait_until(lambda: strict.metric(f'yiwen_requests_in_flight{{model="{MODEL}"}}') == 0)
        assert strict.state()["cancelled_at"] > began


def test_an_answer_that_nobody_reads_ends(strict: Server) -> None:
    body = json.dumps(ask("x" * 6 * MIB)).encode()
    before = strict.metric('yiwen_connections_closed_total{reason="not_read"}')
    with connect(strict, head(INFER, f"content-length: {len(body)}") + body, receive_buffer=4096):
        wait_until(lambda: strict.metric('yiwen_connections_closed_total{reason="not_read"}') == before + 1)


def test_a_slow_but_steady_reader_gets_its_whole_answer(strict: Server) -> None:
    body = json.dumps(ask("x" * 6 * MIB)).encode()
    sent = head(INFER, f"content-length: {len(body)}", "connection: close") + body
    size = 0
    with connect(strict, sent, receive_buffer=65536) as opened:
        while part := opened.recv(50_000):
            size += len(part)
            time.sleep(0.02)
    assert size > 6 * MIB


def test_a_drain_does_not_wait_for_bodies_that_never_come(start_server: Callable[..., Server]) -> None:
    server = start_server(YIWEN_DRAIN_S="60").wait_ready()
    halves = [connect(server, head(INFER, "content-length: 9") + b"{") for _ in range(20)]
    halves += [connect(server, b"POST / HTTP/1.1\r\n") for _ in range(20)]
    wait_until(lambda: server.metric(f'yiwen_requests_in_flight{{model="{MODEL}"}}') == 20)
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert time.monotonic() - began < 12
    assert [answer(half)[:13] for half in halves] == [b"HTTP/1.1 503 "] * 20 + [b""] * 20


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": lambda data: zlib.compress(data)[2:-4],
    "br": partial(brotli.compress, quality=1),
    "identity": lambda data: data,
}


@pytest.mark.parametrize("coding", ENCODERS)
def test_an_encoded_body_is_read(client: httpx.Client, coding: str) -> None:
    body = ENCODERS[coding](json.dumps(ask("手机" * 1000)).encode())
    reply = client.post(INFER, content=body, headers={"content-encoding": coding})
    assert reply.json()["outputs"][0]["data"] == ["手机" * 1000]
    reply = client.post(
        "/test/raw", content=ENCODERS[coding](b"x" * 5000), headers={"content-encoding": coding}
    )
    assert reply.json() == {"bytes": 5000}


def test_an_encoded_body_may_come_in_pieces(client: httpx.Client) -> None:
    body = gzip.compress(json.dumps(ask("x")).encode())
    pieces = (body[at : at + 7] for at in range(0, len(body), 7))
    assert client.post(INFER, content=pieces, headers={"content-encoding": "gzip"}).status_code == 200


@pytest.mark.parametrize("coding", ["zstd", "gzip, br", "compress", "*"])
def test_other_encodings_are_415(client: httpx.Client, coding: str) -> None:
    reply = client.post(INFER, content=b"x", headers={"content-encoding": coding})
    assert (reply.status_code, reply.headers["accept-encoding"]) == (415, "gzip, deflate, br")


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"{}"),
        ("br", b"\xff\xff\xff\xff"),
        ("deflate", b"\x78\x9c\xff\xff"),
        ("gzip", gzip.compress(b"{}")[:-6]),
        ("gzip", b""),
        ("gzip", gzip.compress(b"{}") + b"more"),
    ],
    ids=["gzip-plain", "br-garbage", "deflate-garbage", "gzip-cut", "gzip-empty", "gzip-trailing"],
)
def test_a_body_that_is_not_what_it_says_is_400(client: httpx.Client, coding: str, body: bytes) -> None:
    reply = client.post(INFER, content=body, headers={"content-encoding": coding})
    assert reply.status_code == 400
    assert "ompress" in reply.json()["error"] or "Content-Encoding" in reply.json()["error"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_bombs_are_413_and_cost_little(server: Server, client: httpx.Client, coding: str) -> None:
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    for size in (4 * MIB, 64 * MIB):  # too large a ratio; too large
        bomb = ENCODERS[coding](bytes(size))
        reply = client.post(INFER, content=bomb, headers={"content-encoding": coding})
        assert reply.status_code == 413
    assert process.memory_info().rss - before < 48 * MIB
