"""The GPU of the TensorRT backend in numpy, as lazy as one: work is only queued until someone waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.errors import RunnerError
from predictor.runners import numpy_kernels as kernels
from predictor.runners.segmented import Int32s
from predictor.runners.tensorrt.step.backend import Candidates
from predictor.runners.tensorrt.step.inputs import TILE_FIELDS, InputLayout
from predictor.segment_index import LAYER_ROLES, linear
from protocol.release import Release

Array = npt.NDArray[Any]
POISON = np.nan
"""What device memory holds that was never written; it spreads to the output of whoever reads it."""
JUNK = -(10**9)
"""The same for numbers: out of every range."""

STAGING = OUTPUTS = 3


class NumpyDevice:
    """A :class:`predictor.runners.tensorrt.step.backend.Device`."""

    tile_rows = 4

    def __init__(
        self,
        release: Release,
        tensors: Mapping[str, Array],
        layout: InputLayout,
        *,
        slots: int,
        epsilon: float,
    ) -> None:
        shape, candidates = release.decoder, release.limits.candidates
        self.shape, self.layers, self.slots, self.input_layout = shape, shape.layers, slots, layout
        self.capacity = capacity = release.limits.max_sequence_tokens
        self._tensors, self._epsilon, self._count = tensors, epsilon, candidates
        sides = (shape.layers, 2, slots, shape.kv_heads, capacity, shape.head_dim)
        self._cache = np.full(sides, POISON, np.float16)
        size = layout.size
        self._staging = [np.full(size, JUNK, np.int32) for _ in range(STAGING)]
        self._staged = [0] * STAGING  # number of the work that reads the buffer
        self._staging_index = -1
        self._inputs = np.full(size, JUNK, np.int32)
        self._ids = np.full((slots, candidates), JUNK, np.int32)
        self._kept = self._ids.copy()
        self._logprobs = np.full((slots, candidates), POISON, np.float32)
        self._results: list[tuple[Array, Array]] = [(self._ids.copy(), self._logprobs.copy())] * OUTPUTS
        self._downloads: dict[int, int] = {}
        self._stream: deque[Callable[[], None]] = deque()
        self._done = self._queued = self._tickets = 0
        self._recording: list[Callable[[], None]] | None = None
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._tiles = self._first_output = 0
        self._previous = self._ids
        self._token_ids = self._act = self._y = np.empty(0)
        self._residual: npt.NDArray[np.float32] = np.empty(0, np.float32)
        self.calls: list[tuple[Any, ...]] = []  # every operation, in order, as it was asked for
        self.fails = 0  # how many of the next waits fail
        self.dead = self.closed = False

    @property
    def kv_bytes(self) -> int:
        return self._cache.nbytes

    def attach(self) -> None:
        self.calls.append(("attach",))

    def staging(self) -> Int32s:
        self._staging_index = (self._staging_index + 1) % STAGING
        self._run_until(self._staged[self._staging_index])
        return self._staging[self._staging_index]

    def upload(self, numbers: int) -> None:
        staging = self._staging[self._staging_index]
        self.calls.append(("upload", numbers))

        def copy() -> None:
            self._inputs[:] = JUNK
            self._inputs[:numbers] = staging[:numbers]
            staging[:] = JUNK

        self._queue(copy)
        self._staged[self._staging_index] = self._queued

    def begin_pass(self, *, tiles: int, first_output: int, graph: int | None) -> None:
        self.calls.append(("begin_pass", tiles, first_output, graph))
        self._tiles, self._first_output = tiles, first_output

    def save_previous_ids(self) -> None:
        self.calls.append(("save_previous_ids",))
        self._queue(lambda: self._kept.__setitem__(slice(None), self._ids))
        self._previous = self._kept

    def capture(self, bucket: int, work: Callable[[], None]) -> None:
        self._recording = []
        work()
        self._graphs[bucket], self._recording = self._recording, None
        self.calls.append(("capture", bucket))

    def replay(self, bucket: int) -> None:
        self.calls.append(("replay", bucket))
        self._stream.extend(self._graphs[bucket])
        self._queued += len(self._graphs[bucket])

    def download(self, outputs: int) -> int:
        self._previous = self._ids
        self._tickets += 1
        ticket = self._tickets
        self.calls.append(("download", outputs))

        def copy() -> None:
            self._results[ticket % OUTPUTS] = (self._ids[:outputs].copy(), self._logprobs[:outputs].copy())

        self._queue(copy)
        self._downloads[ticket] = self._queued
        return ticket

    def output(self, ticket: int, outputs: int) -> Candidates:
        assert self._tickets - ticket < OUTPUTS, "the output was overwritten"
        if self.fails:
            self.fails -= 1
            raise RunnerError("made to fail")
        self._run_until(self._downloads.pop(ticket))
        assert len(self._results[ticket % OUTPUTS][0]) == outputs
        return self._results[ticket % OUTPUTS]

    def close(self) -> None:
        self.closed = True

    def synchronize(self) -> None:
        if self.dead:
            raise RunnerError("an illegal memory access")
        self._run_until(self._queued)

    def choose_tokens(self, tokens: int) -> None:
        previous = self._previous

        def work() -> None:
            host, sources = self._section(0, tokens), self._section(self.input_layout.sources, tokens)
            self._token_ids = np.where(sources >= 0, previous[sources, 0], host)

        self._operation(("choose_tokens", tokens), work)

    def embed_norm(self, tokens: int) -> None:
        def work() -> None:
            self._residual = self._tensors["embedding"][self._token_ids[:tokens]].astype(np.float32)
            self._norm("layers.0.attention.norm")

        self._operation(("embed_norm", tokens), work)

    def linear(self, layer: int, role: str, rows: int) -> None:
        name = linear(layer, role) if role in LAYER_ROLES else "vocabulary"
        weight = self._tensors.get(name, self._tensors["embedding"]).astype(np.float32)

        def work() -> None:
            assert len(self._act) == rows
            self._y = (self._act.astype(np.float32) @ weight.T).astype(np.float16)

        self._operation(("linear", layer, role, rows), work)

    def write_kv(self, layer: int, first_row: int, rows: int) -> None:
        self._operation(("write_kv", layer, first_row, rows), self._caching(layer, first_row, rows))

    def decode_attention(self, layer: int, rows: int) -> None:
        cache = self._caching(layer, 0, rows)

        def work() -> None:
            cache()
            self._act = np.zeros((len(self._y), self.shape.heads * self.shape.head_dim), np.float16)
            for row in range(rows):
                self._attend(layer, row, 1)

        self._operation(("decode_attention", layer, rows), work)

    def prefill_attention(self, layer: int, first_row: int, rows: int) -> None:
        layout, number = self.input_layout, self._tiles

        def work() -> None:
            if not first_row:
                self._act = np.zeros((len(self._y), self.shape.heads * self.shape.head_dim), np.float16)
            tiles = self._section(layout.tiles, TILE_FIELDS * number).reshape(-1, TILE_FIELDS)
            slots, positions = self._section(layout.slots, None), self._section(layout.positions, None)
            for slot, position, row, count in tiles.tolist():
                assert 0 < count <= self.tile_rows
                assert first_row <= row
                assert row + count <= first_row + rows
                assert (slots[row : row + count] == slot).all()
                assert (positions[row : row + count] == np.arange(position, position + count)).all()
                self._attend(layer, row, count)

        self._operation(("prefill_attention", layer, first_row, rows), work)

    def gather_rows(self, rows: int) -> None:
        def work() -> None:
            wanted = self._section(self.input_layout.out_rows, rows)
            self._act, self._residual = self._act[wanted], self._residual[wanted]

        self._operation(("gather_rows", rows), work)

    def add_norm(self, layer: int, role: str, rows: int) -> None:
        if role == "attention_output":
            norm = f"layers.{layer}.mlp.norm"
        else:
            norm = "norm" if layer == self.layers - 1 else f"layers.{layer + 1}.attention.norm"

        def work() -> None:
            assert len(self._y) == len(self._residual) == rows
            self._residual = self._residual + self._biased(linear(layer, role))
            self._norm(norm)

        self._operation(("add_norm", layer, role, rows), work)

    def silu_mul(self, layer: int, rows: int) -> None:
        def work() -> None:
            self._act = kernels.silu_mul(self._biased(f"layers.{layer}.mlp.gate_up")).astype(np.float16)

        self._operation(("silu_mul", layer, rows), work)

    def candidates(self, rows: int) -> None:
        first = self._first_output

        def work() -> None:
            ids, logprobs = kernels.best_candidates(self._y.astype(np.float32), self._count)
            self._ids[first : first + rows], self._logprobs[first : first + rows] = ids, logprobs

        self._operation(("candidates", rows), work)

    def _caching(self, layer: int, first_row: int, rows: int) -> Callable[[], None]:
        def work() -> None:
            _, keys, values = self._heads(layer)
            for row in range(first_row, first_row + rows):
                slot, position = self._place(row)
                if slot >= 0:
                    cosines, sines = self._rotary(np.array([position]))
                    turned = kernels.rotate(keys[row : row + 1], cosines, sines)
                    self._cache[layer, 0, slot, :, position] = turned
                    self._cache[layer, 1, slot, :, position] = values[row]

        return work

    def _attend(self, layer: int, row: int, count: int) -> None:
        slot, position = self._place(row)
        if slot < 0:
            return
        positions = np.arange(position, position + count)
        queries = kernels.rotate(self._heads(layer)[0][row : row + count], *self._rotary(positions))
        keys, values = self._cache[layer, :, slot, :, : positions[-1] + 1]
        attended = kernels.attend(queries, keys, values, positions)
        self._act[row : row + count] = attended.reshape(count, -1)

    def _heads(self, layer: int) -> list[Array]:
        name, shape = f"layers.{layer}.attention", self.shape
        heads = self._biased(f"{name}.qkv").reshape(len(self._y), -1, shape.head_dim)
        queries, keys, values = np.split(heads, [shape.heads, shape.heads + shape.kv_heads], axis=1)
        if f"{name}.q_norm" in self._tensors:
            queries = kernels.rms_norm(queries, self._tensors[f"{name}.q_norm"], self._epsilon)
            keys = kernels.rms_norm(keys, self._tensors[f"{name}.k_norm"], self._epsilon)
        return [queries, keys, values]

    def _rotary(self, positions: Array) -> tuple[Array, ...]:
        return tuple(self._tensors[f"rotary.{table}"][positions] for table in ("cos", "sin"))

    def _biased(self, name: str) -> Array:
        return kernels.dequantize(self._y, None, self._tensors.get(f"{name}.bias"))

    def _norm(self, name: str) -> None:
        normed = kernels.rms_norm(self._residual, self._tensors[name], self._epsilon)
        self._act = normed.astype(np.float16)

    def _place(self, row: int) -> tuple[int, int]:
        layout = self.input_layout
        return int(self._inputs[layout.slots + row]), int(self._inputs[layout.positions + row])

    def _section(self, first: int, size: int | None) -> Array:
        return self._inputs[first : None if size is None else first + size]

    def _operation(self, call: tuple[Any, ...], work: Callable[[], None]) -> None:
        if self._recording is None:
            self.calls.append(call)
            self._queue(work)
        else:
            self._recording.append(work)

    def _queue(self, work: Callable[[], None]) -> None:
        self._stream.append(work)
        self._queued += 1

    def _run_until(self, number: int) -> None:
        while self._done < number:
            self._stream.popleft()()
            self._done += 1
