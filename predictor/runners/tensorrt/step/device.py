"""The CUDA implementation of :class:`predictor.runners.tensorrt.step.backend.Device`.

Holds one stream, rings of pinned host memory, and the CUDA graphs. Copies and graph launches are here; matrix
products are in ``linears``, all other operations in ``bound_kernels``.
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
"""Passes whose inputs may be in flight. Two steps in flight have one each, or several with long prompts."""

OUTPUT_BUFFERS = 3
"""For two steps in flight and the one that was collected last."""


@dataclass(frozen=True, slots=True)
class DeviceSizes:
    """Sizes of the decoder and its cache on the device."""

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
        sizes: DeviceSizes,
        layout: InputLayout,
        weights: DeviceWeights,
        linears: Linears,
        kernels: BoundKernels,
        *,
        stream: int,
        allocations: Sequence[int],
    ) -> None:
        """Take ownership of the stream and the allocations; :meth:`close` frees them.

        Args:
            sizes: of the decoder and its cache.
            layout: of the numbers that the host sends.
            weights: on the device.
            linears: run the matrix products.
            kernels: run all other operations.
            stream: of all operations.
            allocations: device addresses.
        """
        self.input_layout = layout
        self._sizes = sizes
        self._weights = weights
        self._linears = linears
        self._kernels = kernels
        self._stream = stream
        self._allocations = allocations
        self._staging = [_PinnedBuffer(layout.size) for _ in range(STAGING_BUFFERS)]
        self._outputs = [_PinnedBuffer(2 * sizes.slots * sizes.candidates) for _ in range(OUTPUT_BUFFERS)]
        self._staging_index = self._ticket = 0
        self._graphs: dict[int, int] = {}
        self._graph: int | None = None
        self._tiles = 0
        self._first_output = 0
        self._uses_saved_ids = False
        self._act = kernels.act
        self._gathered = False

    @property
    def layers(self) -> int:
        return self._sizes.layers

    @property
    def slots(self) -> int:
        return self._sizes.slots

    @property
    def capacity(self) -> int:
        return self._sizes.capacity

    @property
    def kv_bytes(self) -> int:
        return self._sizes.kv_bytes

    def attach(self) -> None:
        cuda.set_device()

    def staging(self) -> Int32s:
        self._staging_index = (self._staging_index + 1) % STAGING_BUFFERS
        host = self._staging[self._staging_index]
        cuda.synchronize_event(host.copied)
        return host.numbers

    def upload(self, numbers: int) -> None:
        host = self._staging[self._staging_index]
        cuda.copy_to_device(self._kernels.inputs, host.address, NUMBER_BYTES * numbers, self._stream)
        cuda.record_event(host.copied, self._stream)

    def begin_pass(self, *, tiles: int, first_output: int, graph: int | None) -> None:
        self._tiles, self._first_output, self._graph = tiles, first_output, graph

    def save_previous_ids(self) -> None:
        kernels = self._kernels
        cuda.copy_on_device(kernels.saved_ids, kernels.ids, self._ids_bytes, self._stream)
        self._uses_saved_ids = True

    def capture(self, bucket: int, work: Callable[[], None]) -> None:
        self._graphs[bucket] = cuda.capture(self._stream, work)

    def replay(self, bucket: int) -> None:
        cuda.launch_graph(self._graphs[bucket], self._stream)

    def download(self, outputs: int) -> int:
        self._uses_saved_ids = False
        self._ticket += 1
        host = self._outputs[self._ticket % OUTPUT_BUFFERS]
        # Log-probabilities follow the ids of all slots: one copy from the first id to the last value in use.
        nbytes = self._ids_bytes + NUMBER_BYTES * outputs * self._sizes.candidates
        cuda.copy_to_host(host.address, self._kernels.ids, nbytes, self._stream)
        cuda.record_event(host.copied, self._stream)
        return self._ticket

    def output(self, ticket: int, outputs: int) -> Candidates:
        host = self._outputs[ticket % OUTPUT_BUFFERS]
        cuda.synchronize_event(host.copied)
        table = host.numbers.reshape(2, self._sizes.slots, self._sizes.candidates)
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
        start = bound.choose_saved_tokens if self._uses_saved_ids else bound.choose_tokens
        start(tokens, self._stream)

    def embed_norm(self, tokens: int) -> None:
        self._act, self._gathered = self._kernels.act, False
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
        self._act, self._gathered = self._kernels.gathered_act, True
        self._kernels.gather_rows(rows, self._stream)

    def add_norm(self, layer: int, role: str, rows: int) -> None:
        block = self._kernels.block(layer, gathered=self._gathered)
        start = block.after_attention if role == "attention_output" else block.after_mlp
        start(rows, self._stream)

    def silu_mul(self, layer: int, rows: int) -> None:
        self._kernels.block(layer, gathered=self._gathered).silu_mul(rows, self._stream)

    def candidates(self, rows: int) -> None:
        self._kernels.candidates(self._first_output)(rows, self._stream)

    @property
    def _ids_bytes(self) -> int:
        return NUMBER_BYTES * self._sizes.slots * self._sizes.candidates


class _PinnedBuffer:
    """Pinned host memory for numbers, and the event of its last copy."""

    def __init__(self, count: int) -> None:
        self._memory = cuda.PinnedMemory(NUMBER_BYTES * count)
        self.numbers: Int32s = self._memory.array.view(np.int32)
        self.address = self._memory.address
        self.copied = cuda.create_event(blocking=True)

    def close(self) -> None:
        cuda.destroy_event(self.copied)
        self._memory.close()
