"""The content of a plan as graphs and tensors, and its float16 form, made from a release.

A :class:`PlanSource` lists graphs and tensors and yields a tensor's values in blocks, so that
:mod:`predictor.builder.plans.build` depends on no precision and holds no tensor in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from predictor.builder.errors import PrecisionUnavailable
from predictor.builder.parallel import run_ordered
from predictor.plan import engine_name
from predictor.segment_index import (
    LINEAR_ROLES,
    VOCABULARY,
    SegmentIndex,
    StoredTensor,
    graph_file,
    read_segment_index,
)
from protocol.release import WEIGHTS_FILE
from protocol.release_documents import ReleaseError

BLOCK_VALUES = 1 << 22
"""Values that one task reads and converts: 16 MiB of float32."""
THREADS = 4

Block = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class PlanTensorSpec:
    """A tensor of a plan before it has an offset."""

    name: str
    dtype: str
    """numpy's name."""
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes without padding."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class PlanSource(Protocol):
    """Graphs and tensors of a plan in one precision."""

    @property
    def graphs(self) -> Mapping[str, bytes]:
        """Serialized ONNX by engine, see :func:`predictor.plan.engine_name`."""
        ...

    @property
    def tensors(self) -> Sequence[PlanTensorSpec]:
        """In the order of the file; names are unique."""
        ...

    @property
    def weights(self) -> Mapping[str, str]:
        """Names of tensors by names of weights, see :attr:`predictor.plan.TensorRTPlan.weights`."""
        ...

    @property
    def rotary(self) -> tuple[str, str]:
        """Names of the rotary tables, cosines and sines."""
        ...

    @property
    def norm_eps(self) -> float:
        """Epsilon of all RMS norms."""
        ...

    @property
    def quantized(self) -> tuple[str, ...]:
        """Names of the matrices that are not in float16, sorted."""
        ...

    def blocks(self, tensor: PlanTensorSpec) -> Iterator[Block]:
        """The tensor's values in order, in arrays of its type.

        Raises:
            ReleaseError: they cannot be read.
            PrecisionUnavailable: they do not fit the type.
        """
        ...


class Float16Source:
    """A plan source with matrices in float16, and norms, biases and rotary tables in float32."""

    quantized: tuple[str, ...] = ()

    def __init__(self, release: Path) -> None:
        """Read the release's segment index and graphs.

        Raises:
            ReleaseError: the release has no segments, or a file of them is missing.
        """
        self._release = release
        self._index = read_segment_index(release)
        self.graphs = {engine_name(role, "float16"): read_graph(release, role) for role in LINEAR_ROLES}
        self.rotary = self._index.rotary
        self.norm_eps = self._index.traits.norm_eps
        self.weights = weight_table(self._index)
        self.tensors = tuple(
            PlanTensorSpec(name, self._index.step_dtype(name), stored.shape)
            for name, stored in self._index.tensors.items()
        )

    def blocks(self, tensor: PlanTensorSpec) -> Iterator[Block]:
        """See :meth:`PlanSource.blocks`."""
        return converted(self._release / WEIGHTS_FILE, self._index.tensors[tensor.name], tensor)


def read_graph(release: Path, role: str) -> bytes:
    """The float16 graph of a release for one role.

    Raises:
        ReleaseError: it cannot be read.
    """
    path = release / graph_file(role)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReleaseError(
            f"{path}: {error.strerror}; rebuild the release with --precision float16"
        ) from error


def weight_table(index: SegmentIndex) -> dict[str, str]:
    """Names of tensors by names of weights; a tied vocabulary is the embedding."""
    return {**{name: name for name in index.tensors}, VOCABULARY: index.vocabulary}


def converted(path: Path, stored: StoredTensor, tensor: PlanTensorSpec) -> Iterator[Block]:
    """A tensor of ``weights.bin`` converted to another type, in blocks; threads read and convert ahead.

    Args:
        path: of ``weights.bin``.
        stored: place and type of the tensor there.
        tensor: name and new type.

    Raises:
        ReleaseError: the file cannot be read, or ends too early.
        PrecisionUnavailable: a value is beyond the type's range.
    """
    count = math.prod(stored.shape)
    tasks = (
        partial(_convert, path, stored, tensor, start, min(BLOCK_VALUES, count - start))
        for start in range(0, count, BLOCK_VALUES)
    )
    return run_ordered(tasks, threads=THREADS)


def _convert(path: Path, stored: StoredTensor, tensor: PlanTensorSpec, start: int, count: int) -> Block:
    """Values ``[start, start + count)`` of a tensor, converted."""
    offset = stored.offset + start * np.dtype(stored.dtype).itemsize
    try:
        values = np.fromfile(path, stored.dtype, count, offset=offset)
    except OSError as error:
        raise ReleaseError(
            f"{path} cannot be read: {error.strerror}; check it with `yiwen release verify`"
        ) from error
    if len(values) != count:
        raise ReleaseError(f"{path} ends inside {tensor.name}: check it with `yiwen release verify`")
    with np.errstate(over="ignore"):
        block: Block = values.astype(tensor.dtype, copy=False)
    if not np.isfinite(block).all():
        raise PrecisionUnavailable(
            f"{tensor.name} has values that are not finite in {tensor.dtype}, so this release can have no plan: "
            "serve it with YIWEN_BACKEND=onnxruntime"
        )
    return block
