"""The thread that steps the engine while it has work, and the engine's health."""

from __future__ import annotations

import threading
from typing import Protocol

MAX_FAILURES_IN_A_ROW = 3
"""After so many failed steps in a row the engine is unhealthy, and Kubernetes restarts the pod."""


class SteppedEngine(Protocol):
    """The part of :class:`predictor.llm_engine.LLMEngine` that the thread uses."""

    @property
    def has_work(self) -> bool: ...
    def step(self) -> None: ...
    def mark_unhealthy(self) -> None: ...


class EngineThread:
    """One thread, not started yet, and the condition that wakes it."""

    def __init__(self, engine: SteppedEngine) -> None:
        self._engine = engine
        self._thread = threading.Thread(target=self._run, name="llm-engine", daemon=True)
        self.condition = threading.Condition()
        """The engine's lock: guards its scheduler and ``is_stopping``; notified when there is work."""
        self.is_stopping = False
        self._failures_in_a_row = 0

    @property
    def is_healthy(self) -> bool:
        """False after ``MAX_FAILURES_IN_A_ROW`` failed steps in a row, and once the thread has crashed."""
        return self._failures_in_a_row < MAX_FAILURES_IN_A_ROW

    @property
    def is_alive(self) -> bool:
        """Whether the thread has started and not ended."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread once no step is in flight, and wait for that."""
        with self.condition:
            self.is_stopping = True
            self.condition.notify()
        if self._thread.is_alive():
            self._thread.join()

    def step_succeeded(self) -> None:
        """Forget the failures before."""
        self._failures_in_a_row = 0

    def step_failed(self) -> bool:
        """Count a failed step; returns whether the engine is still healthy."""
        self._failures_in_a_row += 1
        return self.is_healthy

    def mark_unhealthy(self) -> None:
        """Make the engine unhealthy for good: no step succeeds afterwards, since nothing is admitted."""
        self._failures_in_a_row = MAX_FAILURES_IN_A_ROW

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._engine.step()
        finally:
            # Also reached by an exception, which only a bug of ours can raise: no caller may wait for ever.
            if not self.is_stopping:
                self._engine.mark_unhealthy()

    def _wait_for_work(self) -> bool:
        """Block until there is work; False once the engine stops and nothing is in flight."""
        with self.condition:
            self.condition.wait_for(lambda: self._engine.has_work or self.is_stopping)
            return self._engine.has_work
