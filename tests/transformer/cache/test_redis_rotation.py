"""The password of Redis is rotated under load: hits go on, nothing fails, nothing restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.inferenceservices.redis_of_ours import RedisOfOurs, redis_of_ours
from tests.transformer.cache.test_redis_faults import QUIET, Load, _hits, _metric
from tests.transformer.predictor_stand_in import StandIn
from tests.transformer.process import running_transformer

PHASE_S = 0.3


class Connections:
    """A proxy before Redis, whose connections can be cut."""

    def __init__(self) -> None:
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def to(self, redis: RedisOfOurs) -> AsyncIterator[Connections]:
        async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while data := await reader.read(65_536):
                    writer.write(data)
            finally:
                writer.close()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            to_server = await asyncio.open_connection("127.0.0.1", redis.port)
            self._writers |= {writer, to_server[1]}
            await asyncio.gather(
                copy(reader, to_server[1]), copy(to_server[0], writer), return_exceptions=True
            )

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield self
        server.close()
        self.cut()
        await asyncio.sleep(0.05)  # the transports close

    def cut(self) -> None:
        """Close all connections, so that the next commands log in anew."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()


async def test_rotation_under_load_loses_no_hit_and_no_request(
    release_directory: Path, stand_in: StandIn, tmp_path: Path
) -> None:
    password = tmp_path / "transformers-password"
    with redis_of_ours(tmp_path) as redis:
        async with Connections().to(redis) as connections:
            password.write_text((redis.secret / "password").read_text())
            settings = {
                **QUIET,
                "YIWEN_REDIS_URL": f"redis://yiwen@127.0.0.1:{connections.port}",
                "YIWEN_REDIS_PASSWORD_FILE": str(password),
                "YIWEN_CACHE_BYTES": "0",
            }
            with running_transformer(release_directory, stand_in.url, settings=settings) as transformer:
                load = Load("rotation", transformer.url)

                async def rotate() -> None:
                    for number in range(2):
                        new = f"password {number}"
                        (redis.secret / "password").write_text(new)
                        await redis.until_it_accepts(new)
                        connections.cut()  # new connections with the old password
                        await asyncio.sleep(PHASE_S)
                        password.write_text(new)
                        connections.cut()  # and with the new one
                        await asyncio.sleep(PHASE_S)

                await load.run(PHASE_S)
                rotation = asyncio.create_task(rotate())
                while not rotation.done():
                    await load.run(PHASE_S)
                await rotation
                hits = await asyncio.to_thread(_hits, transformer)
                taken = await load.run(PHASE_S)
                assert load.failures == []
                assert await asyncio.to_thread(_hits, transformer) - hits > 0.3 * len(taken)
                assert (
                    await asyncio.to_thread(_metric, transformer.url, "redis_errors_total", kind="auth") == 0
                )
                assert transformer.process.poll() is None
                assert redis.process.poll() is None
