"""The matrix products of a step, each run by a TensorRT engine or by the skinny kernel.

A TensorRT engine serves every layer, so its weight is set for each. Only what has changed since the context's last
run is set: between two layers of a step that is the weight alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from predictor.plan import OptimizationProfile
from predictor.runners.tensorrt.kernels.launch import BoundKernel
from predictor.runners.tensorrt.kernels.linear_tiling import is_fastest
from predictor.runners.tensorrt.kernels.overlap import PrecedingLaunch
from predictor.runners.tensorrt.step.buckets import profile_for
from predictor.runners.tensorrt.step.weights import LinearWeights


class LinearContext(Protocol):
    """See :class:`predictor.tensorrt_api.ExecutionContext`."""

    def set_memory(self, address: int, nbytes: int) -> None: ...
    def set_profile(self, index: int, stream: int) -> None: ...
    def set_shape(self, name: str, shape: Sequence[int]) -> None: ...
    def set_address(self, name: str, address: int) -> None: ...
    def enqueue(self, stream: int) -> None: ...


class LinearEngine(Protocol):
    """See :class:`predictor.tensorrt_api.TensorRTEngine`."""

    @property
    def memory_bytes(self) -> int: ...
    def create_context(self) -> LinearContext: ...


class SkinnyKernel(Protocol):
    """See :class:`predictor.runners.tensorrt.kernels.linear.SkinnyLinears`."""

    def bind(self, *, x: int, weight: int, y: int, n: int, k: int, dtype: str) -> BoundKernel: ...


class Linears:
    """All matrix products, on one stream, so that all contexts share their scratch memory.

    There is a context for each engine and profile, and one more for each engine and CUDA graph: a graph keeps using
    the state that its context had at capture.
    """

    def __init__(
        self,
        engines: Mapping[str, LinearEngine],
        profiles: Mapping[str, Sequence[OptimizationProfile]],
        *,
        scratch: int,
        scratch_bytes: int,
        stream: int,
        skinny: SkinnyKernel | None = None,
        preceding: PrecedingLaunch | None = None,
    ) -> None:
        """Create no context yet.

        Args:
            engines: by name.
            profiles: of each.
            scratch: device address.
            scratch_bytes: at least every engine's ``memory_bytes``.
            stream: that all products run on.
            skinny: runs the products that it is fastest at; None: TensorRT runs all.
            preceding: last launch of the stream, where launches overlap.
        """
        self._engines = engines
        self._profiles = profiles
        self._scratch = (scratch, scratch_bytes)
        self._stream = stream
        self._bound: dict[tuple[str, int, int | None], _BoundContext] = {}
        self._skinny = skinny
        self._preceding = preceding
        self._skinny_bound: dict[tuple[int, int, int], BoundKernel] = {}
        """By addresses of x, weight and y."""
        self._index: dict[tuple[str, int], int] = {}
        """Profile by engine and rows, since a lookup is cheaper than choosing."""

    def run(self, linear: LinearWeights, rows: int, x: int, y: int, *, graph: int | None) -> None:
        """Launch one product.

        Args:
            linear: the weights, int8 or float16 as x is.
            rows: of x and y.
            x: device address, [rows, in].
            y: device address, [rows, out], float16; of an int8 product float32.
            graph: the bucket whose graph captures it; None for no graph.

        Raises:
            TensorRTError: TensorRT refuses it.
        """
        if self._skinny and is_fastest(linear.width, linear.columns, rows, linear.dtype):
            self._bind_skinny(self._skinny, linear, x, y)(rows, self._stream)
            return
        profile = self._index.get((linear.engine, rows))
        if profile is None:
            profile = profile_for(rows, self._profiles[linear.engine])
            self._index[linear.engine, rows] = profile
        key = (linear.engine, profile, graph)
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bound[key] = self._bind(linear.engine, profile)
        bound.run(rows, linear.columns, x, linear.weight, y, self._stream)
        if self._preceding is not None:
            self._preceding.allows_overlap = False

    def close(self) -> None:
        """Free the contexts; graphs captured from them may not run afterwards."""
        self._bound.clear()

    def _bind_skinny(self, skinny: SkinnyKernel, linear: LinearWeights, x: int, y: int) -> BoundKernel:
        start = self._skinny_bound.get((x, linear.weight, y))
        if start is None:
            start = skinny.bind(
                x=x, weight=linear.weight, y=y, n=linear.width, k=linear.columns, dtype=linear.dtype
            )
            self._skinny_bound[x, linear.weight, y] = start
        return start

    def _bind(self, engine: str, profile: int) -> _BoundContext:
        context = self._engines[engine].create_context()
        context.set_memory(*self._scratch)
        context.set_profile(profile, self._stream)
        return _BoundContext(context)


class _BoundContext:
    """A context and the values that were set last."""

    __slots__ = ("_context", "_rows", "_weight", "_x", "_y")

    def __init__(self, context: LinearContext) -> None:
        self._context = context
        self._rows = self._x = self._weight = self._y = 0

    def run(self, rows: int, columns: int, x: int, weight: int, y: int, stream: int) -> None:
        """Enqueue a product, and set only what changed since the last one.

        Args:
            rows: of x.
            columns: of x.
            x: device address of the input.
            weight: device address.
            y: device address of the output.
            stream: CUDA stream handle.
        """
        context = self._context
        if rows != self._rows:
            context.set_shape("x", (rows, columns))
            self._rows = rows
        if x != self._x:
            context.set_address("x", x)
            self._x = x
        if weight != self._weight:
            context.set_address("weight", weight)
            self._weight = weight
        if y != self._y:
            context.set_address("y", y)
            self._y = y
        context.enqueue(stream)
