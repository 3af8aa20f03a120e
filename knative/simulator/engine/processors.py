"""What threads run on: a core of their own, or the cores of a node that all pods share.

A thread sees one clock, the seconds of processor time that it has had, and says until when on that clock it works.
On a core of its own that clock is everybody's. On shared cores threads wait for a core, first come first served, and
give it up after a time slice if another one waits: what Linux does with threads of equal weight, whose wake-up does
not end the slice of the thread that runs (EEVDF with RUN_TO_PARITY, ``kernel/sched/fair.c``, since Linux 6.6).
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
ROUNDING_S = 1e-9
"""Times that differ by less are one."""


class EventLoop(ABC):
    """A thread that does one thing after the other, in the order they came."""

    __slots__ = ()

    @abstractmethod
    def submit(self, seconds: float, what: Callback, argument: object = None) -> None:
        """Have ``seconds`` of processor time spent, then ``what(argument)`` called."""

    @abstractmethod
    def cancel_all(self) -> list[Any]:
        """Forget all there is to do; returns the arguments."""


class Processor(ABC):
    """One thread's processor time."""

    __slots__ = ()

    @property
    @abstractmethod
    def now(self) -> float:
        """Seconds of processor time that the thread has had."""

    @abstractmethod
    def call_at(self, time: float, what: Callback, argument: object = None) -> None:
        """Work until :attr:`now` is ``time``, then call ``what(argument)``, which may give more work.

        Work that was given before and is not done is forgotten.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Work no more, and call nobody."""

    @abstractmethod
    def event_loop(self) -> EventLoop:
        """An event loop that has this processor to itself."""


class DedicatedCore(Processor):
    """A core that nobody else uses. Its clock also runs while the thread has nothing to do."""

    __slots__ = ("_clock", "_number")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._number = 0
        """Of the event that counts: forgotten work leaves its own event behind."""

    @property
    def now(self) -> float:
        return self._clock.now

    def call_at(self, time: float, what: Callback, argument: object = None) -> None:
        self._number += 1
        self._clock.call_at(time, self._done, (self._number, what, argument))

    def cancel(self) -> None:
        self._number += 1

    def event_loop(self) -> EventLoop:
        return _DedicatedEventLoop(self._clock)

    def _done(self, work: tuple[int, Callback, object]) -> None:
        number, what, argument = work
        if number == self._number:
            what(argument)


class _DedicatedEventLoop(EventLoop):
    """On a core of its own everything's end is known when it comes. Most events of most simulations are these."""

    __slots__ = ("_clock", "_drops", "_free_at", "_todo")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._free_at = 0.0
        self._todo: deque[tuple[Callback, object]] = deque()
        self._drops = 0
        """What was dropped leaves its events behind; they know the number before."""

    def submit(self, seconds: float, what: Callback, argument: object = None) -> None:
        now = self._clock.now
        self._free_at = (self._free_at if self._free_at > now else now) + seconds
        self._todo.append((what, argument))
        self._clock.call_at(self._free_at, self._did, self._drops)

    def cancel_all(self) -> list[Any]:
        arguments = [argument for _, argument in self._todo]
        self._drops += 1
        self._todo.clear()
        self._free_at = 0.0
        return arguments

    def _did(self, drops: int) -> None:
        if drops == self._drops:
            what, argument = self._todo.popleft()
            what(argument)


@dataclass(frozen=True, slots=True)
class CoreSpeeds:
    """How fast cores are over time, beside those that work was measured on: others share a virtual machine's."""

    values: tuple[float, ...] = (1.0,)
    """Above 0; the last one goes on."""
    seconds: float = 1.0
    """That each of them lasts."""

    def at(self, time: float) -> float:
        """At so many seconds from the start."""
        return self.values[min(int(time / self.seconds), len(self.values) - 1)]


class CorePool:
    """Some cores, and the threads that wait for one."""

    def __init__(self, clock: Clock, count: int, slice_seconds: float, speeds: CoreSpeeds) -> None:
        """Idle cores.

        Args:
            clock: the simulation's.
            count: how many.
            slice_seconds: how long a thread keeps its core while others wait.
            speeds: of all cores over time.
        """
        self.clock = clock
        self._idle = count
        self._slice_seconds = slice_seconds
        self._speeds = speeds
        self._waiting: deque[SharedCoreThread] = deque()

    def thread(self) -> SharedCoreThread:
        """A new thread without work."""
        return SharedCoreThread(self)

    def enter(self, thread: SharedCoreThread) -> None:
        """Give a thread a core, now or when its turn comes."""
        if self._idle:
            self._idle -= 1
            thread.run(self.clock.now + self._slice_seconds)
        else:
            self._waiting.append(thread)

    def leave(self) -> None:
        """A thread has given up its core."""
        self._idle += 1
        if self._waiting:
            self.enter(self._waiting.popleft())

    @property
    def speed(self) -> float:
        """Seconds of work that a core does in a second now."""
        return self._speeds.at(self.clock.now)

    def forget(self, thread: SharedCoreThread) -> None:
        """A thread does not wait any more."""
        self._waiting.remove(thread)

    def next_slice(self) -> float | None:
        """When a thread's next time slice ends; None if it is another one's turn."""
        return None if self._waiting else self.clock.now + self._slice_seconds


