"""AWQ's matrices, as AutoAWQ stores them in its version ``gemm`` (``WQLinear_GEMM``, awq/utils/packing_utils.py).

``qweight`` int32 [K, N / 8], ``qzeros`` int32 [groups, N / 8]: eight codes of 4 bits a word, in the order of columns
0, 2, 4, 6, 1, 3, 5, 7 from the lowest bits. ``scales`` [groups, N]. W[n, k] = scales[g, n] * (code - zero point),
with g = k // group size.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from predictor.builder.checkpoint.gptq import transposed_scales
from predictor.builder.checkpoint.integer_matrix import (
    IntegerMatrix,
    columns_of_words,
    integer_part,
    unpacked,
)
from predictor.builder.checkpoint.packed import Codes
from predictor.builder.checkpoint.quantization_config import QuantizationConfig
from predictor.builder.checkpoint.stored_tensors import CheckpointTensor, read_part
from predictor.builder.errors import BrokenCheckpoint

BITS = 4
_ORDER = np.array([0, 4, 1, 5, 2, 6, 3, 7])
"""Place in the word of each of eight neighboring columns."""


def check_awq(config: QuantizationConfig) -> None:
    """Refuse other versions and sizes.

    Raises:
        UnsupportedModel: it is one.
    """
    for field in ("version", "format", "checkpoint_format"):
        config.require(field, "gemm", "GEMM")
    for field in ("bits", "w_bit"):
        config.require(field, BITS)
    config.require("backend", "autoawq")


def awq_matrix(
    module: str, tensors: Mapping[str, CheckpointTensor], config: QuantizationConfig
) -> IntegerMatrix:
    """The matrix of a module.

    Args:
        module: name of it.
        tensors: of the checkpoint.
        config: its quantization.

    Raises:
        BrokenCheckpoint: a part is missing, or the parts do not fit each other.
    """
    qweight, scales = (integer_part(module, part, tensors) for part in ("qweight", "scales"))
    even = config.get("zero_point") is False and f"{module}.qzeros" not in tensors
    qzeros = None if even else integer_part(module, "qzeros", tensors)
    columns, rows = qweight.shape[0], qweight.shape[1] * 32 // BITS
    told = config.integer("group_size", "q_group_size", default=128)
    group = columns if told < 1 else told
    groups = -(-columns // group)
    for part, entry, shape in (
        ("qzeros", qzeros, (groups, qweight.shape[1])),
        ("scales", scales, (groups, rows)),
    ):
        if entry is not None and entry.shape != shape:
            raise BrokenCheckpoint(
                f"{entry.path.name}: {module}.{part} has shape {list(entry.shape)}, but {list(shape)} belongs to "
                f"qweight {list(qweight.shape)} with groups of {group} (AWQ, version gemm)"
            )
    return IntegerMatrix(
        shape=(rows, columns),
        bits=BITS,
        group=group,
        codes=partial(_codes, f"{module}.qweight", qweight),
        scales=partial(transposed_scales, f"{module}.scales", scales),
        zero_points=None if qzeros is None else partial(_codes, f"{module}.qzeros", qzeros),
    )


def _codes(name: str, entry: CheckpointTensor, first: int, count: int) -> Codes:
    """Columns of a packed tensor: uint8 [count, rows of it]."""
    words, codes = columns_of_words(first, count, BITS)
    values = unpacked(read_part(name, entry, columns=words), BITS)
    ordered = values.reshape(len(values), -1, 8)[..., _ORDER].reshape(len(values), -1)
    return np.ascontiguousarray(ordered[:, codes].T)
