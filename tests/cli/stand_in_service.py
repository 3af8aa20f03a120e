"""A server of the service's REST surface that refuses on purpose."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.http_servers import open_server, serving


class _BrokenConnection(BaseHTTPRequestHandler):
    """Breaks off the first requests of a server, and sends the others on."""

    def do_GET(self) -> None:
        self._serve(lambda: httpx.get(f"{self.server.behind}{self.path}"))  # type: ignore[attr-defined]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {"content-type": "application/json"}
        self._serve(
            lambda: httpx.post(f"{self.server.behind}{self.path}", content=body, headers=headers)  # type: ignore[attr-defined]
        )

    def _serve(self, ask: Callable[[], httpx.Response]) -> None:
        left = self.server.breaks_left  # type: ignore[attr-defined]
        if left.pop() if left else False:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        answer = ask()
        self.send_response(answer.status_code)
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def breaking(service: Refusing, *breaks: bool) -> Iterator[str]:
    """The URL of a proxy in front of a service.

    Args:
        service: behind it.
        breaks: for each of the first requests, whether its connection is broken off before an answer.
    """
    server = open_server(_BrokenConnection)
    server.behind, server.breaks_left = service.url, list(reversed(breaks))  # type: ignore[attr-defined]
    with serving(server) as url:
        yield url


class Refusing:
    """Answers each text with itself in capitals, once ``refusals`` are used up."""

    def __init__(self, *refusals: tuple[int, dict[str, str]]) -> None:
        self.refusals = list(refusals)
        self.url = ""
        self.sizes: list[int] = []
        self.texts: list[str] = []
        """Texts that were answered."""
        self.formats: list[str] = []
        self.most_texts = 1_000_000
        """More in a request, and texts of more characters, are refused with 413."""
        self.running = self.most_running = 0
        self.body: Callable[[list[str]], object] = lambda texts: {"outputs": outputs(texts)}

    async def infer(self, request: Request) -> Response:
        document = await request.json()
        texts = document["inputs"][0]["data"]
        self.sizes.append(len(texts))
        self.formats.append(document["parameters"].get("format", "text"))
        if len(texts) > self.most_texts or any(len(text) > 5_000 for text in texts):
            return JSONResponse({"error": "too much", "code": "too_many_texts"}, 413)
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return JSONResponse({"error": "come back later"}, status, headers)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0.02)
        self.running -= 1
        self.texts += texts
        return JSONResponse(self.body(texts))

    async def models(self, request: Request) -> Response:
        return JSONResponse({"models": ["first model", "second"]})

    @contextmanager
    def serving(self) -> Iterator[Refusing]:
        routes = [
            Route("/v2/models", self.models),
            Route("/v2/models/first model/infer", self.infer, methods=["POST"]),
        ]
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(Starlette(routes=routes), lifespan="off", ws="none", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join()
            listener.close()


def outputs(texts: list[str]) -> list[dict[str, Any]]:
    columns: dict[str, list[Any]] = {
        "translation": [text.upper() for text in texts],
        "source": ["en"] * len(texts),
        "confidence": [0.5] * len(texts),
        "cache": ["miss"] * len(texts),
    }
    return [{"name": name, "data": data} for name, data in columns.items()]