class _State(Enum):
    IDLE = auto()
    WAITING = auto()
    RUNNING = auto()
    CALLING = auto()
    """Its work is done, and who is told of it may give more."""


class SharedCoreThread(Processor):
    """A thread on shared cores. Its clock stands still while it waits for one, and goes at its core's speed."""

    __slots__ = (
        "_cores",
        "_done_at",
        "_number",
        "_since",
        "_slice_ends",
        "_speed",
        "_state",
        "_used",
        "_work",
    )

    def __init__(self, cores: CorePool) -> None:
        self._cores = cores
        self._state = _State.IDLE
        self._used = 0.0
        """Seconds of processor time, up to ``_since``."""
        self._since = 0.0
        """When, on everybody's clock."""
        self._slice_ends = 0.0
        self._speed = 1.0
        """Since ``_since``."""
        self._work: tuple[Callback, object] | None = None
        self._done_at = 0.0
        """When the work is done, on its own clock."""
        self._number = 0
        """Of the event that counts: forgotten work leaves its own event behind."""

    @property
    def now(self) -> float:
        running = self._cores.clock.now - self._since if self._state is _State.RUNNING else 0.0
        return self._used + running * self._speed

    def call_at(self, time: float, what: Callback, argument: object = None) -> None:
        self._work, self._done_at = (what, argument), time
        if self._state is _State.IDLE:
            self._state = _State.WAITING
            self._cores.enter(self)
        elif self._state is _State.RUNNING:
            self._count()
            self._go_on()

    def cancel(self) -> None:
        self._work = None
        if self._state is _State.WAITING:
            self._cores.forget(self)
            self._state = _State.IDLE
        elif self._state is _State.RUNNING:
            self._count()
            self._leave(_State.IDLE)

    def event_loop(self) -> EventLoop:
        return _SharedEventLoop(self)

    def run(self, slice_ends: float) -> None:
        """Work until then at least; it is this thread's turn."""
        self._state = _State.RUNNING
        self._since = self._cores.clock.now
        self._slice_ends = slice_ends
        self._go_on()

    def _go_on(self) -> None:
        self._number += 1
        self._speed = self._cores.speed
        done = self._since + max(0.0, self._done_at - self._used) / self._speed
        self._cores.clock.call_at(min(done, self._slice_ends), self._pause, self._number)

    def _pause(self, number: int) -> None:
        """The work is done, or the slice is over."""
        if number != self._number:
            return
        self._count()
        if self._work is not None and self._done_at - self._used < ROUNDING_S:
            self._used = self._done_at
            self._call()
        if self._work is None:
            self._leave(_State.IDLE)
            return
        if self._slice_ends - self._since < ROUNDING_S:
            following = self._cores.next_slice()
            if following is None:
                self._leave(_State.WAITING)
                self._cores.enter(self)
                return
            self._slice_ends = following
        self._go_on()

    def _call(self) -> None:
        assert self._work is not None
        (what, argument), self._work = self._work, None
        self._state = _State.CALLING
        what(argument)
        self._state = _State.RUNNING

    def _count(self) -> None:
        now = self._cores.clock.now
        self._used += (now - self._since) * self._speed
        self._since = now

    def _leave(self, state: _State) -> None:
        self._number += 1
        self._state = state
        self._cores.leave()


class _SharedEventLoop(EventLoop):
    """When something ends is known once its turn has come."""

    __slots__ = ("_processor", "_todo")

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self._todo: deque[tuple[float, Callback, object]] = deque()

    def submit(self, seconds: float, what: Callback, argument: object = None) -> None:
        self._todo.append((seconds, what, argument))
        if len(self._todo) == 1:
            self._begin()

    def cancel_all(self) -> list[Any]:
        arguments = [argument for *_, argument in self._todo]
        self._todo.clear()
        self._processor.cancel()
        return arguments

    def _begin(self) -> None:
        self._processor.call_at(self._processor.now + self._todo[0][0], self._did)

    def _did(self, _: object) -> None:
        _, what, argument = self._todo.popleft()
        if self._todo:
            self._begin()
        what(argument)
