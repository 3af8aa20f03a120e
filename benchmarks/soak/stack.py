"""The processes of a soak: two transformers, two predictors and Redis, each pair behind a balancer.

A balancer does what a Service and its ingress do: it probes readiness, takes turns among ready processes, and answers
502 when one fails.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil
from aiohttp import web
from redis.asyncio import Redis

from benchmarks.engine.processes import ROOT
from benchmarks.engine.service import free_port
from benchmarks.soak.observed import TASKS_FILE
from benchmarks.transformer_stages.processes import service_settings

PROBE_S = 0.25
START_TIMEOUT_S = 120.0
MAX_BODY_BYTES = 64 << 20
REDIS_CONNECTIONS = 8
"""Most of a transformer's pool."""
CACHE_BYTES = 4 << 20
"""Of each transformer's own cache: full after two minutes, so that what grows afterwards is not the cache."""
HOP_HEADERS = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "host", "content-length", "server", "date"}
)


@dataclass
class Sample:
    """What a process holds at one moment."""

    at_s: float
    rss: int
    files: int
    threads: int
    tasks: int


@dataclass
class Process:
    """One process that can be ended, killed, stopped and started again on the same port."""

    name: str
    command: list[str]
    environment: dict[str, str]
    port: int
    folder: Path
    is_ready: bool = False
    is_ending: bool = False
    """It answers, but its balancer sends it nothing more."""
    samples: list[Sample] = field(default_factory=list)
    popen: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> subprocess.Popen[bytes]:
        """The process, which has been started."""
        if self.popen is None:
            raise RuntimeError(f"{self.name} was not started")
        return self.popen

    def start(self) -> None:
        """Start it; its log goes to a file of its name."""
        self.samples.clear()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("YIWEN_")}
        environment |= self.environment | {TASKS_FILE: str(self.folder / f"{self.name}.tasks")}
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.popen = subprocess.Popen(self.command, env=environment, cwd=ROOT, stdout=log, stderr=log)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.running.send_signal(number)

    async def ended(self) -> int:
        """Wait until it has ended; its exit code."""
        return await asyncio.to_thread(self.running.wait)

    async def sample(self, at_s: float) -> None:
        """Take a sample; a process that ends meanwhile gives none."""
        tasks = self.folder / f"{self.name}.tasks"
        tasks.unlink(missing_ok=True)
        try:
            process = psutil.Process(self.running.pid)
            self.signal(signal.SIGUSR1)
            for _ in range(100):
                if tasks.exists():
                    break
                await asyncio.sleep(0.05)
            else:
                return
            count = int(tasks.read_text(encoding="utf-8"))
            self.samples.append(
                Sample(at_s, process.memory_info().rss, process.num_fds(), process.num_threads(), count)
            )
        except (psutil.Error, OSError):
            return


