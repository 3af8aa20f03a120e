"""The Redis of the component ``redis``, started by its own command on this machine's redis-server."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from protocol.kubernetes.inference_service import pod_templates
from tests.inferenceservices.builds import documents_of
from tests.ports import free_port
from tests.transformer.redis_server import START_S, running_redis
from transformer.cache.redis_client import RedisStore, StoreError, StoreSettings
from transformer.redis_url import parse_redis_url


@dataclass
class RedisOfOurs:
    """The StatefulSet's command on this machine's redis-server, with a Secret's files."""

    port: int
    process: subprocess.Popen[bytes]
    secret: Path

    @property
    def url(self) -> str:
        return f"redis://yiwen@127.0.0.1:{self.port}"

    def store(self, *, user: str | None = "yiwen") -> RedisStore:
        """A client with the transformer's password; None for one without name and password."""
        settings = StoreSettings(
            address=parse_redis_url(f"redis://{f'{user}@' if user else ''}127.0.0.1:{self.port}"),
            password_file=self.secret / "password" if user else None,
            ca_file=None,
            connect_timeout_s=2.0,
            command_timeout_s=2.0,
            max_connections=2,
        )
        return RedisStore(settings)

    async def refuses(self, *words: str) -> bool:
        """Whether the transformer's user may not run a command."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        password = (self.secret / "password").read_text()
        for command in (("AUTH", "yiwen", password), words):
            parts = b"".join(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in command)
            writer.write(b"*%d\r\n%s" % (len(command), parts))
            answer = await reader.readline()
        writer.close()
        return answer.startswith(b"-")

    async def accepts(self, password: str) -> bool:
        """Whether a new connection may log in with a password."""
        file = self.secret.parent / "tried"
        file.write_text(password)
        store = RedisStore(StoreSettings(parse_redis_url(self.url), file, None, 2.0, 2.0, 1))
        try:
            await store.get_many(["yiwen:k"])
        except StoreError:
            return False
        finally:
            await store.close()
        return True

    async def until_it_accepts(self, password: str) -> None:
        end = time.monotonic() + START_S
        while not await self.accepts(password):
            assert time.monotonic() < end
            await asyncio.sleep(0.05)


@contextmanager
def redis_of_ours(directory: Path, *, tls: Path | None = None) -> Iterator[RedisOfOurs]:
    """Run the start of Redis as production does.

    Args:
        directory: for the Secret's files and Redis' own.
        tls: folder with ca.crt, tls.crt and tls.key; None leaves TLS out.
    """
    with running_redis(directory):
        pass  # skips where there is no redis-server
    secret = directory / "secret"
    secret.mkdir()
    (secret / "password").write_text("a b$(c)'d")
    port = free_port()
    (container,) = (
        container
        for pod in pod_templates(documents_of("overlays/production"))
        if pod.location.startswith("StatefulSet/")
        for container in pod.containers
        if container["name"] == "redis"
    )
    paths = {
        "/tmp": str(directory),
        "/etc/yiwen/redis-tls": str(tls or directory / "none"),
        "/etc/yiwen/redis": str(secret),
        "port 6379": f"port {port}",
        "sleep 5": "sleep 0.2",
    }
    command = [*container["command"], *container["args"]]
    for old, new in paths.items():
        command = [word.replace(old, new) for word in command]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _wait_until_it_listens(port)
    try:
        yield RedisOfOurs(port, process, secret)
    finally:
        process.terminate()
        assert process.wait(START_S) == 0


def _wait_until_it_listens(port: int) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise AssertionError("Redis did not start")
