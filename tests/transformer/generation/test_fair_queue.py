"""The fair queue: who is served when, without any clock."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from transformer.generation.fair_queue import FairQueue, Work


async def serve(queue: FairQueue, *arrivals: tuple[str, int, int]) -> list[str]:
    """The order in which (caller, weight, cost) units of work that wait at once are served, one at a time."""
    order: list[str] = []

    async def work(caller: str, weight: int, cost: int) -> None:
        async with queue.slot(Work(caller, weight, cost)):
            order.append(caller)
            await asyncio.sleep(0)

    await asyncio.gather(*(work(*arrival) for arrival in arrivals))
    return order


async def test_one_text_goes_before_anothers_many() -> None:
    order = await serve(FairQueue(1), *[("many", 1, 10)] * 100, ("one", 1, 10))
    assert order.index("one") <= 2


async def test_equal_callers_take_turns() -> None:
    order = await serve(FairQueue(1), *[("a", 1, 1)] * 20, *[("b", 1, 1)] * 20)
    assert Counter(order[:20]) == Counter(a=10, b=10)


async def test_a_weight_of_three_gets_three_times_the_share() -> None:
    order = await serve(FairQueue(1), *[("a", 3, 1)] * 40, *[("b", 1, 1)] * 40)
    assert Counter(order[:40])["a"] == pytest.approx(30, abs=1)


async def test_costs_count_not_units() -> None:
    order = await serve(FairQueue(1), *[("large", 1, 4)] * 20, *[("small", 1, 1)] * 40)
    assert Counter(order[:25])["small"] == pytest.approx(20, abs=2)


async def test_idling_earns_nothing() -> None:
    queue = FairQueue(1)
    await serve(queue, *[("busy", 1, 1)] * 50)
    order = await serve(queue, *[("busy", 1, 1)] * 10, *[("late", 1, 1)] * 10)
    assert Counter(order[:10]) == Counter(busy=5, late=5)


async def test_no_more_than_the_slots_run_at_once() -> None:
    queue, running, most = FairQueue(3), 0, 0

    async def work(number: int) -> None:
        nonlocal running, most
        async with queue.slot(Work(str(number % 4), 1, 1)):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(work(number) for number in range(50)))
    assert (most, running, queue.waiting) == (3, 0, 0)


async def settled() -> None:
    """Give every task its turn."""
    for _ in range(5):
        await asyncio.sleep(0)


async def hold(queue: FairQueue, caller: str, marks: list[bool], weight: int = 1, slots: int = 1) -> None:
    """Hold a slot until cancelled; what it was told of its share is added to ``marks``."""
    async with queue.slot(Work(caller, weight, 10, slots)) as is_within_share:
        marks.append(is_within_share)
        await asyncio.Event().wait()


async def test_a_flood_leaves_slots_to_those_who_have_none() -> None:
    queue, flood, others = FairQueue(8), list[bool](), list[bool]()
    tasks = [asyncio.create_task(hold(queue, "flood", flood)) for _ in range(20)]
    await settled()
    assert (len(flood), queue.waiting) == (6, 14)
    tasks += [asyncio.create_task(hold(queue, caller, others)) for caller in ("a", "a", "b", "c")]
    await settled()
    assert len(others) == 2  # one of a and one of b; their second ones and c's wait for a slot of the flood
    for task in tasks[:2]:
        task.cancel()
    await settled()
    assert (len(flood), len(others)) == (6, 3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert queue.waiting == 0


async def test_what_exceeds_a_callers_share_is_bulk() -> None:
    queue, flood, small, heavy = FairQueue(16), list[bool](), list[bool](), list[bool]()
    tasks = [asyncio.create_task(hold(queue, "flood", flood)) for _ in range(9)]
    await settled()
    tasks += [asyncio.create_task(hold(queue, "small", small))]
    tasks += [asyncio.create_task(hold(queue, "heavy", heavy, weight=100)) for _ in range(2)]
    await settled()
    assert flood == [True] * 2 + [False] * 7
    assert (small, heavy) == ([True], [True] * 2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_groups_take_a_slot_for_each_text() -> None:
    queue, flood, small = FairQueue(32), list[bool](), list[bool]()
    tasks = [asyncio.create_task(hold(queue, "flood", flood, slots=8)) for _ in range(9)]
    await settled()
    assert flood == [False] * 3  # 24 of 32: a quarter is kept
    tasks += [asyncio.create_task(hold(queue, f"small {number}", small)) for number in range(20)]
    await settled()
    assert small == [True] * 8
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert queue.waiting == 0


async def test_work_that_is_larger_than_all_slots_is_let_through_alone() -> None:
    queue, marks = FairQueue(4), list[bool]()
    tasks = [asyncio.create_task(hold(queue, caller, marks, slots=8)) for caller in "ab"]
    await settled()
    assert marks == [False]
    tasks[0].cancel()
    await settled()
    assert marks == [False, False]
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_large_work_is_passed_by_small_work_but_not_for_ever() -> None:
    queue, order = FairQueue(8), list[str]()

    async def work(caller: str, slots: int) -> None:
        async with queue.slot(Work(caller, 1, slots, slots)):
            order.append(caller)
            await asyncio.sleep(0)

    marks = list[bool]()
    holder = asyncio.create_task(hold(queue, "holder", marks, slots=4))
    await settled()
    tasks = [asyncio.create_task(work("large", 6))]
    await settled()
    for number in range(30):
        tasks.append(asyncio.create_task(work(f"small {number}", 1)))
        await settled()
    assert (len(order), "large" in order) == (8, False)
    holder.cancel()
    await asyncio.gather(holder, *tasks, return_exceptions=True)
    assert order[8] == "large"
    assert len(order) == 31


async def test_one_that_is_cancelled_while_it_waits_leaves_its_place() -> None:
    queue = FairQueue(1)
    entered = asyncio.Event()

    async def hold() -> None:
        async with queue.slot(Work("a", 1, 1)):
            entered.set()
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    await entered.wait()
    waiters = [asyncio.create_task(serve(queue, ("b", 1, 1))) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    holder.cancel()
    done = await asyncio.gather(holder, *waiters, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, True, False, False]
    assert await serve(queue, ("c", 1, 1)) == ["c"]


async def test_a_slot_handed_to_one_that_is_cancelled_goes_on_to_the_next() -> None:
    queue = FairQueue(1)
    entered = asyncio.Event()
    release = asyncio.Event()

    async def hold() -> None:
        async with queue.slot(Work("a", 1, 1)):
            entered.set()
            await release.wait()

    holder = asyncio.create_task(hold())
    await entered.wait()
    first, second = (asyncio.create_task(serve(queue, (name, 1, 1))) for name in "bc")
    await asyncio.sleep(0)
    release.set()
    await holder  # hands the slot to the first
    first.cancel()
    assert await second == ["c"]


async def test_no_slots_means_no_limit() -> None:
    assert len(await serve(FairQueue(0), *[("a", 1, 1)] * 100)) == 100
