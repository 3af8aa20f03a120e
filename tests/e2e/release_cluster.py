"""Two releases in a cluster of one machine: real processes, and the routing of Knative or of Services between them.

A component has a pod for each release. Like KServe, :class:`Cluster` starts both components of a new release at once
and waits for neither; which pods get requests follows from their readiness probes alone.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.forkserver import ForkedProcess, start_module

MODEL = "tiny"
PROBE_S = 0.2
TAG_DELAY_S = 0.4
"""How much later than the main address a tag is routed; seen on a real cluster."""
PRE_STOP_S = {"predictor": 6.0, "transformer": 1.0}
"""A tenth of what the manifests of Standard mode say."""
IDLE_S = 6.0
"""After it has lost its traffic a Knative revision keeps its pods; 60 s at least in a cluster."""

Choose = Callable[[], str | None]


@dataclass
class Pod:
    """One process, and what the cluster knows of it."""

    component: str
    release: Path
    port: int
    checkout: Path | None = None
    """Of another version, with an environment in its .venv, whose code runs; None: this one."""
    process: ForkedProcess | subprocess.Popen[bytes] | None = None
    live: bool = False
    ready: bool = False
    terminating: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, **settings: str) -> None:
        arguments = ["--release", str(self.release), "--model_name", MODEL]
        arguments += ["--http_port", str(self.port), "--grpc_port", "0"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("YIWEN_")}
        environ = {**kept, "YIWEN_HOST": "127.0.0.1", "YIWEN_LOG_LEVEL": "error", **settings}
        if self.checkout is None:
            self.process = start_module(self.component, *arguments, env=environ)
        else:
            command = [str(self.checkout / ".venv" / "bin" / "python"), "-m", self.component, *arguments]
            self.process = subprocess.Popen(
                command, env=environ, cwd=self.checkout, stdout=subprocess.DEVNULL
            )

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait()


@dataclass
class Cluster:
    """Routes requests by ``form``: ``canary`` and ``plain`` as Knative does it, ``standard`` as Services do."""

    form: str
    ports: list[int]
    """Free ones, for the pods to come: clusters that run at the same time must not choose the same."""
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    settings: Mapping[str, str] = field(default_factory=lambda: {"YIWEN_CACHE_BYTES": "0"})
    """Of all transformers."""
    pods: dict[str, list[Pod]] = field(default_factory=lambda: {"predictor": [], "transformer": []})
    tags: dict[str, Pod] = field(default_factory=dict)
    """Of predictors, as the gateway knows them at this time."""
    urls: dict[str, str] = field(default_factory=dict)
    session: aiohttp.ClientSession | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    runners: list[web.AppRunner] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where callers send their requests."""
        return self.urls["transformer"]

    @property
    def is_up(self) -> bool:
        """Whether the first release serves."""
        return all(pods[0].ready for pods in self.pods.values()) and bool(self.tags)

    @property
    def is_new_transformer_live(self) -> bool:
        """Whether the process of the newest transformer answers, ready or not."""
        return self.pods["transformer"][-1].live

    @property
    def is_over(self) -> bool:
        """Whether the newest release has what this form gives it."""
        return len(self.pods["transformer"]) == 2 and all(pods[-1].ready for pods in self.pods.values())

    async def apply(
        self,
        release: Path,
        *,
        predictor_delay_s: float | None = 0.0,
        checkout: Path | None = None,
        services: bool = True,
    ) -> None:
        """Start both components of a release.

        Args:
            release: its directory.
            predictor_delay_s: until the predictor's process is started; None: it never is.
            checkout: of another version, whose code runs.
            services: whether that version's manifests have a Service for each release.
        """
        predictor, transformer = (Pod(name, release, self.ports.pop(), checkout) for name in self.pods)
        self.pods["predictor"].append(predictor)
        self.pods["transformer"].append(transformer)
        await self._open(f"release-{release.name}", lambda: self._service_of(release))
        others = [] if self.form == "standard" else ["latest", "prev"]
        others += [f"release-{release.name}"] if services else []
        transformer.start(
            YIWEN_PREDICTOR_URL=self.urls["predictor"],
            YIWEN_PREDICTOR_TAGGED_URLS=",".join(self.urls[name] for name in others),
            **self.settings,
        )
        if predictor_delay_s is not None:
            await asyncio.sleep(predictor_delay_s)
            predictor.start(YIWEN_THREADS="1", YIWEN_SLOTS="4")

    def _choose(self, component: str) -> str | None:
        return (
            self._behind_service(self.pods[component]) if self.form == "standard" else self._split(component)
        )

    def _split(self, component: str) -> str | None:
        """The revision of one request: KServe's traffic targets, and Knative's latest *ready* revision."""
        ready = [pod for pod in self.pods[component] if pod.ready]
        if self.form == "canary":
            return self.rng.choice(ready).url if ready else None
        return ready[-1].url if ready else None

    def _behind_service(self, pods: list[Pod]) -> str | None:
        """A ready pod, or else, as kube-proxy does, one that is ready and ends."""
        ready = [pod for pod in pods if pod.ready and not pod.terminating]
        ready = ready or [pod for pod in pods if pod.ready]
        return self.rng.choice(ready).url if ready else None

    def _service_of(self, release: Path) -> str | None:
        return self._behind_service([pod for pod in self.pods["predictor"] if pod.release == release])

    def _tagged(self, tag: str) -> str | None:
        pod = self.tags.get(tag)
        return None if pod is None or (tag == "prev" and self.form != "canary") else pod.url

    async def _probe(self, pod: Pod) -> None:
        """The kubelet's readiness probe, and what follows when it succeeds for the first time."""
        assert self.session is not None
        while not pod.ready:
            try:
                async with self.session.get(f"{pod.url}/v2/health/live") as response:
                    pod.live = response.status == 200
                async with self.session.get(f"{pod.url}/v2/health/ready") as response:
                    pod.ready = response.status == 200
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(PROBE_S)
        pods = self.pods[pod.component]
        if pod.component == "predictor":
            await asyncio.sleep(TAG_DELAY_S)
            self.tags = {"latest": pod, "prev": pods[0]}
        if pod is not pods[0] and self.form != "canary":
            await self._end(pods[0])

    async def _end(self, pod: Pod) -> None:
        """Terminate a pod that a newer one replaces."""
        if self.form == "standard":
            pod.terminating = True
            await asyncio.sleep(PRE_STOP_S[pod.component])
        else:
            await asyncio.sleep(IDLE_S)
        if pod.component == "predictor":
            await self._until_its_transformer_has_ended(9 * max(IDLE_S, PRE_STOP_S["predictor"]))
        pod.stop()
        await asyncio.to_thread(pod.process.wait if pod.process else bool)
        pod.ready = False

    async def _until_its_transformer_has_ended(self, timeout_s: float) -> None:
        """In a cluster a predictor ends so much later than here that the transformer before it has always gone."""
        first, end = self.pods["transformer"][0], time.monotonic() + timeout_s
        while first.process is not None and first.process.poll() is None and time.monotonic() < end:
            await asyncio.sleep(PROBE_S)

    async def watch(self) -> None:
        """Probe every pod that comes."""
        seen = 0
        while True:
            pods = [pod for both in zip(*self.pods.values(), strict=True) for pod in both]
            for pod in pods[seen:]:
                self.tasks.append(asyncio.create_task(self._probe(pod)))
            seen = len(pods)
            await asyncio.sleep(PROBE_S)

    async def _open(self, name: str, choose: Choose) -> None:
        """Serve an address that leads to what ``choose`` returns for each request."""

        async def forward(request: web.Request) -> web.Response:
            url = choose()
            if url is None:
                return web.Response(status=503, text="no healthy upstream")
            assert self.session is not None
            body = await request.read()
            headers = {
                k: v for k, v in request.headers.items() if k.lower() not in ("host", "content-length")
            }
            try:
                async with self.session.request(
                    request.method, url + request.path_qs, data=body, headers=headers
                ) as response:
                    answer = await response.read()
                    kept = {
                        k: v
                        for k, v in response.headers.items()
                        if k.lower() not in ("content-length", "transfer-encoding", "date", "server")
                    }
                    return web.Response(status=response.status, body=answer, headers=kept)
            except aiohttp.ClientError:
                return web.Response(status=503, text="upstream connect error")

        runner = web.AppRunner(_application(forward), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.runners.append(runner)
        self.urls[name] = f"http://127.0.0.1:{runner.addresses[0][1]}"


def _application(forward: Callable[[web.Request], object]) -> web.Application:
    application = web.Application(client_max_size=2**24)
    application.router.add_route("*", "/{path:.*}", forward)  # type: ignore[arg-type]
    return application


@asynccontextmanager
async def running_cluster(
    form: str, ports: list[int], settings: Mapping[str, str] | None = None
) -> AsyncIterator[Cluster]:
    """A cluster without pods; whatever happens inside, no process outlives the block.

    Args:
        form: as :class:`Cluster` says.
        ports: free ones, two for a release.
        settings: of transformers; None: they have no cache.
    """
    cluster = Cluster(form, ports) if settings is None else Cluster(form, ports, settings=settings)
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        cluster.session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        for component in cluster.pods:
            await cluster._open(component, partial(cluster._choose, component))
        for tag in ("latest", "prev"):
            await cluster._open(tag, partial(cluster._tagged, tag))
        cluster.tasks.append(asyncio.create_task(cluster.watch()))
        try:
            yield cluster
        finally:
            for task in cluster.tasks:
                task.cancel()
            for pods in cluster.pods.values():
                for pod in pods:
                    pod.kill()
            await asyncio.sleep(PROBE_S)  # connections of theirs that were being accepted end
            for runner in cluster.runners:
                await runner.cleanup()
