"""The kernels of attention and of token selection.

Each method of :class:`AttentionKernels` binds a kernel to device addresses once, as ``launch`` describes; sizes that
change with every step are arguments of the launch. ``*.cu`` are the sources, ``shape`` has the limits and the work
space, ``fused`` has the other kernels between matrix products.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping

from predictor.runners.tensorrt.kernels.launch import (
    BoundKernel,
    KernelArgument,
    KernelFunction,
    Launch,
    bind,
    pointer_struct,
)
from predictor.runners.tensorrt.kernels.operands import Activation, KvCache, Product, Qkv, Rotary
from predictor.runners.tensorrt.kernels.shape import (
    DECODE_WARPS,
    SLICE_THREADS,
    KernelShape,
    candidates_workspace,
    decode_splits,
    decode_workspace,
)

ROW_THREADS = 256
PREFILL_THREADS = 128


class AttentionKernels:
    """The kernels of one model on one device.

    All addresses are of device memory, aligned to 16 bytes, and must stay valid as long as the bound kernels are
    used. In shapes, T is the rows of a step, B its decode rows, F = (heads + 2 kv_heads) head_dim, positions that of
    the rotary tables; the caches are float16 [slots, kv_heads, capacity, head_dim]. A row whose slot is negative is
    padding. A launch with no rows does nothing.
    """

    def __init__(
        self,
        shape: KernelShape,
        functions: Mapping[str, KernelFunction],
        *,
        epsilon: float,
        sm_count: int,
        max_rows: int,
    ) -> None:
        """Use loaded kernels.

        Args:
            shape: that they were compiled for.
            functions: from :func:`predictor.runners.tensorrt.kernels.launch.load_functions`.
            epsilon: of the norms over heads, which are root mean square norms.
            sm_count: multiprocessors of the device or its slice.
            max_rows: most decode rows, and most rows of logits, of a launch.
        """
        self._shape = shape
        self._functions = functions
        self._sm_count = sm_count
        self._max_rows = max_rows
        self._capacity = ctypes.c_int32(shape.capacity)
        self._epsilon = ctypes.c_float(epsilon)
        # The kernels compute powers of two; scores are scaled by 1 / sqrt(head_dim) (Vaswani et al., 2017).
        self._scale = ctypes.c_float(math.log2(math.e) / math.sqrt(shape.head_dim))

    @property
    def candidates_per_row(self) -> int:
        """K of :meth:`candidates`."""
        return self._shape.candidates

    @property
    def decode_workspace_bytes(self) -> int:
        """Work space of :meth:`decode_attention`; zeroed once by the caller, shared by all layers."""
        return decode_workspace(self._shape, self._max_rows, self._sm_count).nbytes

    @property
    def candidates_workspace_bytes(self) -> int:
        """Work space of :meth:`candidates`; zeroed once by the caller."""
        return candidates_workspace(self._shape, self._max_rows).nbytes

    def choose_tokens(
        self, *, token_ids: int, previous_ids: int, sources: int, host_tokens: int
    ) -> BoundKernel:
        """Bind the selection of a step's input tokens.

        Args:
            token_ids: out, int32 [T]: candidate 0 of row sources[t] of the previous output, or the host's token.
            previous_ids: int32 [R, candidates].
            sources: int32 [T], -1 for the host's token.
            host_tokens: int32 [T].
        """
        count = ctypes.c_int32()
        launch = self._bind(
            "choose_tokens", ROW_THREADS, token_ids, previous_ids, sources, host_tokens, count
        )

        def start(rows: int, stream: int) -> None:
            if rows:
                count.value = rows
                launch((-(-rows // ROW_THREADS), 1, 1), stream)

        return start

    def decode_attention(
        self,
        *,
        qkv: Qkv,
        rotary: Rotary,
        cache: KvCache,
        slots: int,
        positions: int,
        attended: Activation,
        workspace: int,
    ) -> BoundKernel:
        """Bind decode attention: rotary embedding, caching K/V and attention for one new token per row.

        Args:
            qkv: [B, F].
            rotary: its tables.
            cache: of the layer; the new token's keys and values are written.
            slots: int32 [B]; a row with a negative one gets zeros.
            positions: int32 [B]: of the new token, which is how many tokens its slot holds; less than the capacity.
            attended: out, [B, heads * head_dim].
            workspace: ``decode_workspace_bytes``.
        """
        kv_heads, sm_count = self._shape.kv_heads, self._sm_count
        space = decode_workspace(self._shape, self._max_rows, sm_count)
        launch = self._bind(
            "decode_attention",
            DECODE_WARPS * 32,
            *(_qkv(qkv), _rotary(rotary), cache.keys, cache.values, slots, positions),
            *(attended.address, attended.scale),
            *(workspace, workspace + space.stats, workspace + space.results),
            *(self._capacity, self._scale, self._epsilon),
        )

        def start(rows: int, stream: int) -> None:
            if rows:
                launch((decode_splits(rows, kv_heads, sm_count), kv_heads, rows), stream)

        return start

    def write_kv(
        self, *, qkv: Qkv, rotary: Rotary, cache: KvCache, slots: int, positions: int
    ) -> Callable[[int, int, int], None]:
        """Bind the caching of prompt rows' K/V, which runs before :meth:`prefill_attention`.

        Args:
            qkv: [T, F].
            rotary: its tables.
            cache: of the layer.
            slots: int32 [T]; a row with a negative one is left out.
            positions: int32 [T].

        Returns:
            Start function (first row, rows, stream): rows before the first are left out.
        """
        first = ctypes.c_int32()
        arguments = (cache.keys, cache.values, slots, positions, first, self._capacity, self._epsilon)
        launch = self._bind("write_kv", ROW_THREADS, _qkv(qkv), _rotary(rotary), *arguments)

        def start(first_row: int, rows: int, stream: int) -> None:
            if rows:
                first.value = first_row
                launch((rows, 1, 1), stream)

        return start

    def prefill_attention(
        self, *, qkv: Qkv, rotary: Rotary, cache: KvCache, tiles: int, attended: Activation
    ) -> BoundKernel:
        """Bind the causal attention of prompt rows; :meth:`write_kv` must have run on them.

        Args:
            qkv: [T, F].
            rotary: its tables.
            cache: of the layer.
            tiles: int32 [tiles, 4]: slot, position of the first row, first row, rows (at most ROWS_PER_TILE).
            attended: out, [T, heads * head_dim]; only the tiles' rows are written.

        Returns:
            Start function (tiles, stream).
        """
        heads = self._shape.heads
        launch = self._bind(
            "prefill_attention",
            PREFILL_THREADS,
            *(_qkv(qkv), _rotary(rotary), cache.keys, cache.values, tiles, attended.address, attended.scale),
            *(self._capacity, self._scale, self._epsilon),
        )

        def start(count: int, stream: int) -> None:
            if count:
                launch((heads, count, 1), stream)

        return start

    def candidates(self, *, logits: Product, ids: int, logprobs: int, workspace: int) -> BoundKernel:
        """Bind the selection of the best candidates of each row.

        Args:
            logits: [R, vocabulary], without a bias.
            ids: out, int32 [R, candidates], best first, of equal logits the lower id first, NaN last.
            logprobs: out, float32 [R, candidates], of the softmax over the whole vocabulary; NaN if a logit is.
            workspace: ``candidates_workspace_bytes``.
        """
        slices = self._shape.slices
        space = candidates_workspace(self._shape, self._max_rows)
        launch = self._bind(
            "candidates",
            SLICE_THREADS,
            *(logits.y, logits.scale, ids, logprobs),
            *(workspace, workspace + space.results, workspace + space.stats),
            ctypes.c_int32(self._shape.vocabulary),
        )

        def start(rows: int, stream: int) -> None:
            if rows:
                launch((slices, rows, 1), stream)

        return start

    def _bind(self, name: str, threads: int, *arguments: int | KernelArgument) -> Launch:
        return bind(self._functions[name], threads, *arguments)


def _qkv(qkv: Qkv) -> KernelArgument:
    product = qkv.product
    return pointer_struct(product.y, product.scale, product.bias, qkv.q_norm, qkv.k_norm)


def _rotary(rotary: Rotary) -> KernelArgument:
    return pointer_struct(rotary.cos, rotary.sin)
