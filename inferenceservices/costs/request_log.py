"""A service's use from its log lines: the JSON lines that both services write, as files of theirs or of a pipeline.

A line may follow what a container runtime puts before it. The pod is the one that the pipeline named, or else the
file. What is not such a line is counted and left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from inferenceservices.costs.usage import PREDICTOR, TRANSFORMER, CostError, PodUse, ServiceUse, TrafficUse
from protocol.kubernetes.documents import mapping

PEAK_S = 300.0
LONG_S = 3600.0
"""From such a span on, the busiest five minutes are looked for."""
_CACHED = ("hit", "shared", "bypass")


@dataclass(slots=True)
class _PodLog:
    component: str
    first_s: float
    last_s: float
    work: list[tuple[float, float]] = field(default_factory=list)
    """Beginning and end of each request, seconds since 1970."""


class RequestLog:
    """Adds up log lines."""

    def __init__(self, since_s: float = 0.0) -> None:
        """Begin with nothing.

        Args:
            since_s: lines before that time are left out, seconds since 1970.
        """
        self._since_s = since_s
        self._pods: dict[str, _PodLog] = {}
        self._pairs: dict[str, TrafficUse] = {}
        self._callers: dict[str, TrafficUse] = {}
        self._ends: list[float] = []
        self._durations_s: list[float] = []
        self.ignored = 0
        """Lines that are no log lines of a service."""

    def add(self, lines: Iterable[str], source: str) -> None:
        """Read the lines of a file.

        Args:
            lines: of the log.
            source: names the pod where the lines do not.
        """
        for line in lines:
            document = _document(line)
            if document is None:
                self.ignored += bool(line.strip())
                continue
            at_s = _time(document)
            if at_s >= self._since_s:
                self._add(document, at_s, source)

    def use(self, *, slice_name: str = "", pods: int | None = None) -> ServiceUse:
        """What the lines add up to.

        Args:
            slice_name: of all predictors.
            pods: predictors that ran all the time; None: as the predictors' own logs say.

        Raises:
            CostError: there is no request of a transformer, or nothing says how long predictors ran.
        """
        if not self._ends:
            raise CostError(
                "there is no line of a request that a transformer answered: give its log with YIWEN_LOG_FORMAT=json"
            )
        start = min(pod.first_s for pod in self._pods.values())
        seconds = max(pod.last_s for pod in self._pods.values()) - start
        predictors = [
            PodUse(name, PREDICTOR, log.last_s - log.first_s, _union(log.work), slice_name)
            for name, log in sorted(self._pods.items())
            if log.component == PREDICTOR
        ]
        if pods is not None:
            predictors = [
                PodUse(f"predictor-{number}", PREDICTOR, seconds, None, slice_name) for number in range(pods)
            ]
        if not predictors:
            raise CostError(
                "there is no log of a predictor: give it too, or say how many there were with --pods"
            )
        return ServiceUse(
            seconds=seconds,
            pods=(*predictors, *self._transformers()),
            pairs=self._pairs,
            callers=self._callers,
            requests=len(self._ends),
            peak_requests_per_s=_peak(self._ends, seconds),
            peak_predictors=pods or self._most_predictors(),
            p99_s=float(np.percentile(self._durations_s, 99)) if self._durations_s else None,
        )

    def _transformers(self) -> list[PodUse]:
        return [
            PodUse(name, TRANSFORMER, log.last_s - log.first_s)
            for name, log in sorted(self._pods.items())
            if log.component == TRANSFORMER
        ]

    def _most_predictors(self) -> int:
        spans = [(pod.first_s, pod.last_s) for pod in self._pods.values() if pod.component == PREDICTOR]
        return max(sum(first <= at <= last for first, last in spans) for at, _ in spans)

    def _add(self, document: Mapping[str, Any], at_s: float, source: str) -> None:
        component = str(document["component"])
        name = f"{mapping(document, 'kubernetes').get('pod_name') or source} ({component})"
        pod = self._pods.setdefault(name, _PodLog(component, at_s, at_s))
        pod.first_s, pod.last_s = min(pod.first_s, at_s), max(pod.last_s, at_s)
        if document.get("message") != "request":
            return
        seconds = float(document.get("duration_ms", 0.0)) / 1000
        pod.work.append((at_s - seconds, at_s))
        pod.first_s = min(pod.first_s, at_s - seconds)
        if component == TRANSFORMER and 200 <= int(document.get("status", 0)) < 300 and "texts" in document:
            self._ends.append(at_s)
            if document.get("endpoint") != "generate_stream":
                self._durations_s.append(seconds)
            self._count(document)

    def _count(self, document: Mapping[str, Any]) -> None:
        statuses = Counter({name: int(document.get(name, 0)) for name in (*_CACHED, "miss")})
        texts, missed = statuses.total(), statuses["miss"]
        characters = float(document.get("characters", 0))
        use = TrafficUse(
            texts=texts,
            missed_texts=missed,
            characters=characters,
            missed_characters=characters * missed / texts if texts else 0.0,
            prompt_tokens=float(document.get("prompt_tokens", 0)),
            generated_tokens=float(document.get("generated_tokens", 0)),
        )
        for name, found in ((document.get("pair"), self._pairs), (document.get("caller"), self._callers)):
            if name:
                found[str(name)] = found.get(str(name), TrafficUse()) + use


def _document(line: str) -> Mapping[str, Any] | None:
    """The log line as a document; None for another line."""
    try:
        document = json.loads(line[line.index("{") :])
    except ValueError:
        return None
    if not isinstance(document, dict) or document.get("component") not in (PREDICTOR, TRANSFORMER):
        return None
    return document if "ts" in document else None


def _time(document: Mapping[str, Any]) -> float:
    """Seconds since 1970.

    Raises:
        CostError: the line has a time that is none.
    """
    try:
        return datetime.fromisoformat(str(document["ts"]).replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise CostError(f"a log line has the time {document['ts']!r}, which is not ISO 8601") from None


def _union(spans: list[tuple[float, float]]) -> float:
    """Length of the time that some spans cover together, seconds."""
    covered, end = 0.0, float("-inf")
    for first, last in sorted(spans):
        covered += max(0.0, last - max(first, end))
        end = max(end, last)
    return covered


def _peak(ends: list[float], seconds: float) -> float:
    """Requests per second in the busiest :data:`PEAK_S` of a long span, or in the whole of a shorter one."""
    if seconds < LONG_S:
        return len(ends) / seconds if seconds else 0.0
    bins = Counter(int(at // PEAK_S) for at in ends)
    return max(bins.values()) / PEAK_S
