"""The result of a simulation: counts, latency percentiles, goodput and cost."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knative.simulator.engine.events import SERVED, Status
from knative.simulator.load.trace import Floats
from knative.simulator.load.workload import Booleans, Workload
from knative.simulator.scenarios.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State of the service at one time."""

    time: float
    """Seconds from the start."""
    desired: int
    """Predictor pods that the autoscaler wants."""
    ready: int
    slices: int
    """Slices held by pods that start, serve or drain."""
    queued: int
    """Requests that wait for a predictor: in the activator, in queue-proxies, for a slot."""
    in_flight: int
    """Requests in the predictor services, waiting or decoding."""
    transformers: int
    """Ready transformer pods."""
    panicking: bool
    activator_in_path: bool
    """Whether the activator is in the path."""


@dataclass(frozen=True, slots=True)
class RevisionSummary:
    """Figures of one of two predictor revisions. Latencies are seconds; None where there was no answer."""

    name: str
    requests: int
    """Requests that were routed to it: neither cache hits nor single-flight followers."""
    served: int
    errors: int
    p50: float | None
    """Of the answers served."""
    p99: float | None

    def to_json(self) -> dict[str, Any]:
        """By field name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of one run. Latencies are seconds; None where there was no answer."""

    name: str
    requests: int
    seconds: float
    served: int
    hits: int
    shared: int
    """Served as followers of a single flight."""
    errors_413: int
    """Longer than a slot."""
    errors_429: int
    errors_503: int
    errors_504: int
    p50: float | None
    """Of the answers served."""
    p95: float | None
    p99: float | None
    p99_miss: float | None
    """Of the requests that a predictor answered."""
    goodput: float
    """Share of all requests that were answered within the SLO."""
    goodput_per_s: float
    slice_hours: float
    peak_slices: int
    peak_queue: int
    cost_per_million_chars: float | None
    """Price of the slice-hours over the characters translated, in time or not."""
    revisions: tuple[RevisionSummary, ...]
    """Figures of each revision where there are two, the stable one first; otherwise empty."""

    def to_json(self) -> dict[str, Any]:
        """By field name."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"revisions": [revision.to_json() for revision in self.revisions]}


@dataclass(frozen=True, slots=True, eq=False)
class SimulationResult:
    """Everything that one run recorded."""

    scenario: Scenario
    workload: Workload
    latencies: Floats  # [N] seconds, without the scenario's overhead
    statuses: npt.NDArray[np.int16]  # [N] of Status
    snapshots: tuple[Snapshot, ...]
    slice_seconds: float
    """Slice-seconds held until the end of the arrivals."""

    def answered(self) -> Booleans:
        """[N] whether each request was served."""
        return np.isin(self.statuses, SERVED)

    def caller_latencies(self) -> Floats:
        """[N] seconds, overhead included."""
        return self.latencies + self.scenario.overhead_s

    def within_slo(self) -> Booleans:
        """[N] whether each request was served within the SLO."""
        return self.answered() & (self.caller_latencies() <= self.scenario.slo_s)

    def summary(self) -> Summary:
        """The figures of the run."""
        answered, latencies, statuses = self.answered(), self.caller_latencies(), self.statuses
        served, within_slo = latencies[answered], int(self.within_slo().sum())
        count = len(self.workload)
        hours = self.slice_seconds / 3600
        chars = int(self.workload.chars[answered].sum())
        cost = hours * self.scenario.price_per_slice_hour
        return Summary(
            name=self.scenario.name,
            requests=count,
            seconds=self.workload.seconds,
            served=int(answered.sum()),
            hits=int((statuses == Status.HIT).sum()),
            shared=int((statuses == Status.SHARED).sum()),
            errors_413=int((statuses == Status.TOO_LONG).sum()),
            errors_429=int((statuses == Status.TOO_MANY).sum()),
            errors_503=int((statuses == Status.UNAVAILABLE).sum()),
            errors_504=int((statuses == Status.TIMEOUT).sum()),
            p50=percentile(served, 50),
            p95=percentile(served, 95),
            p99=percentile(served, 99),
            p99_miss=percentile(latencies[statuses == Status.OK], 99),
            goodput=within_slo / count if count else 0.0,
            goodput_per_s=within_slo / self.workload.seconds,
            slice_hours=hours,
            peak_slices=max((snapshot.slices for snapshot in self.snapshots), default=0),
            peak_queue=max((snapshot.queued for snapshot in self.snapshots), default=0),
            cost_per_million_chars=cost / chars * 1e6 if cost and chars else None,
            revisions=self._revisions(),
        )

    def _revisions(self) -> tuple[RevisionSummary, ...]:
        predictors = self.scenario.predictors
        if len(predictors) < 2:
            return ()
        up_to = np.cumsum([predictor.share for predictor in predictors])
        chosen = np.minimum(np.searchsorted(up_to, self.workload.draws, side="right"), len(predictors) - 1)
        elsewhere = np.isin(self.statuses, (Status.HIT, Status.SHARED, Status.TOO_LONG))
        return tuple(
            self._revision(predictor.name, (chosen == number) & ~elsewhere)
            for number, predictor in enumerate(predictors)
        )

    def _revision(self, name: str, asked: Booleans) -> RevisionSummary:
        served = self.caller_latencies()[asked & self.answered()]
        requests = int(asked.sum())
        return RevisionSummary(
            name=name,
            requests=requests,
            served=len(served),
            errors=requests - len(served),
            p50=percentile(served, 50),
            p99=percentile(served, 99),
        )

    def to_json(self) -> dict[str, Any]:
        """Summary and timeline as a JSON document."""
        timeline = [{name: getattr(m, name) for name in m.__slots__} for m in self.snapshots]
        return {"summary": self.summary().to_json(), "timeline": timeline}

    def time_series(self, seconds: float) -> TimeSeries:
        """Rates and latency by time of arrival, in equal windows of about ``seconds`` over the whole time."""
        count = max(1, round(self.workload.seconds / seconds))
        seconds = self.workload.seconds / count
        windows = np.minimum((self.workload.times / seconds).astype(np.int64), count - 1)
        answered = self.answered()
        latencies = np.where(answered, self.caller_latencies(), self.scenario.timeout_s)
        starts = np.searchsorted(windows, np.arange(count + 1))
        p99 = [percentile(latencies[a:b], 99) for a, b in itertools.pairwise(starts)]
        return TimeSeries(
            times=np.arange(count, dtype=np.float64) * np.float64(seconds),
            arrivals=np.bincount(windows, minlength=count) / seconds,
            failed=np.bincount(windows, weights=~answered, minlength=count) / seconds,
            within_slo=np.bincount(windows, weights=self.within_slo(), minlength=count) / seconds,
            p99=np.array([np.nan if value is None else value for value in p99]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class TimeSeries:
    """A run over time. All arrays have the length W, the number of windows."""

    times: Floats  # [W] start of each window, seconds
    arrivals: Floats  # [W] per second
    failed: Floats  # [W] per second
    within_slo: Floats  # [W] per second
    p99: Floats  # [W] seconds, failed requests counted as the timeout; NaN without requests


def percentile(values: Floats, percent: float) -> float | None:
    """A percentile; None without values."""
    return float(np.percentile(values, percent)) if len(values) else None
