"""Groups: the units in which prompts are sent to the predictor, so that one request to it is one unit of work.

What stands between counts requests, not prompts: Knative's autoscaler, its activator, ``containerConcurrency``, the
retry budget. So a request to the predictor has a bounded number of prompts, and one call has a bounded number of
such requests in flight: short calls that arrive meanwhile wait for these at most, not for the whole of a long one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from protocol.messages import GenerateRequest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Grouping:
    """How prompts become requests to the predictor."""

    size: int
    """Most prompts of one request."""
    in_flight: int
    """Most requests that one call has in flight."""


def grouped(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """``items`` in order, as slices of at most ``size``."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def request_groups(request: GenerateRequest, size: int) -> list[GenerateRequest]:
    """``request`` as requests of at most ``size`` prompts each, in order."""
    if len(request.prompts) <= size:
        return [request]
    return [
        replace(
            request,
            prompts=request.prompts[start : start + size],
            max_new_tokens=request.max_new_tokens[start : start + size],
            max_repeats=request.max_repeats[start : start + size],
        )
        for start in range(0, len(request.prompts), size)
    ]


async def run_groups(groups: Sequence[Callable[[], Awaitable[None]]], in_flight: int) -> None:
    """Run ``groups`` in order, at most ``in_flight`` at a time.

    After a failure no further group is started, and those in flight are finished: what they generate is of use.
    Cancellation cancels all that are in flight, and waits until they have ended.

    Raises:
        Exception: the first one that a group failed with.
    """
    if len(groups) == 1:
        await groups[0]()
        return
    run = _GroupRun(iter(groups))
    workers = [asyncio.create_task(run.work()) for _ in range(min(in_flight, len(groups)))]
    try:
        await asyncio.wait(workers)
    finally:
        run.stopped = True
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    if run.error is not None:
        raise run.error


class _GroupRun:
    """The state that the workers of one :func:`run_groups` share."""

    def __init__(self, groups: Iterator[Callable[[], Awaitable[None]]]) -> None:
        self.error: Exception | None = None
        self.stopped = False
        """Set with a failure or a cancellation. Before Python 3.12 ``asyncio.wait_for`` may lose a cancellation."""
        self._groups = groups

    async def work(self) -> None:
        while not self.stopped and (group := next(self._groups, None)) is not None:
            try:
                await group()
            except Exception as error:  # noqa: BLE001  raised by run_groups
                self.stopped = True
                self.error = self.error or error
