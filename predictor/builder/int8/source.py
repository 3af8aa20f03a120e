"""The content of an int8 plan: chosen matrices in int8 with their scales, everything else as in float16.

Made from a float16 or float32 release and the scales of :mod:`predictor.builder.int8.quantize`; the arithmetic is in
:mod:`predictor.builder.int8.smooth`. Several threads compute codes while they are written, so neither weights nor
codes are in memory as a whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from predictor.builder.errors import PrecisionUnavailable
from predictor.builder.graph.segments import emit_segment
from predictor.builder.int8.smooth import Codes, Float32s, quantize_weights
from predictor.builder.parallel import run_ordered
from predictor.builder.plans.source import Block, Float16Source, PlanTensorSpec
from predictor.plan import engine_name
from predictor.segment_index import (
    LAYER_ROLES,
    VOCABULARY,
    SegmentIndex,
    StoredTensor,
    input_scale,
    linear,
    map_tensor,
    output_scale,
    read_segment_index,
)

BLOCK_VALUES = 1 << 22
"""Weights that a thread quantizes at a time: 16 MiB in float32."""
THREADS = 8


def matrix_roles(index: SegmentIndex) -> dict[str, str]:
    """Role of every multiplied matrix by its name, in the order of a step.

    A vocabulary that is tied to the embedding is listed too: in int8 it is a matrix of its own.
    """
    roles = {linear(layer, role): role for layer in range(index.layers) for role in LAYER_ROLES}
    return {**roles, VOCABULARY: VOCABULARY}


def stored_matrix(index: SegmentIndex, name: str) -> StoredTensor:
    """The tensor in ``weights.bin`` of a matrix of :func:`matrix_roles`."""
    return index.tensors[index.vocabulary if name == VOCABULARY else name]


class Int8Source:
    """The :class:`predictor.builder.plans.source.PlanSource` of an int8 plan."""

    def __init__(self, release: Path, input_scales: Mapping[str, Float32s]) -> None:
        """Read the segment index and list graphs and tensors.

        Args:
            release: directory, of float16 or float32.
            input_scales: float32 [K] by name of each matrix that is to be in int8.

        Raises:
            ReleaseError: the release has no segments, or a file of them is missing.
        """
        self._release = release
        self._scales = input_scales
        self._float16 = Float16Source(release)
        self._index = read_segment_index(release)
        self._output_scales: dict[str, list[Float32s]] = {}
        """Of the matrix whose codes were computed last."""
        self._matrix_of = {part: name for name in input_scales for part in _parts(name)}
        roles = matrix_roles(self._index)
        self.quantized = tuple(sorted(input_scales))
        self.tensors = tuple(self._specs())
        self.weights = {**self._float16.weights, **{spec.name: spec.name for spec in self.tensors}}
        self.rotary = self._float16.rotary
        self.norm_eps = self._float16.norm_eps
        self.graphs = {
            engine_name(role, "float16"): self._float16.graphs[engine_name(role, "float16")]
            for role in sorted({role for name, role in roles.items() if name not in input_scales})
        }
        for name in input_scales:
            rows, columns = stored_matrix(self._index, name).shape
            engine = engine_name(roles[name], "int8")
            if engine not in self.graphs:
                self.graphs[engine] = emit_segment(roles[name], rows, columns, "int8")

    def blocks(self, tensor: PlanTensorSpec) -> Iterator[Block]:
        """See :meth:`predictor.builder.plans.source.PlanSource.blocks`.

        Output scales are computed with the codes, and are cached until the codes of another matrix are requested.
        """
        name = self._matrix_of.get(tensor.name)
        if name is None:
            yield from self._float16.blocks(tensor)
        elif tensor.name == name:
            yield from self._codes(name)
        elif tensor.name == input_scale(name):
            yield self._scales[name]
        else:
            if name not in self._output_scales:
                deque(self._codes(name), maxlen=0)
            yield from self._output_scales.pop(name)

    def _specs(self) -> Iterator[PlanTensorSpec]:
        for spec in self._float16.tensors:
            yield from self._int8_specs(spec.name) if spec.name in self._scales else (spec,)
        if VOCABULARY in self._scales and VOCABULARY not in self._index.tensors:
            yield from self._int8_specs(VOCABULARY)  # beside the embedding, which stays in float16

    def _int8_specs(self, name: str) -> tuple[PlanTensorSpec, ...]:
        rows, columns = stored_matrix(self._index, name).shape
        shapes = ((rows, columns), (columns,), (rows,))
        dtypes = ("int8", "float32", "float32")
        return tuple(map(PlanTensorSpec, _parts(name), dtypes, shapes))

    def _codes(self, name: str) -> Iterator[Codes]:
        weights = map_tensor(self._release, stored_matrix(self._index, name))
        rows, columns = weights.shape
        step, scale = max(1, BLOCK_VALUES // columns), self._scales[name]
        tasks = (
            partial(quantize_weights, weights[first : first + step], scale) for first in range(0, rows, step)
        )
        found: list[Float32s] = []
        for codes, steps in run_ordered(tasks, threads=THREADS):
            if not np.isfinite(steps).all():
                raise PrecisionUnavailable(
                    f"{name} has values that are not finite, so this release can have no plan: "
                    "serve it with YIWEN_BACKEND=onnxruntime"
                )
            found.append(steps)
            yield codes
        self._output_scales = {name: found}


def _parts(name: str) -> tuple[str, str, str]:
    """Names of codes, input scale and output scale of a matrix, in the order in which they are written."""
    return name, input_scale(name), output_scale(name)
