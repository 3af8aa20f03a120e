"""The CUDA implementation of :class:`predictor.runners.tensorrt.step.backend.Device`.

Holds one stream, rings of pinned host memory, and the CUDA graphs. Copies and graph launches are here; matrix products
are in ``linears``, all other operations in ``bound_kernels``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from predictor.runners.segmented import Int32s
from predictor.runners.tensorrt import cuda_api as cuda
from predictor.runners.tensorrt.kernels.shape import ROWS_PER_TILE
from predictor.runners.tensorrt.step.backend import Candidates
from predictor.runners.tensorrt.step.bound_kernels import NUMBER_BYTES, BoundKernels
from predictor.runners.tensorrt.step.inputs import InputLayout
from predictor.runners.tensorrt.step.linears import Linears
from predictor.runners.tensorrt.step.weights import DeviceWeights

STAGING_BUFFERS = 8
"""Passes whose numbers may be on their way. Two steps in flight have one each, but for prompts of several passes."""

OUTPUT_BUFFERS = 3
"""Two steps in flight, and the one that was collected last."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Sizes that the backend asks for."""

    layers: int
    slots: int
    capacity: int
    """Tokens of a slot."""
    candidates: int
    kv_bytes: int


class CudaDevice:
    """See :class:`predictor.runners.tensorrt.step.backend.Device`."""

    tile_rows = ROWS_PER_TILE

    def __init__(
        self,
        extent: Extent,
        layout: InputLayout,
        weights: DeviceWeights,
        linears: Linears,
        kernels: BoundKernels,
        *,
        stream: int,
        allocations: Sequence[int],
    ) -> None:
        """Take over the stream and the allocations; :meth:`close` gives them back."""
        self.input_layout = layout
        self._extent = extent
        self._weights = weights
        self._linears = linears
        self._kernels = kernels
        self._stream = stream
        self._allocations = allocations
        self._staging = [_Host(layout.size) for _ in range(STAGING_BUFFERS)]
        self._outputs = [_Host(2 * extent.slots * extent.candidates) for _ in range(OUTPUT_BUFFERS)]
        self._turn = self._ticket = 0
        self._graphs: dict[int, int] = {}
        self._graph: int | None = None
        self._tiles = 0
        self._first_output = 0
        self._previous_is_kept = False
        self._act = kernels.act
        self._picked = False

    @property
    def layers(self) -> int:
        return self._extent.layers

    @property
    def slots(self) -> int:
        return self._extent.slots

    @property
    def capacity(self) -> int:
        return self._extent.capacity

    @property
    def kv_bytes(self) -> int:
        return self._extent.kv_bytes

    def attach(self) -> None:
        cuda.set_device()

    def staging(self) -> Int32s:
        self._turn = (self._turn + 1) % STAGING_BUFFERS
        host = self._staging[self._turn]
        cuda.synchronize_event(host.copied)
        return host.numbers

    def upload(self, numbers: int) -> None:
        host = self._staging[self._turn]
        cuda.copy_to_device(self._kernels.inputs, host.address, NUMBER_BYTES * numbers, self._stream)
        cuda.record_event(host.copied, self._stream)

    def begin_pass(self, *, tiles: int, first_output: int, graph: int | None) -> None:
        self._tiles, self._first_output, self._graph = tiles, first_output, graph

    def keep_previous(self) -> None:
        kernels = self._kernels
        cuda.copy_on_device(kernels.kept_ids, kernels.ids, self._ids_bytes, self._stream)
        self._previous_is_kept = True

    def capture(self, bucket: int, work: Callable[[], None]) -> None:
        self._graphs[bucket] = cuda.capture(self._stream, work)

    def replay(self, bucket: int) -> None:
        cuda.launch_graph(self._graphs[bucket], self._stream)

    def download(self, outputs: int) -> int:
        self._previous_is_kept = False
        self._ticket += 1
        host = self._outputs[self._ticket % OUTPUT_BUFFERS]
        # Ids lie before the log-probabilities of all slots: one copy from the first id to the last value in use.
        nbytes = self._ids_bytes + NUMBER_BYTES * outputs * self._extent.candidates
        cuda.copy_to_host(host.address, self._kernels.ids, nbytes, self._stream)
        cuda.record_event(host.copied, self._stream)
        return self._ticket

    def output(self, ticket: int, outputs: int) -> Candidates:
        host = self._outputs[ticket % OUTPUT_BUFFERS]
        cuda.synchronize_event(host.copied)
        table = host.numbers.reshape(2, self._extent.slots, self._extent.candidates)
        return table[0, :outputs], table[1, :outputs].view(np.float32)

    def synchronize(self) -> None:
        cuda.synchronize()

    def close(self) -> None:
        cuda.set_device()
        cuda.synchronize()
        for graph in self._graphs.values():
            cuda.destroy_graph(graph)
        self._linears.close()
        for host in (*self._staging, *self._outputs):
            host.close()
        for address in self._allocations:
            cuda.free(address)
        cuda.destroy_stream(self._stream)

    def choose_tokens(self, tokens: int) -> None:
        bound = self._kernels
        start = bound.choose_kept_tokens if self._previous_is_kept else bound.choose_tokens
        start(tokens, self._stream)

    def embed_norm(self, tokens: int) -> None:
        self._act, self._picked = self._kernels.act, False
        self._kernels.embed_norm(tokens, self._stream)

    def linear(self, layer: int, role: str, rows: int) -> None:
        linear = self._weights.linear(layer, role)
        self._linears.run(linear, rows, self._act, self._kernels.y, graph=self._graph)

    def write_kv(self, layer: int, first_row: int, rows: int) -> None:
        self._kernels.attention[layer].write_kv(first_row, rows, self._stream)

    def decode_attention(self, layer: int, rows: int) -> None:
        self._kernels.attention[layer].decode(rows, self._stream)

    def prefill_attention(self, layer: int, first_row: int, rows: int) -> None:
        self._kernels.attention[layer].prefill(self._tiles, self._stream)

    def gather_rows(self, rows: int) -> None:
        self._act, self._picked = self._kernels.picked_act, True
        self._kernels.gather_rows(rows, self._stream)

    def add_norm(self, layer: int, role: str, rows: int) -> None:
        block = self._kernels.block(layer, picked=self._picked)
        start = block.after_attention if role == "attention_output" else block.after_mlp
        start(rows, self._stream)

    def silu_mul(self, layer: int, rows: int) -> None:
        self._kernels.block(layer, picked=self._picked).silu_mul(rows, self._stream)

    def candidates(self, rows: int) -> None:
        self._kernels.candidates(self._first_output)(rows, self._stream)

    @property
    def _ids_bytes(self) -> int:
        return NUMBER_BYTES * self._extent.slots * self._extent.candidates


class _Host:
    """Pinned numbers, and the event of the last copy of them."""

    def __init__(self, count: int) -> None:
        self._memory = cuda.PinnedMemory(NUMBER_BYTES * count)
        self.numbers: Int32s = self._memory.array.view(np.int32)
        self.address = self._memory.address
        self.copied = cuda.create_event(blocking=True)

    def close(self) -> None:
        cuda.destroy_event(self.copied)
        self._memory.close()
