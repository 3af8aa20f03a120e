"""How many tokens a request had generated, counted at the way to the predictor.

What a request takes shows only there, below the cache, shared generations and second attempts, none of which need to
know. So it is counted into the tally of whoever asks, as asyncio's context has it: tasks that a request starts count
for it, and one that waits for another's generation counts nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from protocol.messages import GenerateRequest, GenerateResponse, TokenDelta
from transformer.predictors.interface import StreamingPredictor
from transformer.predictors.readiness import ColdStartStatus


@dataclass(slots=True)
class TokenUsage:
    """Running total of one request."""

    generated_tokens: int = 0


_tally: ContextVar[TokenUsage | None] = ContextVar("tally", default=None)


@contextmanager
def counting(tally: TokenUsage) -> Iterator[None]:
    """Count what is generated inside, and in tasks that are started inside, into ``tally``."""
    token = _tally.set(tally)
    try:
        yield
    finally:
        _tally.reset(token)


class CountedPredictor:
    """A predictor whose tokens are counted."""

    def __init__(self, predictor: StreamingPredictor) -> None:
        self._predictor = predictor

    async def generate(self, request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        """Have prompts continued."""
        response = await self._predictor.generate(request, headers)
        _count(sum(len(generation.token_ids) for generation in response.generations))
        return response

    async def stream(
        self, request: GenerateRequest, headers: Mapping[str, str]
    ) -> AsyncGenerator[TokenDelta | ColdStartStatus, None]:
        """Have prompts continued, token by token."""
        async with aclosing(self._predictor.stream(request, headers)) as items:
            async for item in items:
                if isinstance(item, TokenDelta):
                    _count(len(item.token_ids))
                yield item


def _count(tokens: int) -> None:
    tally = _tally.get()
    if tally is not None:
        tally.generated_tokens += tokens
