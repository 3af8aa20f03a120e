from __future__ import annotations

import asyncio

import pytest

from protocol.codec import InferRequest, infer_from_translate_request
from protocol.errors import CallerGone, InvalidRequest, NotReady
from protocol.messages import TranslateRequest
from serving.disconnect import cancel_on_disconnect
from serving.drain import DrainGate
from tests.serving.echo_server import EchoModel


def request() -> InferRequest:
    return infer_from_translate_request(TranslateRequest(("hi",), (None,), ("de",)), model_name="m")


async def test_the_sdk_may_call_it_as_a_plain_model() -> None:
    model = EchoModel("m")
    response, headers = await model(request(), {"x-request-id": "1"})
    assert response.outputs[0].data == ["hi"]
    assert headers == {}
    with pytest.raises(InvalidRequest):
        await model({"instances": []})


async def test_the_sdk_cannot_make_it_ready_or_reload_it() -> None:
    model = EchoModel("m")
    model.healthy_now = False
    model.start()
    assert not model.load()
    assert not await model.healthy()


async def test_a_caller_that_leaves_cancels_only_its_work() -> None:
    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    with pytest.raises(CallerGone):
        await cancel_on_disconnect(receive, asyncio.sleep(30))
    await asyncio.wait_for(asyncio.sleep(0.01), 5)  # the task itself can go on


async def test_a_caller_that_stays_gets_the_result() -> None:
    never = asyncio.Event()

    async def receive() -> dict[str, str]:
        await never.wait()
        raise AssertionError("nobody leaves")

    assert await cancel_on_disconnect(receive, asyncio.sleep(0.02, "done")) == "done"


async def test_cancelling_the_task_itself_is_no_departure() -> None:
    async def receive() -> dict[str, str]:
        await asyncio.sleep(30)
        return {"type": "http.disconnect"}

    task = asyncio.ensure_future(cancel_on_disconnect(receive, asyncio.sleep(30)))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_draining_gate_lets_out_but_not_in() -> None:
    gate = DrainGate()
    gate.check_open()
    inside = asyncio.ensure_future(asyncio.sleep(0.05))
    gate.enter(inside)
    inside.add_done_callback(gate.leave)
    drained = asyncio.ensure_future(gate.drain(5))
    await asyncio.sleep(0)
    with pytest.raises(NotReady):
        gate.check_open()
    assert await drained
    assert not gate.has_cancelled(inside)


async def test_an_empty_gate_drains_at_once() -> None:
    assert await asyncio.wait_for(DrainGate().drain(30), 1)
