"""The fused kernels between matrix products: embedding, residual sums with norms, gated activation, gathering.

Each method of :class:`FusedKernels` binds a kernel to device addresses once, as ``launch`` describes. ``fused.cu`` is
the source; the kernels of attention and token selection are in ``attention``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

from predictor.runners.tensorrt.kernels.launch import BoundKernel, KernelFunction, bind
from predictor.runners.tensorrt.kernels.operands import Activation, Product
from predictor.runners.tensorrt.kernels.shape import KernelShape

WIDE = 8
"""Columns that a thread moves at a time."""
MAX_NORM_THREADS = 512
SILU_THREADS = 128
GATHER_THREADS = 128


class FusedKernels:
    """The fused kernels of one model on one device.

    All addresses are of device memory, aligned to 16 bytes, and must stay valid as long as what they are bound to is
    used. H is hidden, I the inner width of the MLP, both multiples of 8; T and R are rows.
    """

    def __init__(
        self, shape: KernelShape, functions: Mapping[str, KernelFunction], *, epsilon: float
    ) -> None:
        """Use loaded kernels.

        Args:
            shape: that they were compiled for.
            functions: from :func:`predictor.runners.tensorrt.kernels.launch.load_functions`.
            epsilon: of the norms, which are root mean square norms (Zhang and Sennrich, 2019).
        """
        self._hidden = shape.hidden
        self._functions = functions
        self._epsilon = ctypes.c_float(epsilon)
        self._norm_threads = min(MAX_NORM_THREADS, -(-shape.hidden // (32 * WIDE)) * 32)

    def embed_norm(
        self, *, token_ids: int, embedding: int, weight: int, residual: int, activation: Activation
    ) -> BoundKernel:
        """Bind the first operation of a step: tokens to residual, and its norm for the first product.

        Args:
            token_ids: int32 [T], each less than V.
            embedding: float16 [V, H].
            weight: of the norm, float32 [H].
            residual: out, float32 [T, H].
            activation: out, [T, H].
        """
        arguments = (
            token_ids,
            embedding,
            weight,
            residual,
            activation.address,
            activation.scale,
            self._epsilon,
        )
        return self._bind_norm("embed_norm", *arguments)

    def add_norm(
        self, *, product: Product, weight: int, residual: int, activation: Activation
    ) -> BoundKernel:
        """Bind the end of a block: adds a product to the residual, in place, and norms the sum for the next product.

        Args:
            product: [T, H].
            weight: of the norm, float32 [H].
            residual: in and out, float32 [T, H].
            activation: out, [T, H].
        """
        operand = (product.y, product.scale, product.bias)
        arguments = (*operand, weight, residual, activation.address, activation.scale, self._epsilon)
        return self._bind_norm("add_norm", *arguments)

    def silu_mul(self, *, product: Product, activation: Activation, width: int) -> BoundKernel:
        """Bind the MLP's activation, silu(gate) * up.

        Args:
            product: [T, 2 I], gates first.
            activation: out, [T, I].
            width: I.
        """
        operand = (product.y, product.scale, product.bias)
        arguments = (*operand, activation.address, activation.scale, ctypes.c_int32(width))
        launch = bind(self._functions["silu_mul"], SILU_THREADS, *arguments)
        blocks = -(-width // (SILU_THREADS * WIDE))

        def start(rows: int, stream: int) -> None:
            if rows:
                launch((blocks, rows, 1), stream)

        return start

    def gather_rows(
        self,
        *,
        rows: int,
        attended: int,
        attended_out: int,
        attended_bytes: int,
        residual: int,
        residual_out: int,
    ) -> BoundKernel:
        """Bind the gathering of the rows whose next token is wanted.

        Args:
            rows: int32 [R]; a negative one gives zeros.
            attended: activation of T rows, float16 or int8.
            attended_out: out, the same of R rows; may not overlap ``attended``.
            attended_bytes: of a row.
            residual: float32 [T, H].
            residual_out: out, float32 [R, H]; may not overlap ``residual``.
        """
        pieces = attended_bytes // 8
        arguments = (rows, attended, attended_out, ctypes.c_int32(pieces), residual, residual_out)
        launch = bind(self._functions["gather_rows"], GATHER_THREADS, *arguments)
        blocks = -(-max(pieces, self._hidden // 2) // GATHER_THREADS)

        def start(count: int, stream: int) -> None:
            if count:
                launch((blocks, count, 1), stream)

        return start

    def _bind_norm(self, name: str, *arguments: int | ctypes.c_float) -> BoundKernel:
        launch = bind(self._functions[name], self._norm_threads, *arguments)

        def start(rows: int, stream: int) -> None:
            if rows:
                launch((rows, 1, 1), stream)

        return start
