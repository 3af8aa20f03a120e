"""Every topology as real servers: alone, with TLS, with users, behind Sentinels, as a cluster."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.transformer.redis_server import RedisServer, running_redis
from transformer.cache.leases import lease_key
from transformer.cache.redis_client import RedisStore, ScriptCall, StoreError, StoreSettings
from transformer.cache.redis_scripts import ACQUIRE, RELEASE, RENEW, STORE_AND_RELEASE
from transformer.redis_url import parse_redis_url

Connect = Callable[..., RedisStore]

_COMMANDS = "ping select get mget set strlen exists del unlink pexpire scan time eval evalsha"
RIGHTS = ("~yiwen:*", "~{yiwen:*", "-@all", *(f"+{command}" for command in _COMMANDS.split()))
"""What docs/caching.md says a user needs; ``+cluster|slots +command`` besides in a cluster."""


@pytest.fixture
async def connect_store() -> AsyncIterator[Connect]:
    stores: list[RedisStore] = []

    def _connect(
        url: str, password: Path | None = None, ca: Path | None = None, command_timeout_s: float = 2.0
    ) -> RedisStore:
        settings = StoreSettings(parse_redis_url(url), password, ca, 2.0, command_timeout_s, 4)
        stores.append(RedisStore(settings))
        return stores[-1]

    yield _connect
    for store in stores:
        await store.close()


async def check_all_commands(store: RedisStore) -> None:
    values = [(f"yiwen:r1:{number}", b"\x00\xff%d" % number, 600_000) for number in range(50)]
    assert await store.set_many(values) == [None] * 50
    wanted = [key for key, _, _ in values]
    assert await store.get_many([*wanted, "yiwen:r1:none"]) == [*(value for _, value, _ in values), None]
    found = [key async for keys in store.keys("yiwen:r1:") for key in keys]
    assert set(found) == set(wanted)
    assert await store.sizes(["yiwen:r1:7", "yiwen:r1:none", "yiwen:r1:11"]) == [3, 0, 4]
    assert await store.delete(wanted[:10]) == 10
    assert (await store.get_many(wanted))[9:11] == [None, values[10][1]]
    await check_all_scripts(store, wanted)


async def check_all_scripts(store: RedisStore, keys: list[str]) -> None:
    """The first ten have no value."""
    calls = [ScriptCall(ACQUIRE, (key, lease_key(key)), ("me", 9_000)) for key in keys]
    answers = await store.run_many(calls)
    assert [answer[0] for answer in answers] == [b"token"] * 10 + [b"value"] * 40
    assert answers[-1][1] == b"\x00\xff49"
    assert await store.run_many(calls[:10]) == [[b"busy"]] * 10
    held = [(key, lease_key(key), token) for key, (_, token) in zip(keys[:10], answers[:10], strict=True)]
    renewals = [ScriptCall(RENEW, (lease,), (token, 9_000)) for _, lease, token in held]
    assert await store.run_many(renewals) == [1] * 10
    finished = [
        ScriptCall(STORE_AND_RELEASE, (key, lease), (token, b"v", 9_000)) for key, lease, token in held[:5]
    ]
    released = [ScriptCall(RELEASE, (lease,), (token,)) for _, lease, token in held[5:]]
    assert await store.run_many([*finished, *released]) == [b"OK"] * 5 + [1] * 5
    assert await store.get_many(keys[:10]) == [b"v"] * 5 + [None] * 5
    assert await store.get_many([lease for _, lease, _ in held]) == [None] * 10
    assert await store.run_many(renewals) == [0] * 10


async def test_one_server(redis: RedisServer, connect_store: Connect) -> None:
    await check_all_commands(connect_store(redis.url))


async def test_a_prefix_is_taken_literally(redis: RedisServer, connect_store: Connect) -> None:
    store = connect_store(redis.url)
    await store.set_many([("yiwen:a:1", b"x", 9_000), ("yiwen:?:1", b"x", 9_000), ("yiwen:*:1", b"x", 9_000)])
    assert [key async for keys in store.keys("yiwen:*:") for key in keys] == ["yiwen:*:1"]


async def test_values_expire(redis: RedisServer, connect_store: Connect) -> None:
    store = connect_store(redis.url)
    await store.set_many([("short", b"x", 20), ("long", b"x", 60_000)])
    await asyncio.sleep(0.05)
    assert await store.get_many(["short", "long"]) == [None, b"x"]


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("geheim\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("user", ["", "shop@"])
async def test_users_log_in_with_the_password_of_a_file_which_may_be_rotated(
    redis: RedisServer, connect_store: Connect, password: Path, user: str
) -> None:
    redis.command("ACL", "SETUSER", "shop", "on", ">geheim", *RIGHTS)
    redis.command("CONFIG", "SET", "requirepass", "geheim")
    url = redis.url.replace("//", f"//{user}")
    await check_all_commands(connect_store(url, password))
    password.write_text("wrong", encoding="utf-8")
    store = connect_store(url, password)
    with pytest.raises(StoreError) as caught:
        await store.get_many(["yiwen:r1:1"])
    assert caught.value.kind == "auth"
    assert "wrong" not in str(caught.value)
    password.write_text("geheim", encoding="utf-8")
    assert await store.get_many(["yiwen:r1:none"]) == [None]


async def test_a_missing_permission_is_reported(
    redis: RedisServer, connect_store: Connect, password: Path
) -> None:
    redis.command("ACL", "SETUSER", "reader", "on", ">geheim", "~yiwen:*", "+@read", "+@connection")
    store = connect_store(redis.url.replace("//", "//reader@"), password)
    (fault,) = await store.set_many([("yiwen:r1:1", b"x", 1_000)])
    assert fault is not None
    assert fault.kind == "auth"
    assert await store.get_many(["yiwen:r1:1"]) == [None]


async def test_tls_is_verified(tmp_path: Path, connect_store: Connect) -> None:
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-auth-clients", "no"]
    with running_redis(tmp_path, "--tls-port", str(port), *files):
        await check_all_commands(connect_store(f"rediss://127.0.0.1:{port}", ca=certificate))
        with pytest.raises(StoreError, match="cannot be reached"):
            await connect_store(f"rediss://127.0.0.1:{port}").get_many(["a"])


@pytest.mark.parametrize(
    ("what", "kind"), [("stopped", "connection"), ("paused", "timeout"), ("mute", "timeout")]
)
async def test_a_server_that_does_not_answer_is_given_up_in_time(
    redis: RedisServer, connect_store: Connect, what: str, kind: str
) -> None:
    store = connect_store(redis.url, command_timeout_s=0.1)
    await store.get_many(["a"])
    if what == "stopped":
        redis.stop()
    elif what == "paused":
        redis.pause()
    else:
        redis.command("CLIENT", "PAUSE", "60000")
    started = time.monotonic()
    with pytest.raises(StoreError) as caught:
        await store.get_many(["a"])
    assert caught.value.kind == kind
    assert time.monotonic() - started < 1.0


async def test_a_stall_of_this_process_is_not_taken_for_a_silent_server(
    redis: RedisServer, connect_store: Connect
) -> None:
    store = connect_store(redis.url, command_timeout_s=0.1)
    await store.set_many([("yiwen:r1:1", b"value", 60_000)])
    asked = [asyncio.create_task(store.get_many(["yiwen:r1:1"])) for _ in range(20)]
    for _ in range(5):
        await asyncio.sleep(0)
        time.sleep(0.3)
    assert await asyncio.gather(*asked) == [[b"value"]] * 20


async def test_a_server_of_another_protocol_is_an_error_of_the_store(connect_store: Connect) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(StoreError):
            await connect_store(f"redis://127.0.0.1:{port}").get_many(["a"])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[RedisServer]]:
    with ExitStack() as stack:
        nodes = []
        for number in range(3):
            directory = tmp_path / str(number)
            directory.mkdir()
            arguments = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
            nodes.append(stack.enter_context(running_redis(directory, *arguments)))
        slots = [str(slot) for slot in range(16384)]
        for number, node in enumerate(nodes):
            assert node.command("CLUSTER", "ADDSLOTS", *slots[number::3]) == b"+OK\r\n"
            assert node.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1)) == b"+OK\r\n"
        for node in nodes[1:]:
            bus = node.arguments[-1]
            assert nodes[0].command("CLUSTER", "MEET", "127.0.0.1", str(node.port), bus) == b"+OK\r\n"
        _wait_for(lambda: all(b"cluster_state:ok" in node.command("CLUSTER", "INFO") for node in nodes))
        yield nodes


@pytest.mark.parametrize("user", ["", "shop@"])
async def test_a_cluster(
    cluster: list[RedisServer], connect_store: Connect, password: Path, user: str
) -> None:
    for node in cluster:
        node.command("ACL", "SETUSER", "shop", "on", ">geheim", *RIGHTS, "+cluster|slots", "+command")
    url = f"redis+cluster://{user}127.0.0.1:{cluster[1].port},127.0.0.1:{cluster[2].port}"
    await check_all_commands(connect_store(url, password if user else None))
    assert all(node.command("DBSIZE") != b":0\r\n" for node in cluster)


async def test_sentinels_lead_to_the_primary_and_to_the_next_one(
    tmp_path: Path, connect_store: Connect
) -> None:
    for name in ("a", "b", "s"):
        (tmp_path / name).mkdir()
    # A primary waits for further replicas before it sends its data, 5 s by default.
    at_once = ("--repl-diskless-sync-delay", "0")
    with running_redis(tmp_path / "a", *at_once) as first, running_redis(tmp_path / "b") as second:
        second.command("REPLICAOF", "127.0.0.1", str(first.port))
        _wait_for(lambda: b"master_link_status:up" in second.command("INFO", "replication"))
        sentinel = free_port()
        config = tmp_path / "s" / "sentinel.conf"
        config.write_text(
            f"port {sentinel}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {first.port} 1\n"
            "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 1000\n"
        )
        process = subprocess.Popen(
            ["redis-server", str(config), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            watcher = RedisServer(tmp_path / "s", port=sentinel)
            watcher.wait_until_it_answers()
            store = connect_store(f"redis+sentinel://127.0.0.1:{sentinel}/main")
            await check_all_commands(store)
            _wait_for(lambda: str(second.port).encode() in watcher.command("SENTINEL", "REPLICAS", "main"))
            _wait_for(lambda: second.command("DBSIZE") == first.command("DBSIZE"))  # replicas lag behind
            first.stop()
            await _until_it_writes(lambda: store.set_many([("yiwen:r1:new", b"x", 60_000)]))
            assert b"role:master" in second.command("INFO", "replication")
            assert await store.get_many(["yiwen:r1:new", "yiwen:r1:30"]) == [b"x", b"\x00\xff30"]
        finally:
            process.terminate()
            process.wait()


async def _until_it_writes(write: Callable[[], Awaitable[list[StoreError | None]]]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if await write() == [None]:
                return
        except StoreError:
            pass
        await asyncio.sleep(0.1)
    raise AssertionError("no write succeeded after the failover")


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def make_certificate(directory: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    certificate, key = directory / "redis.crt", directory / "redis.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=redis"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
