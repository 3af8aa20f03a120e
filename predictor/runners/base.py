"""The Runner protocol, between the engine and whatever executes the decoder.

A step is launched, then collected. That lets a runner on a device work while the engine looks at the step before:
the engine launches step n+1 before it has read step n's tokens, and names those by their row (see
:attr:`predictor.batch.Batch.decode_sources`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from predictor.batch import Batch, StepOutput

MAX_IN_FLIGHT = 2
"""Most steps that may be launched and not collected, by a runner that runs ahead; by any other it is one."""


class Runner(Protocol):
    """Executes steps and owns the K/V cache. Used by one thread at a time.

    A runner knows slots, tokens and lengths. It never sees a request, a queue or a clock. A step that fails raises
    :class:`predictor.errors.RunnerError` from ``launch`` or from ``collect``; every step in flight is lost with it,
    no slot holds anything afterwards, and the next batch starts with none in use.
    """

    @property
    def slots(self) -> int:
        """Sequences the K/V cache has room for."""
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
        """Runs over the decoder since the start, by kind; empty for a runner that does not tell kinds apart.

        ``graph``: a recorded run was replayed. ``eager``: it was launched kernel by kernel.
        """
        ...

    def launch(self, batch: Batch) -> None:
        """Start one step: read ``batch.prompts`` into their slots and decode one token for ``batch.decode_slots``.

        Steps take effect in the order of their launches. The batch's arrays are not changed afterwards.

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
        """Give back memory and threads. Nothing may be launched afterwards."""
        ...


def execute(runner: Runner, batch: Batch) -> StepOutput:
    """Launch one step and wait for it; nothing else may be in flight.

    Raises:
        RunnerError: the step failed.
    """
    runner.launch(batch)
    return runner.collect()
