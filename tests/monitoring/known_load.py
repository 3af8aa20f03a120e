"""A small load with faults whose numbers are known, over a real pair, Redis, its exporter and a Prometheus."""

from __future__ import annotations

import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from benchmarks.monitoring.component import rule_groups, shortened_groups
from benchmarks.monitoring.prometheus import Prometheus, Target, running_prometheus
from benchmarks.monitoring.redis_exporter import running_redis_exporter
from tests.metric_samples import sample_sum
from tests.monitoring.pods import MODEL, Pod, all_are_read, eventually, running
from tests.ports import free_ports
from tests.transformer.redis_server import RedisServer, running_redis
from transformer.callers.key_file import ApiKey, KeyFile, format_keys, hash_key

NAMESPACE = "yiwen"
FACTOR = 60.0
"""Times in rules and queries are divided by it: five minutes become five seconds."""
INTERVAL_S = 0.25
SLOTS = 4
EARLY, MISSES, AGAIN, STREAMS, UNKNOWN, HASTY, WITHOUT_REDIS, LATE = 4, 24, 36, 5, 7, 10, 6, 3
"""Requests: before the predictor is up; new texts, these again, streams; of an unknown language; over a rate; while
Redis does not answer; while the predictor does not."""
_KEYS = (
    ApiKey(id="shop", sha256=hash_key("shop")),
    ApiKey(id="hasty", sha256=hash_key("hasty"), requests_per_second=0.01),
)


@dataclass
class Observed:
    """What was sent, and the Prometheus that has seen all of it."""

    prometheus: Prometheus
    at: float = 0.0
    """Unix time at which it had."""
    programs: set[str] = field(default_factory=set)
    """Programs beside the service that are read."""
    statuses: Counter[int] = field(default_factory=Counter)
    """Of the requests of the load, without those that came before its start."""
    before: int = 0
    """Good answers that came before."""
    texts: Counter[str] = field(default_factory=Counter)
    """Good answers by their cache status, as their caller was told; those of streams are misses and left out."""
    characters: int = 0
    """Of the texts of ``shop`` that were answered."""
    seconds: list[float] = field(default_factory=list)
    """That good answers took, as their caller saw it; streams are left out."""


@dataclass
class _Run:
    seen: Observed
    predictor: Pod
    transformer: Pod
    redis: RedisServer

    def send(self, text: str, *, key: str = "shop", target: str = "zh", **parameters: object) -> int:
        """Send a text and note what came of it; the status."""
        body = {
            "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}],
            "parameters": {"source": "en", "target": target, **parameters},
        }
        started = time.monotonic()
        answer = self._post("infer", body, key)
        if answer.status_code == 200:
            self.seen.seconds.append(time.monotonic() - started)
            self.seen.characters += len(text) if key == "shop" else 0
            (cache,) = (each for each in answer.json()["outputs"] if each["name"] == "cache")
            self.seen.texts[cache["data"][0]] += 1
        self.seen.statuses[answer.status_code] += 1
        return answer.status_code

    def stream(self, text: str) -> None:
        body = {"text_input": text, "parameters": {"source": "en", "target": "zh"}}
        assert self._post("generate_stream", body, "shop").status_code == 200
        self.seen.statuses[200] += 1
        self.seen.characters += len(text)

    def _post(self, endpoint: str, body: dict[str, Any], key: str) -> httpx.Response:
        url = f"{self.transformer.url}/v2/models/{MODEL}/{endpoint}"
        return httpx.post(url, json=body, headers={"authorization": f"Bearer {key}"}, timeout=60)

    def wait_until_seen(self) -> None:
        """Wait until Prometheus has all that the services have counted."""
        pods = {"transformer": self.transformer.page(), "predictor": self.predictor.page()}

        def is_seen() -> bool:
            self.seen.at = time.time()
            counted = 'sum(yiwen_requests_total{component="%s"})'
            return all_are_read(self.seen.prometheus, NAMESPACE, 2 + len(self.seen.programs)) and all(
                self.seen.prometheus.value(counted % name, self.seen.at)
                == sample_sum(page, "yiwen_requests_total")
                for name, page in pods.items()
            )

        eventually(is_seen, "Prometheus has seen all requests")


@contextmanager
def observed_load(release: Path, folder: Path) -> Iterator[Observed]:
    """Send the load; gives what is known of it while Prometheus runs on."""
    with ExitStack() as stack:
        run = _start(stack, release, folder, free_ports(3))
        _load(run)
        yield run.seen


