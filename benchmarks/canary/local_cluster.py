"""A cluster on this machine: the tests' API server decides, real processes serve, and routes obey its traffic.

What the kubelet does is here too: it starts the pods of new revisions and probes their readiness. A revision has one
pod, which is a process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import aiohttp

from benchmarks.canary.routes import WeightedRoute
from benchmarks.engine.service import free_port
from benchmarks.transformer_stages.processes import service_settings
from protocol.kubernetes.documents import mapping
from tests.forkserver import ForkedProcess, start_module
from tests.http_servers import write_kubeconfig
from tests.inferenceservices.api_server import ApiServer
from tests.inferenceservices.rollouts import service_document

PROBE_S = 0.1
COMPONENTS = ("predictor", "transformer")
NAME, NAMESPACE = "yiwen", "demo"
FIRST = "-00001"
"""End of the names of the stable release's revisions."""


@dataclass
class Pod:
    """The process of a revision."""

    component: str
    release: Path
    port: int
    process: ForkedProcess
    is_ready: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it, even where it is stopped."""
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@dataclass
class LocalCluster:
    """One InferenceService, whose stable release keeps running from one rollout to the next."""

    stable: Path
    folder: Path
    """Of the logs and the kubeconfig."""
    session: aiohttp.ClientSession
    rng: Random
    pods: dict[str, Pod] = field(default_factory=dict)
    """By revision."""
    routes: dict[str, WeightedRoute] = field(default_factory=dict)
    api: ApiServer = field(default_factory=lambda: ApiServer(service_without_gpus()))
    canary: Path | None = None
    """Release of the revisions that follow the first."""

    @property
    def url(self) -> str:
        """Where callers send their requests."""
        return self.routes["transformer"].url

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def shares(self) -> list[dict[str, int]]:
        """Percentage of each component's traffic by revision number, of those that have some."""
        return [
            {name[-5:]: percent for name, percent in self._traffic(component).items() if percent}
            for component in COMPONENTS
        ]

    def weights(self, component: str) -> dict[int, float]:
        """Weight of each pod of a component by its port, as the API server says."""
        return {
            self.pods[name].port: percent
            for name, percent in self._traffic(component).items()
            if name in self.pods
        }

    def tagged(self, tag: str) -> dict[int, float]:
        """The predictor that has a tag by its port; none where the tag is not routed."""
        status = mapping(self.api.document, "status", "components", "predictor")
        names = [each["revisionName"] for each in status.get("traffic", []) if each.get("tag") == tag]
        return {self.pods[name].port: 1.0 for name in names if name in self.pods and self.pods[name].is_ready}

    def pod_of_canary(self, component: str) -> Pod | None:
        """The newest pod of a component, if it is the canary's."""
        newest = max((name for name in self.pods if f"-{component}-" in name), default=FIRST)
        return None if newest.endswith(FIRST) else self.pods[newest]

    @asynccontextmanager
    async def rollout(self, canary: Path) -> AsyncIterator[None]:
        """A new InferenceService of the stable release, whose next revisions serve ``canary``."""
        self.canary = canary
        api = ApiServer(service_without_gpus())
        api.controller.starts = lambda name: name.endswith(FIRST)
        self.api = api
        for name, pod in self.pods.items():
            self._show(name, pod)
        with api.running():
            write_kubeconfig(self.kubeconfig, api.address)
            watching = asyncio.create_task(self._watch())
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
                for name in [name for name in self.pods if not name.endswith(FIRST)]:
                    self.pods.pop(name).kill()

    async def start_stable(self) -> None:
        """Start the stable release and wait until it is ready."""
        for component in COMPONENTS:
            name = f"{NAME}-{component}{FIRST}"
            self.pods[name] = self._started(component, self.stable, name)
        while not all([await self._is_ready(pod) for pod in self.pods.values()]):
            await asyncio.sleep(PROBE_S)

    async def _watch(self) -> None:
        """Start the pods of new revisions, and report those that have become ready."""
        while True:
            for component, revisions in list(self.api.controller.revisions.items()):
                for revision in list(revisions):
                    if revision.name not in self.pods and self.canary is not None:
                        pod = self._started(component, self.canary, revision.name)
                        self.pods[revision.name] = pod
                        self._show(revision.name, pod)
                    pod = self.pods[revision.name]
                    if not revision.ready and await self._is_ready(pod):
                        self.api.became_ready(revision.name)
            await asyncio.sleep(PROBE_S)

    async def _is_ready(self, pod: Pod) -> bool:
        try:
            async with self.session.get(f"{pod.url}/v2/health/ready") as response:
                pod.is_ready = response.status == 200
        except aiohttp.ClientError:
            pod.is_ready = False
        return pod.is_ready

    def _started(self, component: str, release: Path, name: str) -> Pod:
        port = free_port()
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("YIWEN_", "OTEL_"))}
        settings = environ | service_settings(release, port, quiet=True)
        if component == "predictor":
            settings |= {"YIWEN_THREADS": "1", "YIWEN_SLOTS": "16"}
        else:
            tags = ",".join(self.routes[tag].url for tag in ("latest", "prev"))
            settings |= {
                "YIWEN_PREDICTOR_URL": self.routes["predictor"].url,
                "YIWEN_PREDICTOR_TAGGED_URLS": tags,
            }
        with (self.folder / f"{name}.log").open("ab") as log:
            process = start_module(component, env=settings, stdout=log, stderr=log)
        return Pod(component, release, port, process)

    def _show(self, name: str, pod: Pod) -> None:
        """Let the API server list a pod and reach its metrics."""
        labels = {"serving.knative.dev/revision": name}
        self.api.pod_addresses[f"{name}-0"] = pod.url
        self.api.lists["pods"].append({
            "metadata": {"name": f"{name}-0", "labels": labels}, "spec": {}, "status": {"phase": "Running"},
        })  # fmt: skip

    def _traffic(self, component: str) -> Mapping[str, int]:
        targets = mapping(self.api.document, "status", "components", component).get("traffic", [])
        found: dict[str, int] = {}
        for target in targets:
            found[target["revisionName"]] = found.get(target["revisionName"], 0) + target["percent"]
        return found


