"""Pods that are processes, and a Prometheus of their own with the rules, for faults that make alerts fire."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from benchmarks.monitoring.component import rule_groups, shortened_groups
from benchmarks.monitoring.prometheus import Prometheus, Target, running_prometheus
from tests.monitoring.pods import Pod, all_are_read, eventually, running
from tests.monitoring.state_metrics import StandInStateMetrics, stand_in_state_metrics
from tests.ports import free_port

FACTOR = 120.0
"""Ranges and ``for`` of the rules are divided by it: ten minutes are five seconds."""
INTERVAL_S = 0.5
NAMESPACE = "yiwen"
PREDICTOR, TRANSFORMER = "yiwen-predictor-00001-0", "yiwen-transformer-00001-0"
CANARY_PREDICTOR, CANARY_TRANSFORMER = "yiwen-predictor-00002-0", "yiwen-transformer-00002-0"
PODS = (PREDICTOR, TRANSFORMER, CANARY_PREDICTOR, CANARY_TRANSFORMER)
LONGEST_S = 600.0
"""Until an alert fires or ends; some watch six hours, which are three minutes here."""
FIRED = "fired"
"""Name of a test's properties that are of :class:`Fired`."""
_NONE: Mapping[str, str] = MappingProxyType({})


class Fired(NamedTuple):
    """An alert that a fault made fire, and that ended after it."""

    alert: str
    fault: str
    fired_s: float
    """After the fault began, seconds."""
    ended_s: float
    """After it was mended, seconds."""


class Installation:
    """Pods that Prometheus reads, by their names; each starts on its port as often as it is asked to."""

    def __init__(
        self, prometheus: Prometheus, ports: Mapping[str, int], release: Path, kubernetes: StandInStateMetrics
    ) -> None:
        self.prometheus = prometheus
        self.kubernetes = kubernetes
        self.release = release
        self.fired: list[Fired] = []
        self._ports = ports
        self._pods = ExitStack()
        self._fault = ("", 0.0)
        self._pending: dict[str, tuple[str, float]] = {}

    @classmethod
    @contextmanager
    def running(cls, folder: Path, release: Path, pods: int) -> Iterator[Installation]:
        """One without pods yet; they end with it.

        Args:
            folder: empty; of Prometheus.
            release: of its pods.
            pods: the first of :data:`PODS`, which Prometheus reads.
        """
        ports = {name: free_port() for name in PODS[:pods]}
        targets = [Target(NAMESPACE, name, port) for name, port in ports.items()]
        groups = shortened_groups(rule_groups(), FACTOR)
        with (
            stand_in_state_metrics() as kubernetes,
            running_prometheus(
                folder,
                groups,
                interval_s=INTERVAL_S,
                targets=targets,
                about_others=[kubernetes.address],
            ) as prometheus,
        ):
            installation = cls(prometheus, ports, release, kubernetes)
            with installation._pods:
                yield installation

    def predictor(
        self, settings: Mapping[str, str] = _NONE, *, release: Path | None = None, name: str = PREDICTOR
    ) -> Pod:
        """A predictor, of the installation's release if none is named; it is not waited for."""
        return self._start("predictor", name, release, settings)

    def transformer(
        self,
        settings: Mapping[str, str] = _NONE,
        *,
        release: Path | None = None,
        name: str = TRANSFORMER,
        predictor: str = PREDICTOR,
    ) -> Pod:
        """A transformer in front of a predictor's port, whatever listens there; it is not waited for."""
        url = f"http://127.0.0.1:{self._ports[predictor]}"
        own = {"YIWEN_PREDICTOR_URL": url, "YIWEN_PREDICTOR_DISCOVERY": "address"}
        return self._start("transformer", name, release, {**own, **settings})

    def pair(self, settings: Mapping[str, str] = _NONE) -> tuple[Pod, Pod]:
        """A predictor, and a transformer with ``settings``; both are ready and read."""
        predictor, transformer = self.predictor(), self.transformer(settings)
        self.wait_until_read(transformer)
        return predictor, transformer

    def wait_until_read(self, *transformers: Pod) -> None:
        """Wait until these are ready, and Prometheus reads all pods."""
        for transformer in transformers:
            transformer.wait_until("ready")
        pods = len(self._ports)
        eventually(lambda: all_are_read(self.prometheus, NAMESPACE, pods), f"{pods} pods are read")

    def begin(self, fault: str) -> None:
        """Say which fault is about to be caused; before the first one nothing may fire."""
        if not self._pending:
            eventually(lambda: not self._firing(), "nothing fires", LONGEST_S)
        self._fault = (fault, time.monotonic())

    def fires(self, *alerts: str) -> None:
        """Wait until the fault has made each of these fire, if not all at the same moment."""
        missing = set(alerts)
        fault, began = self._fault

        def have_fired() -> bool:
            now = missing & self._firing()
            missing.difference_update(now)
            self._pending |= {alert: (fault, time.monotonic() - began) for alert in now}
            return not missing

        eventually(have_fired, f"{', '.join(alerts)} fire", LONGEST_S)

    def ends(self, *alerts: str) -> None:
        """Wait until alerts that have fired fire no more, now that the fault is mended."""
        mended = time.monotonic()
        firing = set(alerts)

        def have_ended() -> bool:
            for alert in firing - self._firing():
                firing.remove(alert)
                self.fired.append(Fired(alert, *self._pending.pop(alert), time.monotonic() - mended))
            return not firing

        eventually(have_ended, f"{', '.join(alerts)} end", LONGEST_S)

    def _firing(self) -> set[str]:
        return self.prometheus.firing(NAMESPACE)

    def _start(self, module: str, name: str, release: Path | None, settings: Mapping[str, str]) -> Pod:
        pod = running(module, self._ports[name], release or self.release, settings, name=name)
        return self._pods.enter_context(pod)


def kill(*pods: Pod) -> None:
    """End them by SIGKILL, and wait for it, so that their ports are free."""
    for pod in pods:
        pod.process.kill()
        pod.process.wait()
