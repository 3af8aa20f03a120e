"""What the reader of a token stream has, so that the stream can be sent again after its predictor went down."""

from __future__ import annotations

from dataclasses import replace

from protocol.messages import TokenDelta


class StreamPrefix:
    """The token ids of each prompt that were passed on, and how many of them came again since the last restart.

    The same prompt, sampling parameters and release give the same tokens (:class:`protocol.messages.SamplingParams`),
    so a second stream begins with what the first one gave.
    """

    def __init__(self, prompts: int) -> None:
        """Nothing was passed on yet.

        Args:
            prompts: number of prompts in the request.
        """
        self._passed_on: list[list[int]] = [[] for _ in range(prompts)]
        self._has_ended = [False] * prompts
        self._came_again = [0] * prompts

    def restart(self) -> None:
        """The stream is sent again, from its beginning."""
        self._came_again = [0] * len(self._passed_on)

    def remainder(self, delta: TokenDelta) -> TokenDelta | None:
        """The part of ``delta`` that the reader does not have; None if it has all of it.

        Raises:
            ValueError: the ids differ from those that were passed on.
        """
        known, start = self._passed_on[delta.index], self._came_again[delta.index]
        again = known[start : start + len(delta.token_ids)]
        if delta.token_ids[: len(again)] != tuple(again):
            raise ValueError("the stream that was sent again differs from the first one")
        self._came_again[delta.index] = start + len(delta.token_ids)
        known.extend(delta.token_ids[len(again) :])
        if self._has_ended[delta.index] or (len(again) == len(delta.token_ids) and delta.end is None):
            return None
        self._has_ended[delta.index] = delta.end is not None
        if not again:
            return delta
        return replace(delta, token_ids=delta.token_ids[len(again) :], logprobs=delta.logprobs[len(again) :])
