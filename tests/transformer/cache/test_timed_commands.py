"""Time limits of commands on a loop that runs, and on one that stalls."""

from __future__ import annotations

import asyncio
import time

import pytest

from transformer.cache.timed_commands import TimedCommands, current_limit


@pytest.fixture
def taken() -> list[float]:
    return []


@pytest.fixture
def commands(taken: list[float]) -> TimedCommands:
    return TimedCommands(2, taken.append)


async def test_a_command_that_is_not_answered_ends_in_time(commands: TimedCommands) -> None:
    started = time.monotonic()
    with pytest.raises(asyncio.TimeoutError):
        await commands.run(asyncio.Event().wait, 0.1)
    assert 0.08 < time.monotonic() - started < 2.0


async def test_a_stall_of_the_loop_is_no_time_of_the_command(
    commands: TimedCommands, taken: list[float]
) -> None:
    """The answer is in the socket all the time."""

    async def answer_of_a_few_round_trips() -> str:
        for _ in range(3):
            time.sleep(0.3)
            await asyncio.sleep(0)
        return "answer"

    assert await commands.run(answer_of_a_few_round_trips, 0.1) == "answer"
    assert taken[0] < 0.1


async def test_opening_a_connection_has_time_of_its_own_and_is_not_taken_for_a_slow_answer(
    commands: TimedCommands, taken: list[float]
) -> None:
    async def connect_and_ask() -> None:
        limit = current_limit()
        assert limit is not None
        limit.extend_to_connect(5.0)
        await asyncio.sleep(0.15)

    await commands.run(connect_and_ask, 0.05)
    assert taken == [0.0]


async def test_what_is_queued_waits_as_long_as_others_are_answered(
    commands: TimedCommands, taken: list[float]
) -> None:
    await asyncio.gather(*(commands.run(lambda: asyncio.sleep(0.05), 0.5) for _ in range(30)))
    assert len(taken) == 30
    assert max(taken) < 0.5


async def test_what_is_queued_before_a_silent_server_ends_with_what_was_sent(commands: TimedCommands) -> None:
    started = time.monotonic()
    silent = (commands.run(asyncio.Event().wait, 0.1) for _ in range(30))
    ended = await asyncio.gather(*silent, return_exceptions=True)
    assert all(isinstance(each, asyncio.TimeoutError) for each in ended)
    assert time.monotonic() - started < 1.0


async def test_a_caller_that_is_cancelled_cancels_its_command(commands: TimedCommands) -> None:
    ended = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    caller = asyncio.create_task(commands.run(hang, 5.0))
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.wait_for(ended.wait(), 1.0)
    assert caller.cancelled()


async def test_an_error_of_the_command_is_the_callers(commands: TimedCommands, taken: list[float]) -> None:
    async def fail() -> None:
        raise OSError("refused")

    with pytest.raises(OSError, match="refused"):
        await commands.run(fail, 1.0)
    assert taken == []
