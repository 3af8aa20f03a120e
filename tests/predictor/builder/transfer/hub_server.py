"""A server on a free port that speaks the APIs of the Hugging Face hub and of ModelScope, over a folder of models."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS_BYTES = 10_000
"""Files from here on are in Git LFS, and come from another host."""


@dataclass(slots=True)
class HubServer:
    """Models are ``<root>/<org>/<name>/``."""

    root: Path
    token: str | None = None
    """None: everybody may read."""
    port: int = 0
    requests: list[str] = field(default_factory=list)
    """Paths, with their ranges."""
    leaked: list[str] = field(default_factory=list)
    """Authorization headers that came to the other host."""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/models/{org}/{name}/revision/{revision}", self.model)
        app.router.add_get("/{org}/{name}/resolve/{revision}/{path:.+}", self.resolve)
        app.router.add_get("/cdn/{path:.+}", self.content)
        app.router.add_get("/api/v1/models/{org}/{name}/repo/files", self.modelscope_files)
        app.router.add_get("/api/v1/models/{org}/{name}/repo", self.modelscope_file)
        app.router.add_static("/files", self.root)
        return app

    def _refused(self, request: web.Request) -> bool:
        given = (request.headers.get("Authorization"), request.cookies.get("m_session_id"))
        return self.token is not None and given not in ((f"Bearer {self.token}", None), (None, self.token))

    def _model(self, request: web.Request) -> Path:
        model = self.root / request.match_info["org"] / request.match_info["name"]
        if self._refused(request) or not model.is_dir():
            raise web.HTTPUnauthorized
        return model

    async def model(self, request: web.Request) -> web.Response:
        model = self._model(request)
        if request.match_info["revision"] not in ("main", "v1", "refs/pr/1"):
            raise web.HTTPNotFound
        siblings = [_sibling(model, path) for path in sorted(model.rglob("*")) if path.is_file()]
        return web.json_response({"id": "x", "sha": COMMIT, "siblings": siblings})

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        path = self._model(request) / request.match_info["path"]
        if request.match_info["revision"] != COMMIT or not path.is_file():
            raise web.HTTPNotFound
        if path.stat().st_size >= LFS_BYTES:
            raise web.HTTPFound(f"http://localhost:{self.port}/cdn/{path.relative_to(self.root).as_posix()}")
        return self._file(request, path)

    async def content(self, request: web.Request) -> web.StreamResponse:
        self.leaked += request.headers.getall("Authorization", [])
        return self._file(request, self.root / request.match_info["path"])

    async def modelscope_files(self, request: web.Request) -> web.Response:
        model = self._model(request)
        files: list[dict[str, Any]] = [
            {
                "Path": path.relative_to(model).as_posix(),
                "Type": "blob" if path.is_file() else "tree",
                "Size": path.stat().st_size if path.is_file() else 0,
                "Sha256": hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            }
            for path in sorted(model.rglob("*"))
        ]
        return web.json_response({"Code": 200, "Data": {"Files": files}, "Success": True})

    async def modelscope_file(self, request: web.Request) -> web.StreamResponse:
        return self._file(request, self._model(request) / request.query["FilePath"])

    def _file(self, request: web.Request, path: Path) -> web.StreamResponse:
        self.requests.append(f"{path.name} {request.headers.get('Range', '')}")
        return web.FileResponse(path)


@contextmanager
def running_hub(server: HubServer) -> Iterator[HubServer]:
    """The server, in a thread with an event loop of its own."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(server.app())

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.port = runner.addresses[0][1]

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _sibling(model: Path, path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    entry: dict[str, Any] = {
        "rfilename": path.relative_to(model).as_posix(),
        "size": len(content),
        "blobId": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
    }
    if len(content) >= LFS_BYTES:
        entry["blobId"] = "of the pointer, which is another"
        entry["lfs"] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "pointerSize": 134,
        }
    return entry
