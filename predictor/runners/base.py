"""The runner protocol: what the engine needs of a library that executes the decoder.

A step is launched, then collected, so that a device works while the engine processes the step before: the engine
launches step n+1 before it has collected step n, and refers to step n's tokens by row (see
:attr:`predictor.batch.Batch.decode_sources`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from predictor.batch import Batch, StepOutput

MAX_IN_FLIGHT = 2
"""Most steps in flight of a runner that runs ahead; of any other it is one."""


class Runner(Protocol):
    """Executes steps and owns the K/V cache. Used by one thread at a time.

    A runner knows slots, tokens and lengths, but no request, queue or clock. A step that fails raises
    :class:`predictor.errors.RunnerError` from ``launch`` or from ``collect``; every step in flight is lost with it,
    all slots are empty afterwards, and the next batch uses none of them for decodes.
    """

    @property
    def slots(self) -> int:
        """Sequences that the K/V cache has room for."""
        ...

    @property
    def kv_bytes(self) -> int:
        """Bytes of K/V cache allocated now."""
        ...

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of K/V that one token of one sequence takes, over all layers."""
        ...

    @property
    def runs_ahead(self) -> bool:
        """Whether a second step may be launched before the first is collected, with sources into that one."""
        ...

    @property
    def launches(self) -> Mapping[str, int]:
        """Passes over the decoder since the start, by kind; empty for a runner with one kind.

        ``graph``: a captured CUDA graph was launched. ``eager``: its kernels were launched one by one.
        """
        ...

    def launch(self, batch: Batch) -> None:
        """Start one step: read ``batch.prompts`` into their slots and decode one token for ``batch.decode_slots``.

        ``batch.held_slots`` keep their K/V. Steps take effect in the order of their launches. The batch's arrays are
        not changed afterwards.

        Raises:
            RunnerError: see the class.
        """
        ...

    def collect(self) -> StepOutput:
        """Wait for the oldest launched step.

        Returns:
            One row per prompt, then one per decode slot, in the batch's order. Valid until the next launch or
            collect.

        Raises:
            RunnerError: see the class.
        """
        ...

    def close(self) -> None:
        """Free memory and threads. Nothing may be launched afterwards."""
        ...


def execute(runner: Runner, batch: Batch) -> StepOutput:
    """Launch one step and wait for it; nothing else may be in flight.

    Raises:
        RunnerError: the step failed.
    """
    runner.launch(batch)
    return runner.collect()
