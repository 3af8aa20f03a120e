"""The Redis client: batches of commands to one server, a Sentinel's primary or a cluster, each with a timeout.

It sends each command once and within a time: when to leave a failing store alone is decided by
:mod:`transformer.cache.redis_cache`. Nothing is connected before the first command.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from redis import exceptions
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from transformer.cache.redis_scripts import Script
from transformer.cache.timed_commands import TimedCommands, current_limit
from transformer.redis_url import RedisAddress, Topology

T = TypeVar("T")

SCAN_COUNT = 500
"""Keys that one SCAN step looks at: some 0.1 ms of the server's single thread."""


class StoreError(Exception):
    """A command did not get its answer. ``kind`` is a metric label; the message holds no key, value or secret."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How to reach a store."""

    address: RedisAddress
    password_file: Path | None
    """Read for every new connection, so that a rotated password needs no restart."""
    ca_file: Path | None
    """PEM certificates that the server's is checked against; None takes the system's."""
    connect_timeout_s: float
    command_timeout_s: float
    """From sending until the whole answer is there, in seconds in which the event loop runs; a connection that must
    be opened first has its own time on top."""
    max_connections: int


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """One run of a script."""

    script: Script
    keys: tuple[str, ...]
    """All in one cluster slot."""
    arguments: tuple[str | bytes | int, ...]


