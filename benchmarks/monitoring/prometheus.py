"""A Prometheus as a process of this machine: it reads the targets that it is told, and evaluates rules.

The targets have the labels that the component's PodMonitors give them in a cluster.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from benchmarks.engine.service import free_port

START_TIMEOUT_S = 60.0
POLL_S = 0.05


class Target(NamedTuple):
    """A pod, played by a process."""

    namespace: str
    pod: str
    port: int
    job: str = "yiwen"
    """Name of the PodMonitor."""

    def static_config(self) -> dict[str, Any]:
        """As an entry of Prometheus' ``static_configs``."""
        labels = {
            "job": f"{self.namespace}/{self.job}",
            "namespace": self.namespace,
            "pod": self.pod,
            "container": "kserve-container",
            "serving_knative_dev_revision": self.pod.rpartition("-")[0] or self.pod,
        }
        return {"targets": [f"127.0.0.1:{self.port}"], "labels": labels}


class Sample(NamedTuple):
    """One series of a result, at one moment."""

    labels: Mapping[str, str]
    value: float


class Series(NamedTuple):
    """One series of a result over time."""

    labels: Mapping[str, str]
    times: tuple[float, ...]
    """Unix, seconds."""
    values: tuple[float, ...]


class QueryFailed(Exception):
    """Prometheus did not answer a query; the message has its reason."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus, which is asked over its HTTP API."""

    url: str

    def query(self, expr: str, at: float | None = None) -> list[Sample]:
        """The result of an instant query, at a Unix time or now.

        Raises:
            QueryFailed: it is no PromQL, or cannot be evaluated.
        """
        when = {} if at is None else {"time": at}
        data = self._get("query", query=expr, **when)
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(each["metric"], float(each["value"][1])) for each in data["result"]]

    def value(self, expr: str, at: float | None = None) -> float:
        """The value of a query that has one sample; NaN where it has none.

        Raises:
            QueryFailed: as :meth:`query`, or it has several.
        """
        samples = self.query(expr, at)
        if len(samples) > 1:
            raise QueryFailed(f"{expr} has {len(samples)} samples, not one")
        return samples[0].value if samples else float("nan")

    def query_range(self, expr: str, start: float, end: float, step_s: float) -> list[Series]:
        """The result of a query at each step between two Unix times.

        Raises:
            QueryFailed: as :meth:`query`.
        """
        data = self._get("query_range", query=expr, start=start, end=end, step=step_s)
        return [_series(each) for each in data["result"]]

    def firing(self, namespace: str) -> set[str]:
        """Names of the alerts of a namespace that fire."""
        alerts = self._get("alerts")["alerts"]
        return {
            each["labels"]["alertname"]
            for each in alerts
            if each["state"] == "firing" and each["labels"].get("namespace") == namespace
        }

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with their health and last error."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str, **parameters: Any) -> Any:  # noqa: ANN401  JSON
        url = f"{self.url}/api/v1/{path}"
        # A query may be longer than a URL.
        answer = (
            httpx.post(url, data=parameters, timeout=60)
            if path.startswith("query")
            else httpx.get(url, timeout=60)
        )
        document = answer.json()
        if document["status"] != "success":
            raise QueryFailed(f"{parameters.get('query', path)}: {document['error']}")
        return document["data"]


def _series(result: Mapping[str, Any]) -> Series:
    times, values = zip(*((float(at), float(value)) for at, value in result["values"]), strict=True)
    return Series(result["metric"], times, values)


@contextmanager
def running_prometheus(
    folder: Path,
    groups: Sequence[Mapping[str, Any]],
    *,
    interval_s: float,
    targets: Iterable[Target] = (),
    about_others: Iterable[str] = (),
) -> Iterator[Prometheus]:
    """Debian's Prometheus, which reads targets and evaluates rules.

    Args:
        folder: empty; for its configuration and its data.
        groups: of rules.
        interval_s: between two readings of a target, and two evaluations of the rules, seconds.
        targets: to read.
        about_others: addresses to read whose series name the pods that they are about, as kube-state-metrics' do.

    Raises:
        SystemExit: it is not installed, or does not start.
    """
    interval = f"{round(interval_s * 1000)}ms"
    (folder / "rules.json").write_text(json.dumps({"groups": groups}), encoding="utf-8")
    configuration = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": ["rules.json"],
        "scrape_configs": [
            {"job_name": "pods", "static_configs": [target.static_config() for target in targets]},
            {
                "job_name": "about-others",
                "honor_labels": True,
                "static_configs": [{"targets": list(about_others)}],
            },
        ],
    }
    with prometheus_process(folder, configuration) as url:
        yield Prometheus(url)


@contextmanager
def prometheus_process(folder: Path, configuration: Mapping[str, Any]) -> Iterator[str]:
    """Debian's Prometheus with any configuration; its URL, once it is ready.

    Args:
        folder: for its configuration and its data.
        configuration: whose relative paths are below the folder.

    Raises:
        SystemExit: it is not installed, or does not start.
    """
    if shutil.which("prometheus") is None:
        raise SystemExit("prometheus is not installed: apt-get install prometheus")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (folder / "prometheus.json").write_text(json.dumps(configuration), encoding="utf-8")
    command = [
        "prometheus", f"--config.file={folder / 'prometheus.json'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        _wait_until_ready(url, process, folder / "prometheus.log")
        yield url
    finally:
        process.kill()  # nobody reads its data again
        process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < end:
        try:
            if httpx.get(f"{url}/-/ready", timeout=1).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(POLL_S)
    raise SystemExit(f"prometheus did not start: {log.read_text(encoding='utf-8')[-2000:]}")