def _start(stack: ExitStack, release: Path, folder: Path, ports: Sequence[int]) -> _Run:
    """Start everything; some requests wait for the predictor, which comes last.

    Args:
        stack: ends it.
        release: of the pair.
        folder: empty.
        ports: of the predictor, the transformer and the exporter of Redis.
    """
    has_exporter = shutil.which("prometheus-redis-exporter") is not None
    prometheus = stack.enter_context(_watching(folder / "prometheus", ports if has_exporter else ports[:2]))
    redis = stack.enter_context(running_redis(folder))
    if has_exporter:
        stack.enter_context(running_redis_exporter(redis.url, ports[2]))
    settings = _settings(ports[0], redis.url, folder / "keys.json")
    transformer = stack.enter_context(running("transformer", ports[1], release, settings))
    transformer.wait_until("ready")
    eventually(lambda: prometheus.value("sum(yiwen_transformer_admitted_tokens)") == 0, "it is read")
    predictor = stack.enter_context(running("predictor", ports[0], release, {"YIWEN_SLOTS": str(SLOTS)}))
    seen = Observed(prometheus, programs={"redis exporter"} if has_exporter else set())
    run = _Run(seen, predictor, transformer, redis)
    with ThreadPoolExecutor(EARLY) as threads:
        keys = ["hasty", *["shop"] * (EARLY - 1)]
        early = [threads.submit(run.send, f"early {number}", key=key) for number, key in enumerate(keys)]
        assert {each.result() for each in early} == {200}
    return run


def _watching(folder: Path, ports: Sequence[int]) -> AbstractContextManager[Prometheus]:
    """A Prometheus with the rules, which reads what will listen on these ports."""
    folder.mkdir()
    pods = (
        ("yiwen-predictor-00001-0", "yiwen"),
        ("yiwen-transformer-00001-0", "yiwen"),
        ("yiwen-redis-0", "yiwen-redis"),
    )
    targets = [Target(NAMESPACE, pod, port, job) for (pod, job), port in zip(pods, ports, strict=False)]
    groups = shortened_groups(rule_groups(), FACTOR)
    return running_prometheus(folder, groups, interval_s=INTERVAL_S, targets=targets)


def _settings(predictor_port: int, redis_url: str, keys: Path) -> dict[str, str]:
    """Of the transformer, with time for a machine that has little."""
    keys.write_text(format_keys(KeyFile(keys=_KEYS)), encoding="utf-8")
    return {
        "YIWEN_PREDICTOR_URL": f"http://127.0.0.1:{predictor_port}", "YIWEN_REDIS_URL": redis_url,
        "YIWEN_API_KEYS_FILE": str(keys), "YIWEN_READY_WITHOUT_PREDICTOR": "true",
        "YIWEN_COLD_START_TIMEOUT_S": "60", "YIWEN_MAX_DEADLINE_MS": "120000",
        "YIWEN_DEFAULT_DEADLINE_MS": "60000",
    }  # fmt: skip


def _load(run: _Run) -> None:
    """Make all series first, as Prometheus sees no growth in one that begins; then the load with its faults."""
    for number in count():
        run.send(f"at first {number // 2}")
        if run.seen.texts["hit"]:  # answers that a guard objects to are not kept
            break
    run.stream("a stream, at first")
    run.send("never translated", target="xx")
    run.send("too much", key="hasty")
    run.redis.pause()
    run.send("without Redis, at first")
    run.redis.resume()
    run.wait_until_seen()
    run.seen.before = run.seen.statuses[200]
    run.seen.statuses.clear()
    run.seen.texts.clear()
    run.seen.characters = 0
    _good(run)
    _faults(run)
    run.wait_until_seen()


def _good(run: _Run) -> None:
    for number in range(MISSES):
        run.send(f"miss number {number}")
    for number in range(AGAIN):
        run.send(f"miss number {number % MISSES}")
    for number in range(STREAMS):
        run.stream(f"stream number {number}")


def _faults(run: _Run) -> None:
    for number in range(UNKNOWN):
        run.send(f"unknown language {number}", target="xx")
    for number in range(HASTY):
        run.send(f"hasty {number}", key="hasty")
    run.redis.pause()
    for number in range(WITHOUT_REDIS):
        run.send(f"without Redis {number}")
    run.redis.resume()
    run.predictor.process.send_signal(signal.SIGSTOP)
    for number in range(LATE):
        run.send(f"late {number}", deadline_ms=200)
    run.predictor.process.send_signal(signal.SIGCONT)
