from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from starlette.types import Message, Receive

from protocol.error_codes import ErrorCode
from protocol.errors import Overloaded
from serving.body_budget import SMALL_BYTES, BodyBudget


def receiving(parts: Sequence[bytes]) -> Receive:
    waiting = list(parts)

    async def receive() -> Message:
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    return receive


async def test_bodies_beyond_the_budget_are_refused_until_others_end() -> None:
    budget = BodyBudget(10 * SMALL_BYTES)
    large = b"x" * 6 * SMALL_BYTES
    with budget.counting(receiving([large])) as first:
        assert (await first())["body"] == large
        with budget.counting(receiving([large])) as second:
            with pytest.raises(
                Overloaded, match=f"{10 * SMALL_BYTES} bytes.*YIWEN_MAX_BODIES_BYTES"
            ) as caught:
                await second()
            assert (caught.value.code, caught.value.retry_after_s) == (ErrorCode.BODIES_FULL, 1.0)
            with budget.counting(receiving([b"x" * SMALL_BYTES])) as small:
                await small()  # a small one is always taken
    with budget.counting(receiving([large])) as third:
        await third()


async def test_a_body_is_refused_as_soon_as_it_is_too_much() -> None:
    budget = BodyBudget(3 * SMALL_BYTES)
    with budget.counting(receiving([b"x" * SMALL_BYTES] * 5)) as receive:
        for _ in range(3):
            await receive()
        with pytest.raises(Overloaded):
            await receive()


async def test_between_two_large_bodies_the_event_loop_serves_others() -> None:
    budget, order = BodyBudget(1), list[str]()

    async def decode(name: str, size: int) -> None:
        await budget.turn(size)
        order.append(name)

    async def probe() -> None:
        for _ in range(8):
            order.append("probe")
            await asyncio.sleep(0)

    await asyncio.gather(*(decode(name, SMALL_BYTES + 1) for name in "abc"), decode("small", 1), probe())
    assert [name for name in order if name != "probe"] == ["small", "a", "b", "c"]
    assert order.index("b") - order.index("a") > 1
    assert order.index("c") - order.index("b") > 1
