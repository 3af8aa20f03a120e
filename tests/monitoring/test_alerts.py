"""Every alert fires once, by a real fault of real processes, and ends when what its runbook says is done.

``make monitoring-test`` runs it in five minutes. Prometheus' clock is made short: ranges and ``for`` are divided by
:data:`tests.monitoring.installation.FACTOR`. Thresholds stay, such as the ten seconds of a slow answer.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
import redis

from benchmarks.monitoring.component import rule_groups
from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from tests.e2e.endless_release import build_endless_release
from tests.forkserver import ROOT
from tests.http_servers import serving
from tests.monitoring.installation import (
    CANARY_PREDICTOR,
    CANARY_TRANSFORMER,
    FIRED,
    NAMESPACE,
    PREDICTOR,
    Installation,
    kill,
)
from tests.monitoring.load import load, send, steady_load
from tests.monitoring.pods import eventually
from tests.releases import STOP_TOKENS, write_checkpoint
from tests.transformer.redis_server import running_redis

ALERTS = {rule["alert"] for group in rule_groups() for rule in group["rules"] if "alert" in rule}
CAUSED: set[str] = set()
SLOW_ANSWERS_S = 14.0
"""Longer than the ten seconds of the objective."""
RESTARTS = "sum(kube_pod_container_status_restarts_total)"
HASTE = {"YIWEN_COLD_START_TIMEOUT_S": "1"}


def causes(*alerts: str, pods: int = 2) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test that makes alerts fire and end, in an installation of some pods."""
    CAUSED.update(alerts)

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        given = pytest.mark.parametrize(
            "installation", [(alerts, pods)], indirect=True, ids=["+".join(alerts)]
        )
        return pytest.mark.faults(pytest.mark.timeout(900)(given(test)))  # type: ignore[no-any-return]

    return mark


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One to whose noise the guards do not object."""
    return random_release(tmp_path_factory.mktemp("release"), checks=["empty"])


@pytest.fixture
def installation(
    release: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> Iterator[Installation]:
    alerts, pods = request.param
    folder = tmp_path_factory.mktemp("prometheus")
    with Installation.running(folder, release, pods) as installation:
        yield installation
        for fired in installation.fired:
            record_property(FIRED, tuple(fired))  # xdist sends nothing more special
        assert {fired.alert for fired in installation.fired} == set(alerts)


@pytest.fixture(scope="module")
def other_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_release(tmp_path_factory.mktemp("other"), seed=1, checks=["empty"])


def random_release(
    directory: Path,
    *,
    seed: int = 0,
    layers: int = 2,
    hidden: int = 48,
    stop_tokens: Sequence[str] = STOP_TOKENS,
    checks: Sequence[str] = ("empty", "length"),
) -> Path:
    checkpoint = write_checkpoint(directory / "checkpoint", seed=seed, layers=layers, hidden=hidden)
    translation = json.loads((checkpoint / "translation.json").read_text())
    translation["stop_tokens"] = list(stop_tokens)
    translation["guards"]["checks"] = list(checks)
    (checkpoint / "translation.json").write_text(json.dumps(translation))
    request = BuildRequest(checkpoint=checkpoint, out=directory / "random", name="random")
    build_release(request, built_at=datetime(2026, 1, 1, tzinfo=timezone.utc), reporter=SilentReporter())
    return directory / "random"


def test_every_alert_is_caused() -> None:
    assert CAUSED == ALERTS


# The two tests of budgets take minutes, since their alerts look back for six hours, three minutes here. They stand
# apart from each other, so that two workers begin with them.
@causes("YiwenLatencyBudgetBurnsFast", "YiwenLatencyBudgetBurnsSlowly")
def test_a_predictor_that_stands_still(installation: Installation) -> None:
    predictor, transformer = installation.pair()
    alerts = ("YiwenLatencyBudgetBurnsFast", "YiwenLatencyBudgetBurnsSlowly")
    with steady_load(transformer, per_s=4) as statuses:
        installation.begin(f"the predictor stands still for {SLOW_ANSWERS_S:.0f} s (SIGSTOP)")
        predictor.process.send_signal(signal.SIGSTOP)
        time.sleep(SLOW_ANSWERS_S)
        predictor.process.send_signal(signal.SIGCONT)
        installation.fires(*alerts)
        installation.ends(*alerts)
    assert set(statuses) == {200}


@causes("YiwenTransformerAbsent", "YiwenTargetDown")
def test_a_killed_transformer(installation: Installation) -> None:
    _, transformer = installation.pair()
    alerts = ("YiwenTransformerAbsent", "YiwenTargetDown")
    installation.begin("the only transformer is killed (SIGKILL)")
    kill(transformer)
    installation.fires(*alerts)
    installation.transformer()
    installation.ends(*alerts)


@causes("YiwenPredictorStepsFail", "YiwenInternalErrors", "YiwenPredictorUnhealthy")
def test_a_predictor_without_memory_for_long_texts(installation: Installation, tmp_path: Path) -> None:
    # A slot is a row of K/V: with many, the first text of more than 64 tokens asks for 268 MB more.
    installation.release = random_release(tmp_path, layers=4, hidden=192, checks=["empty"])
    predictor = installation.predictor({"YIWEN_SLOTS": "1024"})
    transformer = installation.transformer({"YIWEN_CACHE_BYTES": "0", **HASTE})
    installation.wait_until_read(transformer)
    assert send(transformer, "short") == 200
    with limited_memory(psutil.Process(predictor.process.pid)):
        installation.begin("the predictor gets no more memory (RLIMIT_AS); some texts are long")
        with (
            load(transformer, text="s", callers=1),
            load(transformer, per_s=1, text="x" * 86, callers=1),
        ):
            installation.fires("YiwenPredictorStepsFail", "YiwenInternalErrors")
        installation.begin("the predictor gets no more memory; all texts are long")
        eventually(lambda: send(transformer, "x" * 90) == 503, "three steps in a row fail")
        installation.fires("YiwenPredictorUnhealthy")
    (pattern,) = re.findall(r"grep -E '(.*)'", runbook("YiwenInternalErrors"))
    assert len(re.findall(pattern, predictor.log.read_text("utf-8"))) >= 3
    kill(predictor)  # as the kubelet does by the liveness probe
    installation.predictor()
    installation.ends("YiwenPredictorStepsFail", "YiwenInternalErrors", "YiwenPredictorUnhealthy")
    eventually(lambda: send(transformer, "x" * 90) == 200, "long texts are translated")


def runbook(alert: str) -> str:
    return (ROOT / "docs" / "runbooks" / f"{alert}.md").read_text(encoding="utf-8")


@contextmanager
def limited_memory(process: psutil.Process) -> Iterator[None]:
    """Leave room for 96 MiB of addresses beyond those that are in use."""
    before = process.rlimit(psutil.RLIMIT_AS)
    process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms + (96 << 20), before[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_AS, before)


@causes("YiwenContainerRestarts", "YiwenPodPending")
def test_a_predictor_that_ends_again_and_again(installation: Installation) -> None:
    # The test stands in for the kubelet, which restarts it, and for kube-state-metrics, which tells of it.
    predictor, _ = installation.pair()
    restarts = installation.kubernetes.restarts.labels(NAMESPACE, PREDICTOR, "kserve-container")
    phase = installation.kubernetes.phase.labels(NAMESPACE, PREDICTOR, "Pending")
    eventually(lambda: installation.prometheus.value(RESTARTS) == 0, "the counter is read")
    installation.begin("the predictor is killed four times (SIGKILL), and starts again")
    for _ in range(4):
        kill(predictor)
        predictor = installation.predictor()
        restarts.inc()
        predictor.wait_until("ready")
    installation.fires("YiwenContainerRestarts")
    installation.begin("no node has room for the predictor")
    kill(predictor)
    phase.set(1)
    installation.fires("YiwenPodPending")
    installation.predictor()
    phase.set(0)
    installation.ends("YiwenContainerRestarts", "YiwenPodPending")


@causes("YiwenErrorBudgetBurnsFast", "YiwenErrorBudgetBurnsSlowly", "YiwenColdStartsFail")
def test_a_killed_predictor(installation: Installation) -> None:
    predictor, transformer = installation.pair(HASTE)
    alerts = ("YiwenErrorBudgetBurnsFast", "YiwenErrorBudgetBurnsSlowly", "YiwenColdStartsFail")
    with steady_load(transformer, per_s=4) as statuses:
        installation.begin("the predictor is killed (SIGKILL)")
        kill(predictor)
        installation.fires(*alerts)
        installation.predictor()
        installation.ends(*alerts)
    assert statuses[503] > 0


@causes("YiwenPredictorNotFound")
def test_a_transformer_of_another_release(installation: Installation, other_release: Path) -> None:
    installation.begin("transformer and predictor start with different releases")
    predictor, transformer = installation.predictor(release=other_release), installation.transformer()
    installation.fires("YiwenPredictorNotFound")
    kill(predictor)
    installation.predictor()
    installation.ends("YiwenPredictorNotFound")
    transformer.wait_until("ready")


@causes("YiwenReleaseNotServed")
def test_a_predictor_that_another_release_replaces(installation: Installation, other_release: Path) -> None:
    predictor, transformer = installation.pair(HASTE)
    with steady_load(transformer):
        installation.begin("a predictor of another release takes the predictor's place")
        kill(predictor)
        other = installation.predictor(release=other_release)
        installation.fires("YiwenReleaseNotServed")
        kill(other)
        installation.predictor()
        installation.ends("YiwenReleaseNotServed")


@causes("YiwenRefusesLoad", "YiwenQueueIsSlow")
def test_more_load_than_one_slot_takes(installation: Installation, tmp_path: Path) -> None:
    installation.release = build_endless_release(tmp_path)
    installation.predictor({"YIWEN_SLOTS": "1", "YIWEN_QUEUE_TOKENS": "6000"})
    long = {"YIWEN_MAX_DEADLINE_MS": "600000", "YIWEN_DEFAULT_DEADLINE_MS": "600000"}
    transformer = installation.transformer(long)
    installation.wait_until_read(transformer)
    installation.begin("40 new texts a second come for one slot")
    with load(transformer, per_s=40, callers=80) as statuses:
        installation.fires("YiwenRefusesLoad", "YiwenQueueIsSlow")
    assert statuses[429] > 0 < statuses[200]
    installation.ends("YiwenRefusesLoad", "YiwenQueueIsSlow")


@causes("YiwenGatewayDenies")
def test_a_proxy_that_answers_403(installation: Installation) -> None:
    predictor, transformer = installation.pair(HASTE)
    with steady_load(transformer):
        installation.begin("a proxy answers 403 in the predictor's place")
        kill(predictor)
        with serving(ThreadingHTTPServer(("127.0.0.1", predictor.port), Denies)):
            installation.fires("YiwenGatewayDenies")
        installation.predictor()
        installation.ends("YiwenGatewayDenies")


class Denies(BaseHTTPRequestHandler):
    """A proxy that lets nobody through."""

    def do_GET(self) -> None:  # named by http.server
        self.send_error(403, "RBAC: access denied")

    def do_POST(self) -> None:  # named by http.server
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@causes("YiwenRedisNotUsed")
def test_a_killed_redis(installation: Installation, tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        _, transformer = installation.pair({"YIWEN_REDIS_URL": server.url})
        with steady_load(transformer) as statuses:
            installation.begin("Redis is killed (SIGKILL)")
            server.stop()
            installation.fires("YiwenRedisNotUsed")
            server.start()
            installation.ends("YiwenRedisNotUsed")
    assert set(statuses) == {200}


@causes("YiwenRedisWritesLost")
def test_a_redis_that_is_full(installation: Installation, tmp_path: Path) -> None:
    with running_redis(tmp_path, "--maxmemory-policy", "noeviction") as server:
        _, transformer = installation.pair({"YIWEN_REDIS_URL": server.url})
        with steady_load(transformer) as statuses:
            installation.begin("Redis is full, and its policy is noeviction")
            assert server.command("CONFIG", "SET", "maxmemory", "1mb").startswith(b"+OK")
            installation.fires("YiwenRedisWritesLost")
            assert server.command("CONFIG", "SET", "maxmemory", "256mb").startswith(b"+OK")
            assert server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru").startswith(b"+OK")
            installation.ends("YiwenRedisWritesLost")
    assert set(statuses) == {200}


@causes("YiwenCacheEntriesUnreadable")
def test_another_program_that_writes_our_keys(installation: Installation, tmp_path: Path) -> None:
    with running_redis(tmp_path) as server, redis.Redis(port=server.port) as client:
        _, transformer = installation.pair({"YIWEN_REDIS_URL": server.url, "YIWEN_CACHE_BYTES": "0"})
        texts = [f"text {number}" for number in range(16)]
        assert {send(transformer, text) for text in texts} == {200}
        eventually(lambda: client.dbsize() > 0, "some are stored")
        installation.begin("another program writes under our keys")
        for key in client.scan_iter():
            client.set(key, b"not ours")
        assert {send(transformer, text) for text in texts} == {200}
        installation.fires("YiwenCacheEntriesUnreadable")
        client.flushdb()
        assert {send(transformer, text) for text in texts} == {200}
        installation.ends("YiwenCacheEntriesUnreadable")


@causes("YiwenGuardsObject")
def test_a_release_whose_model_never_stops(installation: Installation, tmp_path: Path) -> None:
    # Nearly every answer is as long as it may be then, to which the guard `length` objects.
    bad = random_release(tmp_path, stop_tokens=STOP_TOKENS[:1])
    good_pods = installation.pair()
    with steady_load(good_pods[1]):
        installation.begin("a release whose model never stops takes the other's place")
    kill(*good_pods)
    bad_pods = installation.predictor(release=bad), installation.transformer(release=bad)
    bad_pods[1].wait_until("ready")
    with load(bad_pods[1]):
        installation.fires("YiwenGuardsObject")
    kill(*bad_pods)
    _, transformer = installation.pair()
    with steady_load(transformer):
        installation.ends("YiwenGuardsObject")


@causes("YiwenReleaseFailsMore", pods=4)
def test_a_canary_whose_predictor_is_killed(installation: Installation, other_release: Path) -> None:
    installation.predictor()
    predictor = installation.predictor(release=other_release, name=CANARY_PREDICTOR)
    stable = installation.transformer(HASTE)
    canary = installation.transformer(
        HASTE, release=other_release, name=CANARY_TRANSFORMER, predictor=CANARY_PREDICTOR
    )
    installation.wait_until_read(stable, canary)
    with steady_load(stable) as good:
        with steady_load(canary):
            installation.begin("the predictor of the canary is killed (SIGKILL)")
            kill(predictor)
            installation.fires("YiwenReleaseFailsMore")
        installation.ends("YiwenReleaseFailsMore")  # the canary gets no requests any more
    assert set(good) == {200}
