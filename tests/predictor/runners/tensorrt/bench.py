"""What the kernels' cases share: where kernels read and write, and random operands in every variant.

The same cases run on the GPU and on the host, where the kernels are emulated: a :class:`Memory` is the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from predictor.runners import numpy_kernels
from predictor.runners.tensorrt.kernels.attention import AttentionKernels
from predictor.runners.tensorrt.kernels.fused import FusedKernels
from predictor.runners.tensorrt.kernels.launch import KernelFunction
from predictor.runners.tensorrt.kernels.operands import Activation, Product
from predictor.runners.tensorrt.kernels.shape import KernelShape
from tests.predictor.runners.tensorrt import reference_kernels as reference

Array = npt.NDArray[Any]
EPSILON = 1e-5
STREAM = 0
TOLERANCE = 2e-3
"""Of outputs in float16, whose own rounding is 2.8e-4 on average; softmax weights are rounded to float16 too."""
ATTENTION_SLACK = 0.3
"""Of outputs in int8, in codes beyond the half that rounding costs: softmax weights are rounded to float16."""
NO_CODE = -128
"""Poison in int8: no kernel writes it."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How the products around a kernel are."""

    scaled: bool = False
    """The product before it was int8."""
    biased: bool = False
    normed: bool = False
    """Queries and keys have norms."""
    int8: bool = False
    """The product behind it is int8."""


PLAIN = Variant()
VARIANTS = {
    "float16": PLAIN,
    "biased": Variant(biased=True),
    "normed": Variant(normed=True),
    "int8": Variant(scaled=True, int8=True),
    "all": Variant(scaled=True, biased=True, normed=True, int8=True),
}


@dataclass(frozen=True, slots=True)
class Buffer:
    """An array in the kernels' memory."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Memory(Protocol):
    """Where kernels read and write."""

    def put(self, array: Array) -> Buffer: ...

    def get(self, buffer: Buffer) -> Array:
        """Wait for the kernels, then copy the array."""
        ...


@dataclass(slots=True)
class HostMemory:
    """For emulated kernels: numpy's own."""

    arrays: dict[int, Array] = field(default_factory=dict)

    def put(self, array: Array) -> Buffer:
        room = np.empty(array.nbytes + 16, np.uint8)
        first = -room.ctypes.data % 16
        copy = room[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        self.arrays[copy.ctypes.data] = copy
        return Buffer(copy.ctypes.data, array.shape, array.dtype)

    def get(self, buffer: Buffer) -> Array:
        array: Array = self.arrays[buffer.address].copy()
        return array

    def regions(self) -> Iterable[tuple[int, int]]:
        """Address and size of every array."""
        return [(address, array.nbytes) for address, array in self.arrays.items()]


@dataclass(frozen=True, slots=True)
class Output:
    """An activation that a kernel writes, poisoned before."""

    operand: Activation
    buffer: Buffer
    scale: Array | None

    def check(self, out: Array, wanted: Array, *, slack: float = ATTENTION_SLACK) -> None:
        """Compare some rows of it with float values before rounding; a row's error must not hide behind others."""
        if self.scale is None:
            assert reference.relative_error(out, wanted) < TOLERANCE
            for got, row in zip(out, wanted, strict=True):
                assert reference.relative_error(got, row) < 3 * TOLERANCE
        else:
            codes = np.clip(wanted * self.scale, -127, 127)
            assert np.abs(out - codes).max(initial=0) < 0.5 + slack

    def untouched(self, out: Array) -> bool:
        """Whether some rows of it are poison still."""
        return bool((np.isnan(out) if self.scale is None else out == NO_CODE).all())


@dataclass(frozen=True, slots=True)
class Bench:
    """A model's kernels and where they work."""

    shape: KernelShape
    kernels: AttentionKernels
    fused: FusedKernels
    memory: Memory
    random: np.random.Generator

    def halves(self, *shape: int) -> Array:
        return self.random.standard_normal(shape).astype(np.float16)

    def floats(self, *shape: int) -> Array:
        return self.random.standard_normal(shape).astype(np.float32)

    def weights(self, *shape: int) -> Array:
        """Positive numbers around one."""
        return self.random.uniform(0.5, 1.5, shape).astype(np.float32)

    def place(self, array: Array) -> int:
        """Address of a copy of it."""
        return self.memory.put(array).address

    def product(self, rows: int, width: int, variant: Variant) -> tuple[Product, Array]:
        """A random product, and the float32 values that it stands for."""
        bias = self.floats(width) if variant.biased else None
        scale = self.weights(width) * np.float32(2**-10) if variant.scaled else None
        if scale is None:
            y = self.halves(rows, width)
        else:
            y = self.random.integers(-2500, 2500, (rows, width)).astype(np.float32)
        operand = Product(
            self.place(y),
            0 if scale is None else self.place(scale),
            0 if bias is None else self.place(bias),
        )
        return operand, numpy_kernels.dequantize(y, scale, bias)

    def output(self, rows: int, width: int, variant: Variant, *, largest: float) -> Output:
        """Room for values of about ``largest`` at most; a few columns are scaled so that those do not fit int8."""
        if not variant.int8:
            buffer = self.poison(rows, width)
            return Output(Activation(buffer.address), buffer, None)
        scale = self.weights(width) * np.float32(100 / largest)
        buffer = self.memory.put(np.full((rows, width), NO_CODE, np.int8))
        return Output(Activation(buffer.address, self.place(scale)), buffer, scale)

    def poison(self, *shape: int, dtype: type = np.float16) -> Buffer:
        return self.memory.put(np.full(shape, np.nan, dtype))

    def cache(self, held: Sequence[int]) -> reference.Cache:
        """A slot for each entry, which holds so many tokens and NaN behind them."""
        shape = (len(held), self.shape.kv_heads, self.shape.capacity, self.shape.head_dim)
        cache = reference.Cache(self.halves(*shape), self.halves(*shape))
        for slot, count in enumerate(held):
            cache.keys[slot, :, count:] = np.nan
            cache.values[slot, :, count:] = np.nan
        return cache


def make_bench(
    shape: KernelShape,
    functions: Mapping[str, KernelFunction],
    memory: Memory,
    *,
    sm_count: int,
    max_rows: int,
) -> Bench:
    kernels = AttentionKernels(shape, functions, epsilon=EPSILON, sm_count=sm_count, max_rows=max_rows)
    fused = FusedKernels(shape, functions, epsilon=EPSILON)
    return Bench(shape, kernels, fused, memory, np.random.default_rng())