def service_without_gpus() -> dict[str, object]:
    """The tests' InferenceService, whose predictor runs on a CPU, with tags."""
    document = service_document()
    document["metadata"]["annotations"]["serving.kserve.io/enable-tag-routing"] = "true"
    spec = document["spec"]
    resources = spec["transformer"]["containers"][0]["resources"]
    spec["predictor"]["containers"][0]["resources"] = resources
    return document


@asynccontextmanager
async def running_cluster(stable: Path, folder: Path, rng: Random) -> AsyncIterator[LocalCluster]:
    """A cluster with the stable release; no process outlives the block."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        cluster = LocalCluster(stable, folder, session, rng)
        for component in COMPONENTS:
            route = WeightedRoute(partial(cluster.weights, component), rng)
            cluster.routes[component] = await stack.enter_async_context(route)
        for tag in ("latest", "prev"):
            route = WeightedRoute(partial(cluster.tagged, tag), rng)
            cluster.routes[tag] = await stack.enter_async_context(route)
        cluster.api.controller.reconcile()
        try:
            await cluster.start_stable()
            yield cluster
        finally:
            for pod in cluster.pods.values():
                pod.kill()


@dataclass
class Command:
    """A running `yiwen rollout ...`, whose lines can be read as they come."""

    process: ForkedProcess
    lines: asyncio.StreamReader

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        return await asyncio.to_thread(self.process.wait, 60.0)


async def start_command(cluster: LocalCluster, *words: str) -> Command:
    """Start ``yiwen rollout WORD NAME ...`` against a cluster."""
    verb, *options = words
    read, write = os.pipe()
    environ = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    arguments = ["rollout", verb, NAME, "-n", NAMESPACE, *options]
    try:
        process = start_module(
            "cli", *arguments, env=environ, stdin=subprocess.DEVNULL, stdout=write, stderr=write
        )
    finally:
        os.close(write)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(read, "rb")
    )
    return Command(process, lines)
