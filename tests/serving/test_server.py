from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import httpx
import pytest
from grpc import StatusCode

from protocol.codec.sdk import pb
from serving.server import _bind
from tests.forkserver import run_module
from tests.ports import free_port
from tests.serving.conftest import MODEL, ROOT, Server, ask, grpc_ask, wait_until

StartServer = Callable[..., Server]


class Post(threading.Thread):
    """A request in flight."""

    def __init__(self, server: Server, text: str) -> None:
        super().__init__()
        self.answer: httpx.Response | None = None
        self.failed: httpx.TransportError | None = None
        self._url, self._body = server.infer_url, ask(text)
        started = server.state()["started"]
        self.start()
        wait_until(lambda: server.state()["started"] > started)

    def run(self) -> None:
        try:
            self.answer = httpx.post(self._url, json=self._body, timeout=30)
        except httpx.TransportError as error:
            self.failed = error

    def result(self) -> httpx.Response:
        self.join(20)
        assert self.answer is not None, self.failed
        return self.answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_running_requests_finish_and_new_ones_are_turned_away(
    start_server: StartServer, number: signal.Signals
) -> None:
    server = start_server().wait_ready()
    rest = Post(server, "!sleep 1.5")
    over_grpc = asyncio.ensure_future(server.infer(grpc_ask("!sleep 1.5")))
    while server.state()["started"] < 2:
        await asyncio.sleep(0.01)
    server.signal(number)
    wait_until(lambda: httpx.get(f"{server.url}/v2/health/ready").status_code == 503)
    assert httpx.get(f"{server.url}/v2/health/live").status_code == 200
    assert httpx.get(f"{server.url}/v2/models/{MODEL}/ready").status_code == 503
    refused = httpx.post(server.infer_url, json=ask("late"))
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["connection"] == "close"
    assert httpx.post(f"{server.url}/test/order", json={"order": "!sleep 0"}).status_code == 503
    assert not (await server.call("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)).ready
    error = await server.failure(grpc_ask("late"))
    assert error.code() is StatusCode.UNAVAILABLE
    assert dict(error.trailing_metadata())["retry-after"] == "1"

    assert (await over_grpc).outputs[0].contents.bytes_contents[0] == b"!sleep 1.5"
    assert rest.result().status_code == 200
    assert server.process.wait(10) == 0
    assert server.stdout() == "closed\n"


def test_an_idle_server_stops_at_once(start_server: StartServer) -> None:
    server = start_server().wait_ready()
    with httpx.Client() as client:
        client.post(server.infer_url, json=ask("an idle connection stays open"))
        begun = time.monotonic()
        server.signal()
        assert server.process.wait(10) == 0
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("order", ["!sleep 30", "!stubborn 30"])
def test_requests_are_cut_off_when_draining_takes_too_long(start_server: StartServer, order: str) -> None:
    server = start_server(YIWEN_DRAIN_S="0.3").wait_ready()
    rest = Post(server, order)
    server.signal()
    if order == "!sleep 30":
        assert rest.result().status_code == 503
    assert server.process.wait(15) == 0
    rest.join(10)


def test_a_second_signal_stops_at_once(start_server: StartServer) -> None:
    server = start_server().wait_ready()
    rest = Post(server, "!sleep 30")
    server.signal()
    wait_until(lambda: httpx.get(f"{server.url}/v2/health/ready").status_code == 503)
    server.signal()
    assert server.process.wait(5) == 128 + signal.SIGTERM
    rest.join(5)
    assert rest.failed is not None


@pytest.mark.parametrize("name", ["http_port", "grpc_port"])
def test_a_taken_port_is_one_line_and_status_2(server: Server, name: str) -> None:
    ports = {"http_port": str(free_port()), "grpc_port": "0", name: str(getattr(server, name))}
    arguments = [part for port, value in ports.items() for part in (f"--{port}", value)]
    environ = {"YIWEN_HOST": "127.0.0.1", "GRPC_VERBOSITY": "NONE"}
    run = run_module("tests.serving.echo_server", *arguments, env=environ)
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert f"YIWEN_{name.upper()}" in line


def test_answers_do_not_wait_for_acknowledgements_where_there_is_no_uvloop() -> None:
    """Of a part that is sent after another: with Nagle's algorithm on, 700 requests/s instead of 6,600."""

    async def connection_without_delay() -> bool:
        made = asyncio.get_running_loop().create_future()

        async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            made.set_result(
                writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            )
            writer.close()

        listening = await asyncio.start_server(connected, sock=_bind("127.0.0.1", port, "YIWEN_HTTP_PORT"))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return bool(await asyncio.wait_for(made, 20))
        finally:
            writer.close()
            listening.close()

    port = free_port()
    assert asyncio.run(connection_without_delay())


def test_grpc_can_be_turned_off(start_server: StartServer) -> None:
    server = start_server(YIWEN_GRPC_PORT="0").wait_ready()
    assert httpx.post(server.infer_url, json=ask("x")).status_code == 200


def test_text_logs_are_for_people(start_server: StartServer) -> None:
    server = start_server(YIWEN_LOG_FORMAT="text").wait_ready()
    httpx.post(server.infer_url, json=ask("secret"), headers={"x-request-id": "abc"})
    wait_until(lambda: "request_id=abc" in server.log())
    assert "secret" not in server.log()


def test_importing_the_sdk_ignores_our_command_line() -> None:
    program = "import sys; sys.argv = ['x', '--http_port', 'no']; import serving.sdk; print(sys.argv[1])"
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout == "--http_port\n", run.stderr
