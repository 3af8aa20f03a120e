"""The TensorRT backend, a :class:`predictor.runners.segmented.SegmentBackend` on an NVIDIA GPU.

A step of decodes alone launches the CUDA graph that was captured for the next larger number of rows; a step with
prompts launches operation by operation. Both are asynchronous; :meth:`TensorRtBackend.collect` waits. The token ids
of the newest step stay on the GPU, where the next step reads them.

The backend decides: graph or not, order of rows, what a failure means. ``program`` has the order of operations,
``inputs`` the numbers that the host sends, ``device`` the CUDA calls.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from predictor.batch import StepOutput
from predictor.errors import RunnerError
from predictor.plan import OptimizationProfile
from predictor.runners.base import MAX_IN_FLIGHT
from predictor.runners.segmented import Chunk, Int32s, StepPass, output_rows
from predictor.runners.tensorrt.step.buckets import bucket_for, decode_buckets
from predictor.runners.tensorrt.step.inputs import PADDING_SLOT, TILE_FIELDS, InputLayout, pack, tile_table
from predictor.runners.tensorrt.step.program import Operations, PassShape, run_pass

Candidates = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]

logger = logging.getLogger(__name__)


class Device(Operations, Protocol):
    """The GPU as the backend sees it. Its own errors are :class:`predictor.errors.RunnerError`."""

    @property
    def layers(self) -> int: ...

    @property
    def slots(self) -> int: ...

    @property
    def capacity(self) -> int:
        """Tokens of a slot."""
        ...

    @property
    def kv_bytes(self) -> int: ...

    @property
    def tile_rows(self) -> int:
        """Most prompt rows of a tile."""
        ...

    @property
    def input_layout(self) -> InputLayout:
        """Layout of the numbers in :meth:`staging`."""
        ...

    def attach(self) -> None:
        """Make the device current for the calling thread."""
        ...

    def staging(self) -> Int32s:
        """Host memory for the next pass's numbers; no copy reads it any more."""
        ...

    def upload(self, numbers: int) -> None:
        """Start to copy the first ``numbers`` of what :meth:`staging` returned last."""
        ...

    def begin_pass(self, *, tiles: int, first_output: int, graph: int | None) -> None:
        """Set what the next operations refer to.

        Args:
            tiles: of prompt rows.
            first_output: row of the step's output where the pass's begin.
            graph: the bucket whose graph captures them, or None.
        """
        ...

    def save_previous_ids(self) -> None:
        """Copy the previous step's ids to where this step does not overwrite them."""
        ...

    def capture(self, bucket: int, work: Callable[[], None]) -> None:
        """Capture the operations of ``work`` as the graph of a bucket."""
        ...

    def replay(self, bucket: int) -> None:
        """Launch the graph of a bucket."""
        ...

    def download(self, outputs: int) -> int:
        """Start to copy the step's output to the host; returns a ticket. The last three stay valid."""
        ...

    def output(self, ticket: int, outputs: int) -> Candidates:
        """Wait for a download: ids and log-probabilities, [outputs, K] each."""
        ...

    def synchronize(self) -> None:
        """Wait for all work; raises if the device is broken."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _StepInFlight:
    """A step in flight."""

    ticket: int
    width: int
    """Computed rows, padding included."""
    row_order: Int32s | None
    """[rows] computed row of each output row, or None if they are in order."""
    rows: int


class TensorRtBackend:
    """Launches steps on a :class:`Device`."""

    runs_ahead = True

    def __init__(self, device: Device, *, max_tokens: int, max_rows: int) -> None:
        """Take ownership of ``device``: closing the backend closes it."""
        self._device = device
        self._max_tokens = max_tokens
        self._max_rows = max_rows
        self._buckets: tuple[int, ...] = ()
        self._in_flight: deque[_StepInFlight] = deque()
        self._previous: _StepInFlight | None = None
        """The step launched last, which the next step's sources refer to."""
        self._thread = threading.get_ident()
        self._broken = ""
        """Why nothing can be launched any more; "" while it can."""
        self._launches = {"graph": 0, "eager": 0}

    @property
    def slots(self) -> int:
        return self._device.slots

    @property
    def kv_bytes(self) -> int:
        return self._device.kv_bytes

    @property
    def kv_bytes_per_token(self) -> int:
        return self._device.kv_bytes // (self._device.slots * self._device.capacity)

    @property
    def launches(self) -> Mapping[str, int]:
        return self._launches

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    @property
    def max_rows(self) -> int:
        return self._max_rows

    def prepare(self, profiles: Sequence[OptimizationProfile]) -> None:
        """Run and capture a decode step of every bucket, and run a prompt in every profile.

        TensorRT and CUDA load code when a shape first runs; no request should wait for that.

        Raises:
            RunnerError: the device failed.
        """
        started = time.monotonic()
        for profile in profiles:
            tokens = min(profile.max, self._max_tokens)
            step_pass = _prompt_pass(tokens, min(tokens, self._device.capacity))
            self._start_pass(step_pass, step_pass.sources, 0)
        buckets = decode_buckets(min(self.slots, self._max_tokens, self._max_rows))
        for bucket in reversed(buckets):
            self._capture(bucket)
        self._device.synchronize()
        self._buckets = buckets
        facts = {"graphs": len(buckets), "rows": buckets[-1], "seconds": round(time.monotonic() - started, 2)}
        logger.info("CUDA graphs captured", extra={"fields": facts})

    def launch(self, passes: tuple[StepPass, ...]) -> None:
        """See :meth:`predictor.runners.segmented.SegmentBackend.launch`."""
        if self._broken:
            raise RunnerError(f"the GPU failed earlier and needs a new process: {self._broken}")
        if len(self._in_flight) == MAX_IN_FLIGHT:
            raise RunnerError(f"{MAX_IN_FLIGHT} steps are in flight: collect one first")
        try:
            if self._thread != threading.get_ident():
                self._device.attach()
                self._thread = threading.get_ident()
            launched = self._launch(passes)
        except RunnerError:
            self._fail()
            raise
        self._previous = launched
        self._in_flight.append(launched)

    def collect(self) -> StepOutput:
        """See :meth:`predictor.runners.segmented.SegmentBackend.collect`."""
        if not self._in_flight:
            raise RunnerError("no step is in flight")
        step = self._in_flight.popleft()
        try:
            ids, logprobs = self._device.output(step.ticket, step.width)
        except RunnerError:
            self._fail()
            raise
        rows = slice(step.rows) if step.row_order is None else step.row_order
        return StepOutput(ids[rows].copy(), logprobs[rows].copy())

    def close(self) -> None:
        self._in_flight.clear()
        if not self._broken:  # a broken GPU takes no more calls; the process frees its memory
            self._device.close()

    def _launch(self, passes: tuple[StepPass, ...]) -> _StepInFlight:
        rows = output_rows(passes)
        sources = [self._computed_rows(step_pass.sources) for step_pass in passes]
        if len(passes) == 1 and not passes[0].chunks:
            bucket = bucket_for(passes[0].tokens, self._buckets)
            if bucket is not None:
                return self._replay(passes[0], sources[0], bucket)
        if any((wanted >= 0).any() for wanted in sources[1:]):
            self._device.save_previous_ids()
        done = 0
        for step_pass, wanted in zip(passes, sources, strict=True):
            self._start_pass(step_pass, wanted, done)
            done += len(step_pass.out_rows)
        self._launches["eager"] += len(passes)
        order = (
            np.concatenate([step_pass.output_rows for step_pass in passes])
            if passes
            else np.empty(0, np.int32)
        )
        row_order = np.empty(rows, np.int32)
        row_order[order] = np.arange(rows)
        return _StepInFlight(self._device.download(rows), rows, row_order, rows)

    def _replay(self, step_pass: StepPass, sources: Int32s, bucket: int) -> _StepInFlight:
        self._upload(step_pass, sources, _NO_TILES, tokens=bucket)
        self._device.replay(bucket)
        self._launches["graph"] += 1
        return _StepInFlight(self._device.download(bucket), bucket, None, step_pass.tokens)

    def _start_pass(self, step_pass: StepPass, sources: Int32s, first_output: int) -> None:
        tiles = tile_table(step_pass, self._device.tile_rows) if step_pass.chunks else _NO_TILES
        rows = len(step_pass.out_rows)
        self._upload(step_pass, sources, tiles, tokens=step_pass.tokens)
        self._device.begin_pass(tiles=len(tiles), first_output=first_output, graph=None)
        shape = PassShape(step_pass.tokens, step_pass.decodes, rows, gathers=0 < rows < step_pass.tokens)
        run_pass(self._device, shape, self._device.layers)

    def _capture(self, bucket: int) -> None:
        """Run a step of padding rows, then capture it."""
        nothing = np.empty(0, np.int32)
        padding = StepPass(nothing, nothing, nothing, nothing, 0, (), nothing, nothing)
        shape = PassShape(bucket, bucket, bucket, gathers=False)
        self._upload(padding, nothing, _NO_TILES, tokens=bucket)
        self._device.begin_pass(tiles=0, first_output=0, graph=bucket)
        run_pass(self._device, shape, self._device.layers)
        self._device.capture(bucket, lambda: run_pass(self._device, shape, self._device.layers))

    def _upload(self, step_pass: StepPass, sources: Int32s, tiles: Int32s, *, tokens: int) -> None:
        staging = self._device.staging()
        self._device.upload(
            pack(step_pass, sources, tiles, self._device.input_layout, staging, tokens=tokens)
        )

    def _computed_rows(self, sources: Int32s) -> Int32s:
        """Translate rows of the previous step's output to rows in the order of its computation."""
        if self._previous is None or self._previous.row_order is None or not len(self._previous.row_order):
            return sources
        return np.where(sources >= 0, self._previous.row_order[sources], -1).astype(np.int32)

    def _fail(self) -> None:
        """Discard the steps in flight and check whether the device still works."""
        self._in_flight.clear()
        self._previous = None
        try:
            self._device.synchronize()
        except RunnerError as error:
            self._broken = str(error)


_NO_TILES = np.empty((0, TILE_FIELDS), np.int32)


def _prompt_pass(tokens: int, real: int) -> StepPass:
    """A prompt of ``real`` tokens in slot 0, filled up to ``tokens`` rows with padding."""
    positions = np.zeros(tokens, np.int32)
    positions[:real] = np.arange(real)
    slots = np.full(tokens, PADDING_SLOT, np.int32)
    slots[:real] = 0
    ids, last = np.zeros(tokens, np.int32), np.array([real - 1], np.int32)
    sources = np.full(tokens, -1, np.int32)
    return StepPass(ids, sources, positions, slots, 0, (Chunk(0, 0, 0, real),), last, np.zeros(1, np.int32))
