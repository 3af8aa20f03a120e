"""CPU time of threads: on a dedicated core, or on the cores of a node that all pods share.

Each thread has a clock of its own, the CPU time that it has had, and schedules a callback for a time on that clock.
On a dedicated core this is the simulation's clock. On shared cores threads wait in a FIFO run queue, and give their
core up at the end of a time slice if another thread waits. Linux treats threads of equal weight so: a thread that
wakes up does not preempt the running one (EEVDF with RUN_TO_PARITY, ``kernel/sched/fair.c``, since Linux 6.6).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from knative.simulator.engine.events import Clock

Callback = Callable[[Any], None]
TIME_TOLERANCE_S = 1e-9
"""Times that differ by less are equal."""


class EventLoop(ABC):
    """An event loop: runs tasks one after the other, in the order of their submission."""

    __slots__ = ()

    @abstractmethod
    def submit(self, seconds: float, callback: Callback, argument: object = None) -> None:
        """Add a task, after which ``callback(argument)`` is called.

        Args:
            seconds: of CPU time that the task takes.
            callback: called once, unless :meth:`cancel_all` comes first.
            argument: of the callback.
        """

    @abstractmethod
    def cancel_all(self) -> list[Any]:
        """Cancel all tasks; returns their arguments."""


class Processor(ABC):
    """The CPU time of one thread."""

    __slots__ = ()

    @property
    @abstractmethod
    def now(self) -> float:
        """CPU time of the thread, seconds."""

    @abstractmethod
    def call_at(self, time: float, callback: Callback, argument: object = None) -> None:
        """Compute until :attr:`now` is ``time``, then call ``callback(argument)``.

        The callback may call this method again. A call replaces one whose time has not come.

        Args:
            time: seconds of this processor's clock.
            callback: called once.
            argument: of the callback.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Stop computing; the callback is not called."""

    @abstractmethod
    def event_loop(self) -> EventLoop:
        """A new event loop, which must be the only user of this thread."""


class DedicatedCore(Processor):
    """A core with a single thread. Its clock is the simulation's, and runs while the thread is idle too."""

    __slots__ = ("_clock", "_generation")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._generation = 0
        """Number of the valid event; events of replaced calls stay in the queue and are ignored."""

    @property
    def now(self) -> float:
        return self._clock.now

    def call_at(self, time: float, callback: Callback, argument: object = None) -> None:
        self._generation += 1
        self._clock.call_at(time, self._run, (self._generation, callback, argument))

    def cancel(self) -> None:
        self._generation += 1

    def event_loop(self) -> EventLoop:
        return _DedicatedEventLoop(self._clock)

    def _run(self, event: tuple[int, Callback, object]) -> None:
        generation, callback, argument = event
        if generation == self._generation:
            callback(argument)


class _DedicatedEventLoop(EventLoop):
    """An event loop on a dedicated core: the end of a task is known at its submission.

    Most events of most simulations are of this kind, so it has no processor in between.
    """

    __slots__ = ("_clock", "_free_at", "_generation", "_tasks")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._free_at = 0.0
        self._tasks: deque[tuple[Callback, object]] = deque()
        self._generation = 0
        """Number of cancellations; events of cancelled tasks stay in the queue and are ignored."""

    def submit(self, seconds: float, callback: Callback, argument: object = None) -> None:
        now = self._clock.now
        self._free_at = (self._free_at if self._free_at > now else now) + seconds
        self._tasks.append((callback, argument))
        self._clock.call_at(self._free_at, self._finish_task, self._generation)

    def cancel_all(self) -> list[Any]:
        arguments = [argument for _, argument in self._tasks]
        self._generation += 1
        self._tasks.clear()
        self._free_at = 0.0
        return arguments

    def _finish_task(self, generation: int) -> None:
        if generation == self._generation:
            callback, argument = self._tasks.popleft()
            callback(argument)


@dataclass(frozen=True, slots=True)
class CoreSpeeds:
    """Speed of cores over time, relative to the machine of the measurements: hypervisors take CPU time away."""

    values: tuple[float, ...] = (1.0,)
    """Above 0; the last one holds from its time on."""
    seconds: float = 1.0
    """Duration of each value."""

    def at(self, time: float) -> float:
        """The speed ``time`` seconds after the start."""
        return self.values[min(int(time / self.seconds), len(self.values) - 1)]


class CorePool:
    """The cores of a node, and the run queue of threads that wait for one."""

    def __init__(self, clock: Clock, count: int, slice_seconds: float, speeds: CoreSpeeds) -> None:
        """Idle cores.

        Args:
            clock: the simulation's.
            count: number of cores.
            slice_seconds: time slice of a thread while others wait.
            speeds: of all cores over time.
        """
        self.clock = clock
        self._idle = count
        self._slice_seconds = slice_seconds
        self._speeds = speeds
        self._run_queue: deque[SharedCoreThread] = deque()

    def thread(self) -> SharedCoreThread:
        """A new idle thread."""
        return SharedCoreThread(self)

    def enqueue(self, thread: SharedCoreThread) -> None:
        """Run a thread on an idle core, or put it into the run queue."""
        if self._idle:
            self._idle -= 1
            thread.run(self.clock.now + self._slice_seconds)
        else:
            self._run_queue.append(thread)

    def release(self) -> None:
        """Free a thread's core, and run the next thread on it."""
        self._idle += 1
        if self._run_queue:
            self.enqueue(self._run_queue.popleft())

    @property
    def speed(self) -> float:
        """Seconds of work that a core does per second now."""
        return self._speeds.at(self.clock.now)

    def remove(self, thread: SharedCoreThread) -> None:
        """Take a thread out of the run queue."""
        self._run_queue.remove(thread)

    def next_slice_end(self) -> float | None:
        """End of another time slice for the running thread; None if a thread waits for its core."""
        return None if self._run_queue else self.clock.now + self._slice_seconds