@dataclass
class Balancer:
    """An address in front of processes of one kind."""

    processes: list[Process]
    port: int
    session: aiohttp.ClientSession
    failures: int = 0
    """Requests that got its own 502 or 503."""
    _turn: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def probe(self) -> None:
        """Probe the readiness of each process, for ever."""
        await asyncio.gather(*(self._probe(process) for process in self.processes))

    async def _probe(self, process: Process) -> None:
        while True:
            try:
                wait = aiohttp.ClientTimeout(total=2)
                async with self.session.get(f"{process.url}/v2/health/ready", timeout=wait) as response:
                    process.is_ready = response.status == 200
            except (aiohttp.ClientError, asyncio.TimeoutError):
                process.is_ready = False
            await asyncio.sleep(PROBE_S)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Send a request to the next process that is ready, and its response back as it comes."""
        ready = [process for process in self.processes if process.is_ready and not process.is_ending]
        if not ready:
            self.failures += 1
            return web.Response(status=503, text="no ready process")
        self._turn += 1
        process = ready[self._turn % len(ready)]
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_HEADERS}
        target = f"{process.url}{request.rel_url}"
        body = await request.read()
        response: web.StreamResponse | None = None
        try:
            async with self.session.request(request.method, target, headers=headers, data=body) as answer:
                kept = {
                    name: value for name, value in answer.headers.items() if name.lower() not in HOP_HEADERS
                }
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                async for part in answer.content.iter_any():
                    await response.write(part)
                await response.write_eof()
                return response
        except aiohttp.ClientError:
            self.failures += 1
            if response is not None and request.transport is not None:
                request.transport.abort()  # as a proxy does where an answer ends in the middle
                return response
            return web.Response(status=502, text="the process did not answer")


@dataclass
class Stack:
    """The running service."""

    redis: Process
    predictors: Balancer
    transformers: Balancer

    @property
    def services(self) -> list[Process]:
        """Transformers and predictors; the first of each kind is never ended by a fault."""
        return [*self.transformers.processes, *self.predictors.processes]

    async def forgetful_transformer(self) -> Process:
        """A transformer that has just started, with nothing in its own cache and nothing in Redis."""
        async with Redis(port=self.redis.port) as client:
            await client.flushall()
        process = self.transformers.processes[1]
        process.signal(signal.SIGTERM)
        await process.ended()
        process.is_ready = False
        process.start()
        await self.ready(process)
        return process

    async def ready(self, process: Process) -> None:
        """Wait until a process is ready.

        Raises:
            SystemExit: it ended, or did not become ready in time.
        """
        end = time.monotonic() + START_TIMEOUT_S
        while not process.is_ready:
            if process.running.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{process.name} did not start: see {process.folder / process.name}.log")
            await asyncio.sleep(PROBE_S)


def _service(name: str, release: Path, folder: Path, settings: Mapping[str, str]) -> Process:
    port = free_port()
    module = name.partition("-")[0]
    command = [sys.executable, "-m", "benchmarks.soak.observed", module]
    return Process(name, command, service_settings(release, port, quiet=True) | dict(settings), port, folder)


def _redis(folder: Path) -> Process:
    port = free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    return Process("redis", command, {}, port, folder)


@asynccontextmanager
async def running(release: Path) -> AsyncIterator[Stack]:
    """Run everything; logs stay in a temporary folder, which the report names."""
    folder = Path(tempfile.mkdtemp(prefix="yiwen-soak-"))
    redis = _redis(folder)
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        own = {"YIWEN_THREADS": "1", "YIWEN_SLOTS": "16"}
        predictors = [_service(f"predictor-{name}", release, folder, own) for name in "ab"]
        behind = Balancer(predictors, free_port(), session)
        own = {
            "YIWEN_PREDICTOR_URL": behind.url,
            "YIWEN_REDIS_URL": f"redis://127.0.0.1:{redis.port}",
            "YIWEN_REDIS_MAX_CONNECTIONS": str(REDIS_CONNECTIONS),
            "YIWEN_CACHE_BYTES": str(CACHE_BYTES),
        }
        transformers = [_service(f"transformer-{name}", release, folder, own) for name in "ab"]
        stack = Stack(redis, behind, Balancer(transformers, free_port(), session))
        runners = [await _serve(balancer) for balancer in (behind, stack.transformers)]
        probes = [asyncio.create_task(balancer.probe()) for balancer in (behind, stack.transformers)]
        try:
            for process in (redis, *stack.services):
                process.start()
            for process in stack.services:
                await stack.ready(process)
            yield stack
        finally:
            await _stop(stack, probes, runners)


async def _serve(balancer: Balancer) -> web.AppRunner:
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_route("*", "/{path:.*}", balancer.forward)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", balancer.port).start()
    return runner


async def _stop(stack: Stack, probes: list[asyncio.Task[None]], runners: list[web.AppRunner]) -> None:
    for process in (*stack.services, stack.redis):
        if process.popen is not None and process.popen.poll() is None:
            process.signal(signal.SIGCONT)
            process.popen.terminate()
    for process in (*stack.services, stack.redis):
        if process.popen is not None:
            await process.ended()
    for probe in probes:
        probe.cancel()
    for runner in runners:
        await runner.cleanup()
