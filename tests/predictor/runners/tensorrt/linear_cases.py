"""Products of few rows on fresh random inputs and a poisoned output, against float64.

The same cases run on the GPU and on the host, where the kernel is emulated: a :class:`Memory` is the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.runners.tensorrt.cuda_api import DeviceProperties
from predictor.runners.tensorrt.kernels.linear import LinearFunction, SkinnyLinears
from predictor.runners.tensorrt.kernels.linear_tiling import Tiling
from tests.predictor.runners.tensorrt.bench import STREAM, Buffer, Memory

Array = npt.NDArray[Any]
Functions = dict[tuple[str, Tiling], LinearFunction]

TOLERANCE = 1e-3
"""Of outputs in float16, whose own rounding is 2.1e-4."""


def operand(random: np.random.Generator, rows: int, k: int, dtype: str) -> Array:
    """An x or a weight, [rows, k]."""
    if dtype == "int8":
        return random.integers(-127, 128, (rows, k)).astype(np.int8)
    return random.standard_normal((rows, k), np.float32).astype(np.float16)


@dataclass(frozen=True, slots=True)
class Product:
    """A weight [n, k] in the kernel's memory."""

    functions: Functions
    properties: DeviceProperties
    memory: Memory
    weight: Buffer
    workspace: Buffer

    @classmethod
    def make(
        cls, functions: Functions, properties: DeviceProperties, memory: Memory, weight: Array
    ) -> Product:
        workspace = np.zeros(SkinnyLinears.workspace_bytes(functions, properties), np.uint8)
        return cls(functions, properties, memory, memory.put(weight), memory.put(workspace))

    def multiply(self, x: Array) -> Array:
        """x W^T, into an output that is NaN before; checks that nothing behind it is written."""
        (m, k), (n, _) = x.shape, self.weight.shape
        dtype = self.weight.dtype.name
        x_buffer = self.memory.put(x)
        y = self.memory.put(np.full((m + 1, n), np.nan, np.float32 if dtype == "int8" else np.float16))
        linears = SkinnyLinears(self.functions, self.properties, workspace=self.workspace.address)
        start = linears.bind(
            x=x_buffer.address, weight=self.weight.address, y=y.address, n=n, k=k, dtype=dtype
        )
        start(0, STREAM)
        start(m, STREAM)
        result = self.memory.get(y)
        assert np.isnan(result[m]).all()
        return result[:m]


def check_products(
    functions: Functions,
    properties: DeviceProperties,
    memory: Memory,
    shape: tuple[int, int],
    rows: Sequence[int],
    dtype: str,
) -> None:
    """Each number of rows twice, with a weight of ``shape``."""
    random = np.random.default_rng()
    weight = operand(random, *shape, dtype)
    product = Product.make(functions, properties, memory, weight)
    wide = weight.astype(np.float64)
    for m in rows:
        x = operand(random, m, shape[1], dtype)
        first, again = product.multiply(x), product.multiply(x)
        exact = x.astype(np.float64) @ wide.T
        if dtype == "int8":
            np.testing.assert_array_equal(first, (exact * 2.0**-12).astype(np.float32))
        else:
            assert np.linalg.norm(first - exact) <= TOLERANCE * np.linalg.norm(exact)
        np.testing.assert_array_equal(first, again)


def check_rows_are_independent(
    functions: Functions, properties: DeviceProperties, memory: Memory, shape: tuple[int, int]
) -> None:
    random = np.random.default_rng()
    weight, x = operand(random, *shape, "float16"), operand(random, 8, shape[1], "float16")
    product = Product.make(functions, properties, memory, weight)
    together = product.multiply(x)
    x[1:] = np.inf
    alone = product.multiply(x)
    np.testing.assert_array_equal(together[0], alone[0])
