"""How often `yiwen rollout run` is right, with real processes: two releases, real load, faults, and interruptions.

Each run is a rollout of its own: `yiwen rollout set` starts a canary, `yiwen rollout run` judges it by what its
transformer counted, and the stable release keeps running. The control plane is the tests' API server.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import aiohttp

from benchmarks.canary.load import TitleLoad
from benchmarks.canary.local_cluster import LocalCluster, Pod, running_cluster, start_command
from benchmarks.canary.releases import build_broken, build_equal, build_stable, build_wrong
from benchmarks.canary.rollouts import BACK, PROMOTED, Rollout, outcome_of, phase_of

PERCENT = 30
RUN_OPTIONS = f"--to {PERCENT},100 --every 4s --samples 100 --start 8s --looks 20".split()
STOPPED_S, RUNNING_S = 0.03, 0.02
"""A throttled process is stopped and runs for so long in turns."""
READY_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Canary:
    """A kind of canary, and what is right to do with it."""

    build: Callable[[Path], Path]
    right: str
    throttled: bool = False
    starts: bool = True


CANARIES: Mapping[str, Canary] = {
    "equal": Canary(build_equal, PROMOTED),
    "slow: its predictor runs two fifths of the time": Canary(build_equal, BACK, throttled=True),
    "wrong: its weights are damaged": Canary(build_wrong, BACK),
    "never starts: its weights are cut off": Canary(build_broken, BACK, starts=False),
}


@dataclass
class Bench:
    """The cluster, its callers, and the releases of the canaries."""

    cluster: LocalCluster
    load: TitleLoad
    releases: Mapping[str, Path]
    """Of each kind of canary."""
    rate: float
    """Requests per second."""

    async def rollout(self, kind: str, *, interrupt: Sequence[signal.Signals] = ()) -> Rollout:
        """Roll a canary out and judge it.

        Args:
            kind: of the canary.
            interrupt: signals that end the command in turns, once in each of its phases; it is started again.
        """
        canary = CANARIES[kind]
        async with self.cluster.rollout(self.releases[kind]), self.load.running(self.rate):
            await self._set()
            if canary.starts:
                await self._until_ready()
            async with self._throttled(canary):
                before, started = self.load.statuses.copy(), time.monotonic()
                rollout = await self._judge(interrupt)
                rollout.seconds = time.monotonic() - started
            rollout.outcome = outcome_of(self.cluster.shares())
            rollout.is_right = rollout.outcome == canary.right
        statuses = self.load.statuses - before
        rollout.requests, rollout.failed = statuses.total(), statuses.total() - statuses["200"]
        return rollout

    async def _set(self) -> None:
        command = await start_command(self.cluster, "set", "--percent", str(PERCENT), "--release", "canary")
        said = (await command.lines.read()).decode()
        if await command.ended():
            raise SystemExit(f"yiwen rollout set failed: {said}")

    async def _until_ready(self) -> None:
        end = time.monotonic() + READY_TIMEOUT_S
        while any(len(share) < 2 for share in self.cluster.shares()):
            if time.monotonic() > end:
                raise SystemExit(
                    f"the canary was not ready after {READY_TIMEOUT_S:g} s: see {self.cluster.folder}"
                )
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def _throttled(self, canary: Canary) -> AsyncIterator[None]:
        pod = self.cluster.pod_of_canary("predictor")
        if not canary.throttled or pod is None:
            yield
            return
        throttling = asyncio.create_task(_throttle(pod))
        try:
            yield
        finally:
            throttling.cancel()
            await asyncio.gather(throttling, return_exceptions=True)

    async def _judge(self, interrupt: Sequence[signal.Signals]) -> Rollout:
        rollout = Rollout("", 0.0, 0, 0, 0, [])
        phases: set[str] = set()
        is_over = False
        while not is_over:
            command = await start_command(self.cluster, "run", *RUN_OPTIONS)
            is_over = True
            async for line in command.lines:
                text = line.decode().rstrip()
                rollout.lines.append(text)
                phase = phase_of(text)
                if interrupt and phase and phase not in phases:
                    number = interrupt[len(phases) % len(interrupt)]
                    phases.add(phase)
                    command.process.send_signal(number)
                    rollout.interruptions[f"{number.name} {phase}"] = 1
                    is_over = False
            await command.ended()
            predictor, transformer = self.cluster.shares()
            rollout.half_states += predictor != transformer
        rollout.looks = sum(
            bool(re.match(r"\d+ %: (promote|hold|roll back)", text)) for text in rollout.lines
        )
        return rollout


async def _throttle(pod: Pod) -> None:
    while True:
        pod.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(STOPPED_S)
        pod.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(RUNNING_S)


async def measure(
    folder: Path, found: dict[str, list[Rollout]], runs: int, rate: float, seed: int, interrupt: bool
) -> None:
    """Roll each kind of canary out until there are so many rollouts of it; prints a line for each.

    Args:
        folder: for releases, logs and the kubeconfig.
        found: rollouts that there are by kind of :data:`CANARIES`; new ones are appended.
        runs: of each kind.
        rate: requests per second.
        seed: of the load and the routes.
        interrupt: whether the command is interrupted in each phase.
    """
    rng = Random(seed)
    builders = {CANARIES[kind].build for kind in found}
    built = {build: build(folder / build.__name__.partition("_")[2]) for build in builders}
    releases = {kind: built[CANARIES[kind].build] for kind in found}
    async with running_cluster(build_stable(folder / "stable"), folder, rng) as cluster:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            bench = Bench(cluster, TitleLoad(cluster.url, session, rng), releases, rate)
            for number in range(runs):
                signals = (signal.SIGINT, signal.SIGKILL) if number % 2 else (signal.SIGKILL, signal.SIGINT)
                for kind in found:  # in turns: what slows the machine for minutes slows all kinds
                    if len(found[kind]) > number:
                        continue
                    rollout = await bench.rollout(kind, interrupt=signals if interrupt else ())
                    found[kind].append(rollout)
                    last = rollout.lines[-1] if rollout.lines else ""
                    print(f"{kind}: {rollout.outcome} after {rollout.seconds:.1f} s: {last}", flush=True)
