"""A state machine that joins, cancels, resolves and fails calls at random, and checks that nobody is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from prometheus_client import CollectorRegistry

from protocol.deadline import Deadline
from tests.transformer.generation.test_single_flight import ticks
from transformer.generation.single_flight import DeadlinePassed, SharedCall, SharedResult, SingleFlight
from transformer.metrics import SingleFlightMetrics

KEYS = "abcde"


class _Run:
    """One run of the work in the machine, told what to do from outside; slow to end."""

    def __init__(self, keys: Sequence[str], call: SharedCall[str, str]) -> None:
        self.keys = keys
        self.call = call
        self.resolved: set[str] = set()
        self.over = asyncio.get_running_loop().create_future()
        self.cancelled = False
        self.active = True

    async def until_over(self) -> None:
        try:
            await self.over
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            await ticks(5)
            self.active = False

    def open_keys(self) -> list[str]:
        return [key for key in self.keys if key not in self.resolved]


class SingleFlightMachine(RuleBasedStateMachine):
    """Callers come, leave and wait; runs land, fail, refuse and end. After every step all is settled."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.single_flight: SingleFlight[str, str] = SingleFlight(SingleFlightMetrics(CollectorRegistry()))
        self.runs: list[_Run] = []
        self.twice: set[str] = set()
        """Keys that two runs were at in one moment."""
        self.callers: dict[asyncio.Task[list[SharedResult[str]]], tuple[str, ...]] = {}

    async def _work(self, keys: Sequence[str], call: SharedCall[str, str]) -> None:
        busy = {key for run in self.runs if run.active for key in run.open_keys()}
        self.twice |= busy & set(keys)
        run = _Run(keys, call)
        self.runs.append(run)
        await run.until_over()

    def _settle(self) -> None:
        self.loop.run_until_complete(ticks(30))
        assert not self.twice
        self.runs = [run for run in self.runs if run.active]
        for task, keys in list(self.callers.items()):
            if task.done():
                del self.callers[task]
                if task.cancelled():
                    continue
                if task.exception() is not None:
                    assert isinstance(task.exception(), (ValueError, DeadlinePassed))
                else:
                    assert [each.value for each in task.result()] == [key.upper() for key in keys]

    def _of(self, number: int) -> _Run:
        return self.runs[number % len(self.runs)]

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, unique=True), times=st.integers(1, 3))
    def come(self, keys: list[str], times: int) -> None:
        for _ in range(times):
            work = self.single_flight.run(keys, Deadline.after(60.0), self._work)
            self.callers[self.loop.create_task(work)] = tuple(keys)
        self._settle()

    @precondition(lambda self: self.callers)
    @rule(number=st.integers(0, 99), key=st.sampled_from(KEYS), back=st.booleans())
    def leave(self, number: int, key: str, back: bool) -> None:
        """One leaves; perhaps another comes in the same moment."""
        list(self.callers)[number % len(self.callers)].cancel()
        if back:
            self.loop.run_until_complete(asyncio.sleep(0))
            self.come([key], 1)
        self._settle()

    @precondition(lambda self: self.runs)
    @rule(number=st.integers(0, 99), key=st.integers(0, 99))
    def resolve(self, number: int, key: int) -> None:
        run = self._of(number)
        if run.open_keys():
            resolved = run.open_keys()[key % len(run.open_keys())]
            run.resolved.add(resolved)
            run.call.resolve(resolved, resolved.upper())
        self._settle()

    @precondition(lambda self: self.runs)
    @rule(number=st.integers(0, 99), how=st.sampled_from(["fail", "refuse", "raise", "end"]))
    def end(self, number: int, how: str) -> None:
        run = self._of(number)
        if how == "raise":
            run.over.set_exception(ValueError("raised"))
        else:
            if how == "fail":
                run.call.fail(run.open_keys(), ValueError("failed"))
            elif how == "refuse":
                run.call.fail_leader(run.open_keys(), ValueError("refused"))
            run.over.set_result(None)
        run.resolved.update(run.keys)
        self._settle()

    @invariant()
    def all_wait_for_something_and_all_work_is_waited_for(self) -> None:
        at_work = [key for run in self.runs for key in run.open_keys()]
        assert len(at_work) == len(set(at_work))
        for keys in self.callers.values():
            assert set(keys) & set(at_work), "a caller waits for nothing"
        for run in self.runs:
            waited_for = {key for keys in self.callers.values() for key in keys}
            assert not run.open_keys() or set(run.open_keys()) & waited_for, "work without a caller"
        assert {key for key in KEYS if self.single_flight.in_progress(key)} == set(at_work)

    def teardown(self) -> None:
        while self.runs:
            self.end(0, "end")
        assert not self.callers
        self.loop.close()


SingleFlightMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
test_single_flight_under_random_use = SingleFlightMachine.TestCase
