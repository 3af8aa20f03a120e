"""A service whose faults are caused one at a time: two releases, each with both services, and Redis."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.engine.service import free_port
from benchmarks.monitoring.load import CANARY_SHARE, KEYS, MOST_IN_FLIGHT, TitleLoad
from benchmarks.monitoring.prometheus import Target
from benchmarks.monitoring.redis_exporter import running_redis_exporter
from benchmarks.transformer_stages import processes
from benchmarks.transformer_stages.setting import MODEL
from transformer.callers.key_file import KeyFile, format_keys

NAMESPACE = "yiwen"
SLOTS = 8
STABLE_PREDICTOR, STABLE_TRANSFORMER = "yiwen-predictor-00001-0", "yiwen-transformer-00001-0"
CANARY_PREDICTOR, CANARY_TRANSFORMER = "yiwen-predictor-00002-0", "yiwen-transformer-00002-0"


@dataclass
class RestartablePod:
    """A process of a service that can be killed and started again on its port."""

    name: str
    module: str
    environment: dict[str, str]
    port: int
    _stack: ExitStack = field(default_factory=ExitStack)
    _process: psutil.Process | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        server = processes.running_server(self.module, self.environment, self.port)
        self._process = self._stack.enter_context(server).process

    def kill(self) -> None:
        """End it by SIGKILL, unless it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process = None
            self._stack.close()

    @property
    def url(self) -> str:
        """Of its model."""
        return f"http://127.0.0.1:{self.port}/v2/models/{MODEL}"

    @property
    def target(self) -> Target:
        """What Prometheus reads of it."""
        return Target(NAMESPACE, self.name, self.port)


@dataclass(frozen=True)
class Stack:
    """The running service and its load."""

    pods: Mapping[str, RestartablePod]
    redis: psutil.Process
    targets: list[Target]
    load: TitleLoad


@contextmanager
def running_stack(stable: Path, canary: Path, folder: Path) -> Iterator[Stack]:
    """Start everything.

    Args:
        stable: the release that is served.
        canary: another release.
        folder: for the file of keys.
    """
    keys = folder / "keys.json"
    keys.write_text(format_keys(KeyFile(keys=KEYS)), encoding="utf-8")
    with ExitStack() as stack:
        redis_url = stack.enter_context(processes.redis_server())
        (redis,) = (each for each in psutil.Process().children() if each.name().startswith("redis"))
        both = (
            *_pair(STABLE_PREDICTOR, STABLE_TRANSFORMER, stable, redis_url, keys),
            *_pair(CANARY_PREDICTOR, CANARY_TRANSFORMER, canary, redis_url, keys),
        )
        pods = {pod.name: pod for pod in both}
        for pod in both:
            stack.callback(pod.kill)
            pod.start()
        targets = [pod.target for pod in both]
        if shutil.which("prometheus-redis-exporter"):
            port = free_port()
            stack.enter_context(running_redis_exporter(redis_url, port))
            targets.append(Target(NAMESPACE, "yiwen-redis-0", port, "yiwen-redis"))
        threads = stack.enter_context(ThreadPoolExecutor(MOST_IN_FLIGHT))
        shares = {
            pods[STABLE_TRANSFORMER].url: 1 - CANARY_SHARE,
            pods[CANARY_TRANSFORMER].url: CANARY_SHARE,
        }
        yield Stack(pods, redis, targets, TitleLoad(shares, threads))


def _pair(
    predictor: str, transformer: str, release: Path, redis_url: str, keys: Path
) -> tuple[RestartablePod, RestartablePod]:
    """The pods of one revision.

    Args:
        predictor: its pod's name.
        transformer: its pod's name.
        release: of both.
        redis_url: of the cache.
        keys: file of API keys.
    """
    predictor_port, transformer_port = free_port(), free_port()
    settings = processes.service_settings(release.resolve(), predictor_port, quiet=True)
    settings |= {"YIWEN_SLOTS": str(SLOTS), "YIWEN_THREADS": "1", "YIWEN_QUEUE_TOKENS": "3000"}
    settings_before = processes.service_settings(release.resolve(), transformer_port, quiet=True)
    settings_before |= {
        "YIWEN_PREDICTOR_URL": f"http://127.0.0.1:{predictor_port}", "YIWEN_REDIS_URL": redis_url,
        "YIWEN_API_KEYS_FILE": str(keys), "YIWEN_PREDICTOR_DISCOVERY": "address",
        "YIWEN_COLD_START_TIMEOUT_S": "9", "YIWEN_ADMISSION_TOKENS": "20000",
    }  # fmt: skip
    return (
        RestartablePod(predictor, "predictor", settings, predictor_port),
        RestartablePod(transformer, "transformer", settings_before, transformer_port),
    )


def stand_still(process: psutil.Process, seconds: float) -> None:
    """Stop a process and let it go on."""
    process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        process.send_signal(signal.SIGCONT)
