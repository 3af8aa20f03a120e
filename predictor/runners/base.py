"""The Runner protocol, between the engine and whatever executes the decoder."""

from __future__ import annotations

from typing import Protocol

from predictor.batch import Batch, StepOutput


class Runner(Protocol):
    """Executes steps and owns the K/V cache. Used by one thread at a time.

    A runner knows slots, tokens and lengths. It never sees a request, a queue or a clock.
    """

    @property
    def slots(self) -> int:
        """Rows of K/V it holds."""
        ...

    @property
    def kv_bytes(self) -> int:
        """Bytes of K/V cache allocated now."""
        ...

    def execute(self, batch: Batch) -> StepOutput:
        """Run one step: read ``batch.prompts`` into their slots and decode one token for ``batch.decode_slots``.

        Returns:
            One row per prompt, then one per decode slot, in the batch's order. Valid until the next call.

        Raises:
            RunnerError: the step failed. The slots' contents are lost; the next batch starts with none in use.
        """
        ...

    def close(self) -> None:
        """Give back memory and threads. Nothing may be executed afterwards."""
        ...