class RedisStore:
    """Bytes by key, with a lifetime. Belongs to one event loop."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._is_cluster = settings.address.topology is Topology.CLUSTER
        self._client, self._sentinels = _connect(settings)
        self._commands = TimedCommands(settings.max_connections, lambda seconds: self.answered(seconds))
        self.answered: Callable[[float], None] = lambda seconds: None
        """Called with the seconds that each answer took, without those in which this process stalled; 0 for one that
        needed a new connection."""

    @property
    def seconds(self) -> float:
        """A clock that does not count the time in which this process stalled."""
        return self._commands.now()

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The value of each key, in order, in one round trip (in a cluster, one to each node at once).

        Raises:
            StoreError: no answer in time, or an error instead of one.
        """
        if not self._is_cluster:
            return list(await self._within(lambda: self._client.mget(keys)))
        pipe = self._pipeline()
        for key in keys:
            pipe.get(key)
        return list(await self._within(pipe.execute))

    async def set_many(self, values: Iterable[tuple[str, bytes, int]]) -> list[StoreError | None]:
        """Store (key, value, milliseconds to live) each, in one pipeline; returns what became of each.

        Raises:
            StoreError: no answer in time.
        """
        pipe = self._pipeline()
        for key, value, lifetime_ms in values:
            pipe.set(key, value, px=lifetime_ms)
        answers = await self._within(lambda: pipe.execute(raise_on_error=False))
        return [_store_error(answer) if isinstance(answer, Exception) else None for answer in answers]

    async def run_many(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """What each script returns, or a StoreError in its place, in one round trip.

        A server that does not know a script yet costs a second one, in which it learns it.

        Raises:
            StoreError: no answer in time.
        """
        answers = await self._run(calls, "EVALSHA")
        unknown = [n for n, answer in enumerate(answers) if isinstance(answer, exceptions.NoScriptError)]
        if unknown:
            again = await self._run([calls[number] for number in unknown], "EVAL")
            for number, answer in zip(unknown, again, strict=True):
                answers[number] = answer
        return [_store_error(answer) if isinstance(answer, Exception) else answer for answer in answers]

    async def keys(self, prefix: str) -> AsyncGenerator[list[str], None]:
        """Batches of the keys that begin with ``prefix``, by SCAN; one may come twice.

        Raises:
            StoreError: as :meth:`get_many`.
        """
        pattern = "".join(f"\\{c}" if c in "*?[]\\^" else c for c in prefix) + "*"
        batch: list[str] = []
        try:
            async for key in self._client.scan_iter(match=pattern, count=SCAN_COUNT):
                batch.append(key.decode())
                if len(batch) >= SCAN_COUNT:
                    yield batch
                    batch = []
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
            raise _store_error(error) from None
        if batch:
            yield batch

    async def delete(self, keys: Sequence[str]) -> int:
        """Remove keys, freeing their memory in the server's background; returns how many there were.

        Raises:
            StoreError: as :meth:`get_many`.
        """
        return int(await self._within(lambda: self._client.unlink(*keys)))

    async def sizes(self, keys: Sequence[str]) -> list[int]:
        """Bytes of each key's value; 0 for one that is gone.

        Raises:
            StoreError: as :meth:`get_many`.
        """
        pipe = self._pipeline()
        for key in keys:
            pipe.strlen(key)
        return [int(answer) for answer in await self._within(pipe.execute)]

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        for sentinel in self._sentinels:
            await sentinel.aclose()

    async def _run(self, calls: Sequence[ScriptCall], command: str) -> list[Any]:
        pipe = self._pipeline()
        for call in calls:
            script = call.script.sha if command == "EVALSHA" else call.script.source
            # By its name: redis-py keeps the method itself from pipelines of a cluster, which run it all the same.
            pipe.execute_command(command, script, len(call.keys), *call.keys, *call.arguments)
        return list(await self._within(lambda: pipe.execute(raise_on_error=False)))

    def _pipeline(self) -> Any:  # noqa: ANN401  redis-py's two kinds of pipeline have no type in common
        return self._client.pipeline() if self._is_cluster else self._client.pipeline(transaction=False)

    async def _within(self, command: Callable[[], Awaitable[T]]) -> T:
        """The command's answer, or StoreError when its time is over.

        A command that opens a connection gets the time for that on top; in a cluster, where it may have to find the
        nodes first, every command does.
        """
        bound = self._settings.command_timeout_s
        if self._is_cluster:
            bound += self._settings.connect_timeout_s
        try:
            return await self._commands.run(command, bound)
        except Exception as error:  # noqa: BLE001  a fault inside redis-py must not become a failed request
            raise _store_error(error) from None


class _PasswordFile(CredentialProvider):
    def __init__(self, user: str | None, path: Path) -> None:
        self._user = user
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._path.read_text(encoding="utf-8").strip()
        return (password,) if self._user is None else (self._user, password)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


def _connect(settings: StoreSettings) -> tuple[Any, list[Any]]:
    """A client for the topology, and the clients of the Sentinels that it asks."""
    address = settings.address
    # The circuit decides about trying again, not the client. A cluster's one more attempt is what follows a slot
    # that has moved to another node.
    attempts = 1 if address.topology is Topology.CLUSTER else 0
    network: dict[str, Any] = {
        # Redis-py's own time-outs go by the wall clock, so a stall of this process would count as one of Redis.
        "socket_connect_timeout": None,
        "socket_timeout": None,
        "retry": Retry(NoBackoff(), attempts),
        "protocol": 2,
    }
    tls: dict[str, Any] = {"ssl_ca_certs": str(settings.ca_file) if settings.ca_file else None}
    with_ssl = {"ssl": True, **tls} if address.tls else {}
    login: dict[str, Any] = {"max_connections": settings.max_connections}
    if settings.password_file is not None:
        login["credential_provider"] = _PasswordFile(address.user, settings.password_file)
    elif address.user is not None:
        login["username"] = address.user
    if address.topology is Topology.CLUSTER:
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return RedisCluster(startup_nodes=nodes, **network, **with_ssl, **login), []
    if address.topology is Topology.SENTINEL:
        make: Any = Sentinel  # redis-py does not type it
        sentinel = make(list(address.hosts), sentinel_kwargs={**network, **with_ssl}, **network, **login)
        base = SentinelManagedSSLConnection if address.tls else SentinelManagedConnection
        kind = _with_time_to_connect(base, settings.connect_timeout_s)
        options = tls if address.tls else {}
        client = sentinel.master_for(address.service, db=address.database, connection_class=kind, **options)
        return client, sentinel.sentinels
    ((host, port),) = address.hosts
    kind = _with_time_to_connect(SSLConnection if address.tls else Connection, settings.connect_timeout_s)
    options = tls if address.tls else {}
    pool = ConnectionPool(
        connection_class=kind, host=host, port=port, db=address.database, **network, **options, **login
    )
    return Redis.from_pool(pool), []


def _with_time_to_connect(base: Any, connect_timeout_s: float) -> Any:  # noqa: ANN401  redis-py's four kinds
    """A class of connections that extend the time limit of the command for which they are opened."""

    class TimedConnection(base):  # type: ignore[misc]
        async def connect(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            limit = current_limit()
            if limit is not None and not self.is_connected:
                limit.extend_to_connect(connect_timeout_s)
            await super().connect(*args, **kwargs)

    return TimedConnection


_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (exceptions.AuthenticationError, "auth"),
    (exceptions.NoPermissionError, "auth"),
    (exceptions.OutOfMemoryError, "full"),
    (exceptions.ReadOnlyError, "readonly"),
    (exceptions.BusyLoadingError, "loading"),
    (exceptions.TimeoutError, "timeout"),
    (asyncio.TimeoutError, "timeout"),
    (exceptions.ConnectionError, "connection"),
    (OSError, "connection"),
    (exceptions.ResponseError, "response"),
)
"""First match wins."""

_HINTS = {
    "auth": "it refuses the user or the password: check YIWEN_REDIS_PASSWORD_FILE and the user in YIWEN_REDIS_URL",
    "full": "it is out of memory: raise its maxmemory or set maxmemory-policy allkeys-lru",
    "readonly": "it is a replica: name the primary, or its Sentinels (redis+sentinel://)",
    "loading": "it is still loading its data",
    "timeout": "it does not answer in time",
    "connection": "it cannot be reached: check YIWEN_REDIS_URL",
    "response": "it answers with an error: Redis 6.2 or later, or Valkey, is needed",
    "other": "it cannot be used",
}


def _store_error(error: BaseException) -> StoreError:
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), "other")
    if kind == "response" and str(error).startswith(("WRONGPASS", "NOAUTH", "invalid username-password")):
        kind = "auth"
    return StoreError(kind, f"Redis: {_HINTS[kind]}")
