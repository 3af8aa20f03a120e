"""How long the stages of a request take: its log line has the milliseconds, its trace a span of each.

The request that the running task works for is found through a context variable, which tasks inherit, so that a stage
can be measured wherever it lies. Outside of a request nothing is measured. Where several tasks of a request are in a
stage at the same time, the time is counted once.
"""

from __future__ import annotations

import time
from contextvars import ContextVar, Token
from types import TracebackType

from serving.tracing import RequestTrace


class RequestStages:
    """The stages of one request."""

    __slots__ = ("_times", "fields", "trace")

    def __init__(self, fields: dict[str, object], trace: RequestTrace | None) -> None:
        """Nothing was measured yet.

        Args:
            fields: of the request's log line.
            trace: of the request; None if there is none.
        """
        self.fields = fields
        self.trace = trace
        self._times: dict[str, _StageTime] = {}

    def milliseconds(self) -> dict[str, float]:
        """The time in each stage that has ended, milliseconds, by the name of its log field."""
        return {f"{name}_ms": round(each.total_s * 1000, 3) for name, each in self._times.items()}

    def entered(self, name: str, now: float) -> None:
        """A task is in a stage from ``now`` on."""
        each = self._times.get(name)
        if each is None:
            each = self._times[name] = _StageTime()
        if each.tasks == 0:
            each.since = now
        each.tasks += 1

    def left(self, name: str, now: float) -> None:
        """A task was in a stage until ``now``."""
        each = self._times[name]
        each.tasks -= 1
        if each.tasks == 0:
            each.total_s += now - each.since


class _StageTime:
    __slots__ = ("since", "tasks", "total_s")

    def __init__(self) -> None:
        self.tasks = 0
        """That are in the stage now."""
        self.since = 0.0
        self.total_s = 0.0


_clock = time.monotonic
_current: ContextVar[RequestStages | None] = ContextVar("request_stages", default=None)


def begin(stages: RequestStages) -> Token[RequestStages | None]:
    """Measure what this task, and those that it creates, do from now on; returns what :func:`end` takes."""
    return _current.set(stages)


def end(token: Token[RequestStages | None]) -> None:
    """End what :func:`begin` began."""
    _current.reset(token)


def annotate(name: str, value: object) -> None:
    """Add a field to the request's log line and trace: a count or an id, never text."""
    stages = _current.get()
    if stages is not None:
        stages.fields[name] = value


def count(name: str, amount: int) -> None:
    """Add to a number in the request's log line and trace."""
    stages = _current.get()
    if stages is not None:
        before = stages.fields.get(name)
        stages.fields[name] = amount + (before if isinstance(before, int) else 0)


def past_stage(name: str, started: float, ended: float) -> None:
    """Count a stage that is over.

    Args:
        name: of the stage.
        started: seconds of ``time.monotonic``.
        ended: the same.
    """
    stages = _current.get()
    if stages is not None:
        stages.entered(name, started)
        stages.left(name, ended)
        if stages.trace is not None:
            stages.trace.past_span(name, started, ended)


class Stage:
    """One stage of the current request, from the beginning to the end of a ``with`` block."""

    __slots__ = ("_name", "_stages", "span")

    def __init__(self, name: str) -> None:
        """Measure nothing yet.

        Args:
            name: of the span; ``NAME_ms`` is the log field.
        """
        self._name = name
        self._stages: RequestStages | None = None

    def __enter__(self) -> Stage:
        stages = self._stages = _current.get()
        self.span = None
        if stages is not None:
            stages.entered(self._name, _clock())
            if stages.trace is not None:
                self.span = stages.trace.start_span(self._name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stages is not None:
            self._stages.left(self._name, _clock())
            if self.span is not None:
                self.span.end()

    def trace_headers(self) -> dict[str, str]:
        """W3C trace context of this stage as headers of a request to another service; empty without tracing."""
        if self._stages is None or self._stages.trace is None:
            return {}
        return self._stages.trace.headers(self.span)

    def exemplar(self) -> dict[str, str] | None:
        """Labels of an exemplar that leads to this request's trace; None if it is not sampled."""
        return None if self._stages is None or self._stages.trace is None else self._stages.trace.exemplar