class _State(Enum):
    IDLE = auto()
    WAITING = auto()
    RUNNING = auto()
    IN_CALLBACK = auto()
    """Its time has come, and the callback may ask for more."""


class SharedCoreThread(Processor):
    """A thread on shared cores. Its clock stands while it waits for a core, and runs at the core's speed."""

    __slots__ = (
        "_call_time",
        "_callback",
        "_cores",
        "_cpu_time",
        "_generation",
        "_slice_end",
        "_speed",
        "_state",
        "_updated_at",
    )

    def __init__(self, cores: CorePool) -> None:
        self._cores = cores
        self._state = _State.IDLE
        self._cpu_time = 0.0
        """Seconds, as of ``_updated_at``."""
        self._updated_at = 0.0
        """On the simulation's clock."""
        self._slice_end = 0.0
        self._speed = 1.0
        """Since ``_updated_at``."""
        self._callback: tuple[Callback, object] | None = None
        self._call_time = 0.0
        """When to call it, on this thread's clock."""
        self._generation = 0
        """Number of the valid event; events of replaced calls stay in the queue and are ignored."""

    @property
    def now(self) -> float:
        elapsed = self._cores.clock.now - self._updated_at if self._state is _State.RUNNING else 0.0
        return self._cpu_time + elapsed * self._speed

    def call_at(self, time: float, callback: Callback, argument: object = None) -> None:
        self._callback, self._call_time = (callback, argument), time
        if self._state is _State.IDLE:
            self._state = _State.WAITING
            self._cores.enqueue(self)
        elif self._state is _State.RUNNING:
            self._update()
            self._schedule_pause()

    def cancel(self) -> None:
        self._callback = None
        if self._state is _State.WAITING:
            self._cores.remove(self)
            self._state = _State.IDLE
        elif self._state is _State.RUNNING:
            self._update()
            self._leave_core(_State.IDLE)

    def event_loop(self) -> EventLoop:
        return _SharedEventLoop(self)

    def run(self, slice_end: float) -> None:
        """Begin a time slice that lasts until ``slice_end``."""
        self._state = _State.RUNNING
        self._updated_at = self._cores.clock.now
        self._slice_end = slice_end
        self._schedule_pause()

    def _schedule_pause(self) -> None:
        self._generation += 1
        self._speed = self._cores.speed
        call_time = self._updated_at + max(0.0, self._call_time - self._cpu_time) / self._speed
        self._cores.clock.call_at(min(call_time, self._slice_end), self._pause, self._generation)

    def _pause(self, generation: int) -> None:
        """The time of the call has come, or the time slice has ended."""
        if generation != self._generation:
            return
        self._update()
        if self._callback is not None and self._call_time - self._cpu_time < TIME_TOLERANCE_S:
            self._cpu_time = self._call_time
            self._call()
        if self._callback is None:
            self._leave_core(_State.IDLE)
            return
        if self._slice_end - self._updated_at < TIME_TOLERANCE_S:
            slice_end = self._cores.next_slice_end()
            if slice_end is None:
                self._leave_core(_State.WAITING)
                self._cores.enqueue(self)
                return
            self._slice_end = slice_end
        self._schedule_pause()

    def _call(self) -> None:
        assert self._callback is not None
        (callback, argument), self._callback = self._callback, None
        self._state = _State.IN_CALLBACK
        callback(argument)
        self._state = _State.RUNNING

    def _update(self) -> None:
        """Bring the thread's clock up to date."""
        now = self._cores.clock.now
        self._cpu_time += (now - self._updated_at) * self._speed
        self._updated_at = now

    def _leave_core(self, state: _State) -> None:
        self._generation += 1
        self._state = state
        self._cores.release()


class _SharedEventLoop(EventLoop):
    """An event loop on a processor: the end of a task is known when it begins."""

    __slots__ = ("_processor", "_tasks")

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self._tasks: deque[tuple[float, Callback, object]] = deque()

    def submit(self, seconds: float, callback: Callback, argument: object = None) -> None:
        self._tasks.append((seconds, callback, argument))
        if len(self._tasks) == 1:
            self._begin_task()

    def cancel_all(self) -> list[Any]:
        arguments = [argument for *_, argument in self._tasks]
        self._tasks.clear()
        self._processor.cancel()
        return arguments

    def _begin_task(self) -> None:
        self._processor.call_at(self._processor.now + self._tasks[0][0], self._finish_task)

    def _finish_task(self, _: object) -> None:
        _, callback, argument = self._tasks.popleft()
        if self._tasks:
            self._begin_task()
        callback(argument)
