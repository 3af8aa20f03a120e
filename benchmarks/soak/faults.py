"""The faults of a soak, one at a time. The second process of each kind suffers; the first shows what piles up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Awaitable, Callable, Mapping

import aiohttp

from benchmarks.soak.stack import Process, Stack
from benchmarks.transformer_stages.setting import MODEL, SOURCE, TARGET

STOPPED_S = 8.0
DOWN_S = 5.0
PRE_STOP_S = 1.0
HELD_S = 20.0
HELD = 50
LEAVING = 40
INFER = f"/v2/models/{MODEL}/infer"
HOSTILE: Mapping[str, str] = {
    "one long text of addresses": "http://a.b/ " * 500_000,
    "one long text of tags": "<b>" * 1_000_000,
    "one long word": "x" * 4_000_000,
}


async def kill_predictor(stack: Stack) -> None:
    """SIGKILL a predictor; another starts five seconds later."""
    await _replace(stack, stack.predictors.processes[1], signal.SIGKILL)


async def end_predictor(stack: Stack) -> None:
    """SIGTERM a predictor, which drains; another starts."""
    await _replace(stack, stack.predictors.processes[1], signal.SIGTERM)


async def end_transformer(stack: Stack) -> None:
    """SIGTERM a transformer, which drains; another starts."""
    await _replace(stack, stack.transformers.processes[1], signal.SIGTERM)


async def stall_predictor(stack: Stack) -> None:
    """Stop a predictor for eight seconds, and let it go on."""
    await _stall(stack.predictors.processes[1])


async def stall_redis(stack: Stack) -> None:
    """Stop Redis for eight seconds, and let it go on."""
    await _stall(stack.redis)


async def kill_redis(stack: Stack) -> None:
    """SIGKILL Redis; an empty one starts five seconds later."""
    stack.redis.signal(signal.SIGKILL)
    await stack.redis.ended()
    await asyncio.sleep(DOWN_S)
    stack.redis.start()


async def leave(stack: Stack) -> None:
    """Forty callers of streams close their connections after the first bytes."""
    await asyncio.gather(*(_leave(stack.transformers.processes[0], number) for number in range(LEAVING)))


async def hold(stack: Stack) -> None:
    """Fifty half-sent heads and fifty half-sent bodies, held for twenty seconds."""
    head = f"POST {INFER} HTTP/1.1\r\nHost: soak\r\n"
    body = f"{head}Content-Length: 100000\r\nContent-Type: application/json\r\n\r\n{{"
    process = stack.transformers.processes[0]
    await asyncio.gather(*(_hold(process, part) for part in (head, body) for _ in range(HELD)))


async def hostile(stack: Stack) -> None:
    """Texts of megabytes, which are refused.

    Raises:
        RuntimeError: one was not.
    """
    async with aiohttp.ClientSession() as session:
        for name, text in HOSTILE.items():
            tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
            content = json.dumps({"inputs": [tensor], "parameters": {"source": SOURCE, "target": TARGET}})
            url = f"{stack.transformers.processes[0].url}{INFER}"
            async with session.post(url, data=content) as answer:
                if answer.status != 413:
                    raise RuntimeError(f"{name} got {answer.status}, not 413")


FAULTS: tuple[Callable[[Stack], Awaitable[None]], ...] = (
    kill_predictor,
    stall_redis,
    end_transformer,
    leave,
    kill_redis,
    end_predictor,
    hold,
    stall_predictor,
    hostile,
)


async def _replace(stack: Stack, process: Process, number: signal.Signals) -> None:
    if number is signal.SIGTERM:
        # As in a cluster: the pod leaves its Service, and the preStop hook waits until all have heard of it.
        process.is_ending = True
        await asyncio.sleep(PRE_STOP_S)
    process.signal(number)
    await process.ended()
    process.is_ready = process.is_ending = False
    await asyncio.sleep(DOWN_S)
    process.start()
    await stack.ready(process)


async def _stall(process: Process) -> None:
    process.signal(signal.SIGSTOP)
    await asyncio.sleep(STOPPED_S)
    process.signal(signal.SIGCONT)


async def _leave(process: Process, number: int) -> None:
    text = " ".join(f"Sentence {place} of caller {number}." for place in range(30))
    body = json.dumps({"text_input": text, "parameters": {"source": SOURCE, "target": TARGET}})
    head = f"POST /v2/models/{MODEL}/generate_stream HTTP/1.1\r\nHost: soak\r\nContent-Length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    writer.write((head + body).encode())
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(reader.read(200), 10.0)
    writer.transport.abort()


async def _hold(process: Process, part: str) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", process.port)
    writer.write(part.encode())
    await asyncio.sleep(HELD_S)
    writer.close()
