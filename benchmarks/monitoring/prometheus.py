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
from dataclasses import dataclass, field
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

    def group(self) -> dict[str, Any]:
        """As an entry of Prometheus' file of targets."""
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


@dataclass
class Prometheus:
    """A running Prometheus, which is asked over its HTTP API."""

    url: str
    _file: Path | None = None
    """With its targets; None for one whose targets are not ours."""
    _targets: dict[str, Target] = field(default_factory=dict)

    def watch(self, *targets: Target) -> None:
        """Read these, too; one whose pod has the same name in the same namespace is replaced."""
        self._targets |= {f"{target.namespace}/{target.pod}": target for target in targets}
        self._write()

    def forget(self, namespace: str, pod: str | None = None) -> None:
        """Read a pod no more, or none of a namespace: they are gone."""
        gone = [
            name
            for name, target in self._targets.items()
            if target.namespace == namespace and pod in (None, target.pod)
        ]
        for name in gone:
            del self._targets[name]
        self._write()

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

    def _write(self) -> None:
        if self._file is None:
            raise RuntimeError(f"the targets of {self.url} are not ours to change")
        _replace(self._file, [target.group() for target in self._targets.values()])


def _series(result: Mapping[str, Any]) -> Series:
    times, values = zip(*((float(at), float(value)) for at, value in result["values"]), strict=True)
    return Series(result["metric"], times, values)


def _replace(file: Path, content: object) -> None:
    """Write JSON so that nobody reads half of it."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(content), encoding="utf-8")
    new.replace(file)


@contextmanager
def running_prometheus(
    folder: Path,
    groups: Sequence[Mapping[str, Any]],
    *,
    interval_s: float,
    targets: Iterable[Target] = (),
) -> Iterator[Prometheus]:
    """Debian's Prometheus, ready.

    Args:
        folder: empty; for its configuration and its data.
        groups: of rules.
        interval_s: between two readings of a target, and two evaluations of the rules, seconds.
        targets: to read from the start.

    Raises:
        SystemExit: it is not installed, or does not start.
    """
    if shutil.which("prometheus") is None:
        raise SystemExit("prometheus is not installed: apt-get install prometheus")
    port = free_port()
    prometheus = Prometheus(f"http://127.0.0.1:{port}", folder / "targets.json")
    prometheus.watch(*targets)
    _configure(folder, groups, interval_s)
    command = [
        "prometheus", f"--config.file={folder / 'prometheus.json'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        _wait_until_ready(prometheus.url, process, folder / "log")
        yield prometheus
    finally:
        process.kill()  # nobody reads its data again
        process.wait()


def _configure(folder: Path, groups: Sequence[Mapping[str, Any]], interval_s: float) -> None:
    interval = f"{round(interval_s * 1000)}ms"
    discovery = {"files": ["targets.json"], "refresh_interval": "1s"}
    configuration = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": ["rules.json"],
        "scrape_configs": [{"job_name": "pods", "file_sd_configs": [discovery]}],
    }
    _replace(folder / "rules.json", {"groups": groups})
    _replace(folder / "prometheus.json", configuration)


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
