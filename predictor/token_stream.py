"""Tokens on their way from the engine's thread to a coroutine that sends them.

The engine never waits for a reader: deltas pile up, at most ``max_new_tokens`` of them, and a reader that comes late
gets those of one prompt in one piece. ``model`` reads, ``llm_engine`` publishes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from concurrent.futures import Future
from contextlib import suppress

from protocol.messages import FinishReason, GenerateResponse, GenerationEnd, TokenDelta


class TokenStream:
    """Deltas of one request. Made and read on one event loop, published to from any one thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._deltas: deque[TokenDelta] = deque()
        self._announced = False
        """Whether the loop was told of deltas that it has not taken yet, so that it is woken once for many."""

    def publish(self, delta: TokenDelta) -> None:
        """Take in a delta; never blocks. As :class:`predictor.sequence.Subscriber` has it."""
        self._deltas.append(delta)
        self._announce()

    async def follow(self, future: Future[GenerateResponse]) -> AsyncGenerator[TokenDelta, None]:
        """Deltas until ``future`` resolves, then the ends of those that the deadline cut.

        Leaving early, by closing the iterator or being cancelled, cancels ``future``, which frees the slots.

        Args:
            future: of the request that publishes here.

        Raises:
            YiwenError: what the future raises, after the deltas that came before it.
        """
        future.add_done_callback(lambda _: self._announce())
        try:
            done = False
            while not done:
                await self._ready.wait()
                self._ready.clear()
                # In this order: what comes after the flag is lowered announces itself again, and what was
                # published before the future resolved is taken below.
                self._announced = False
                done = future.done()
                for delta in merge_deltas(self._take()):
                    yield delta
            for delta in _cut_by_deadline(future.result()):
                yield delta
        finally:
            future.cancel()

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            with suppress(RuntimeError):  # the loop is closed: nobody reads any more
                self._loop.call_soon_threadsafe(self._ready.set)

    def _take(self) -> list[TokenDelta]:
        taken = []
        while self._deltas:
            taken.append(self._deltas.popleft())
        return taken


def merge_deltas(deltas: Iterable[TokenDelta]) -> list[TokenDelta]:
    """One delta for each prompt in ``deltas``, in order of first appearance."""
    merged: dict[int, TokenDelta] = {}
    for delta in deltas:
        before = merged.get(delta.index)
        if before is not None:
            delta = TokenDelta(
                delta.index, before.token_ids + delta.token_ids, before.logprobs + delta.logprobs, delta.end
            )
        merged[delta.index] = delta
    return list(merged.values())


def _cut_by_deadline(response: GenerateResponse) -> list[TokenDelta]:
    """Ends that no token brought: the engine publishes with tokens only."""
    return [
        TokenDelta(index, (), (), GenerationEnd(answer.logprob, answer.finish_reason, response.release))
        for index, answer in enumerate(response.generations)
        if answer.finish_reason is FinishReason.DEADLINE
    ]
