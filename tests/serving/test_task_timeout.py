"""Cancelling the running task for its time, beside cancellations by others."""

from __future__ import annotations

import asyncio
import sys

import pytest

from protocol.errors import RequestTimeout
from serving.task_timeout import OwnCancellation, TaskTimeout

COUNTS_CANCELLATIONS = sys.version_info >= (3, 11)
"""Before that a task does not tell whether it was cancelled twice."""


def late() -> RequestTimeout:
    return RequestTimeout("late")


async def test_a_block_that_takes_too_long_ends_with_the_error() -> None:
    with pytest.raises(RequestTimeout, match="late"), TaskTimeout(0.01, late):
        await asyncio.Event().wait()
    await asyncio.sleep(0)  # the task goes on


async def test_a_block_that_ends_in_time_keeps_its_result_and_its_errors() -> None:
    limit = TaskTimeout(5.0, late)
    with limit:
        await asyncio.sleep(0)
    with pytest.raises(OSError, match="refused"), limit:
        raise OSError("refused")


async def test_a_limit_that_is_over_ends_the_next_block_at_once() -> None:
    limit = TaskTimeout(0.0, late)
    for _ in range(2):
        with pytest.raises(RequestTimeout), limit:
            await asyncio.Event().wait()


async def test_a_cancellation_by_others_stays_one() -> None:
    async def wait() -> None:
        with TaskTimeout(5.0, late):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_a_cancellation_by_others_at_the_same_moment_is_not_lost() -> None:
    own: list[OwnCancellation] = []

    async def wait() -> None:
        own.append(OwnCancellation())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not own[0].absorb():
                raise

    for by_others in (True, False):
        own.clear()
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        own[0].request()
        if by_others:
            task.cancel()
        await asyncio.wait({task})
        assert task.cancelled() == (by_others and COUNTS_CANCELLATIONS)
