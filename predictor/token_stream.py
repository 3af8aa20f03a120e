"""A queue of token deltas from the engine's thread to the coroutine that sends them.

The engine never waits for the reader: at most ``max_new_tokens`` deltas are queued, and a slow reader gets those of
one prompt merged. ``llm_engine`` publishes, ``model`` reads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from concurrent.futures import Future
from contextlib import suppress

from protocol.messages import FinishReason, GenerateResponse, GenerationEnd, TokenDelta


class TokenStream:
    """The deltas of one request. Created and read on one event loop, published to by one thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._deltas: deque[TokenDelta] = deque()
        self._notified = False
        """Whether the event loop was woken for deltas that it has not taken yet, so that one wake-up serves many."""

    def publish(self, delta: TokenDelta) -> None:
        """See :meth:`predictor.sequence.Subscriber.publish`."""
        self._deltas.append(delta)
        self._notify()

    async def follow(self, future: Future[GenerateResponse]) -> AsyncGenerator[TokenDelta, None]:
        """Yield deltas until ``future`` resolves, then the ends of the sequences that the deadline ended.

        Closing the iterator early, or cancelling it, cancels ``future``, which frees the slots.

        Args:
            future: of the request that publishes here.

        Raises:
            YiwenError: what the future raises, after the deltas that came before it.
        """
        future.add_done_callback(lambda _: self._notify())
        try:
            done = False
            while not done:
                await self._ready.wait()
                self._ready.clear()
                # In this order: a delta published after the flag is cleared notifies again, and one published
                # before the future resolved is taken below.
                self._notified = False
                done = future.done()
                for delta in merge_deltas(self._take()):
                    yield delta
            for delta in _deadline_ends(future.result()):
                yield delta
        finally:
            future.cancel()

    def _notify(self) -> None:
        if not self._notified:
            self._notified = True
            with suppress(RuntimeError):  # the loop is closed: there is no reader
                self._loop.call_soon_threadsafe(self._ready.set)

    def _take(self) -> list[TokenDelta]:
        taken = []
        while self._deltas:
            taken.append(self._deltas.popleft())
        return taken


def merge_deltas(deltas: Iterable[TokenDelta]) -> list[TokenDelta]:
    """Merge the deltas of each prompt into one, in order of first appearance."""
    merged: dict[int, TokenDelta] = {}
    for delta in deltas:
        before = merged.get(delta.index)
        if before is not None:
            delta = TokenDelta(
                delta.index, before.token_ids + delta.token_ids, before.logprobs + delta.logprobs, delta.end
            )
        merged[delta.index] = delta
    return list(merged.values())


def _deadline_ends(response: GenerateResponse) -> list[TokenDelta]:
    """Ends of sequences that the deadline ended: the engine publishes nothing for these."""
    return [
        TokenDelta(index, (), (), GenerationEnd(answer.logprob, answer.finish_reason, response.release))
        for index, answer in enumerate(response.generations)
        if answer.finish_reason is FinishReason.DEADLINE
    ]
