"""GPTQ's matrices, as AutoGPTQ and GPTQModel store them (``QuantLinear`` in auto_gptq/nn_modules/qlinear).

``qweight`` int32 [K * bits / 32, N]: the codes of a column of W^T, lowest bits first. ``scales`` [groups, N].
``qzeros`` int32 [groups, N * bits / 32]: zero points, less one in the format ``gptq``, as they are in ``gptq_v2``.
``g_idx`` int32 [K]: group of each of the K inputs. W[n, k] = scales[g, n] * (code - zero point), with g = g_idx[k].
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from predictor.builder.checkpoint.integer_matrix import (
    BITS,
    IntegerMatrix,
    columns_of_words,
    group_order,
    integer_part,
    unpacked,
)
from predictor.builder.checkpoint.packed import Codes, Float32Array
from predictor.builder.checkpoint.quantization_config import ORIGINAL, QuantizationConfig
from predictor.builder.checkpoint.stored_tensors import CheckpointTensor, read_part
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel

PARTS = ("qweight", "qzeros", "scales", "g_idx")
"""Tensors of a matrix, behind the name of its module; the last one may be missing."""


def check_gptq(config: QuantizationConfig) -> None:
    """Refuse what changes the numbers and is not read.

    Raises:
        UnsupportedModel: it is in use.
    """
    for field in ("checkpoint_format", "format"):
        config.require(field, "gptq", "gptq_v2")
    config.require("pack_dtype", "int32")
    config.require("is_marlin_format", False)
    config.require("rotation", "")


def gptq_matrix(
    module: str, tensors: Mapping[str, CheckpointTensor], config: QuantizationConfig
) -> IntegerMatrix:
    """The matrix of a module.

    Args:
        module: name of it.
        tensors: of the checkpoint.
        config: its quantization.

    Raises:
        BrokenCheckpoint: a part is missing, or the parts do not fit each other.
        UnsupportedModel: it has codes of another size than 2, 4 or 8 bits.
    """
    qweight, qzeros, scales = (integer_part(module, part, tensors) for part in PARTS[:3])
    words, rows = qweight.shape
    order = _order(module, tensors)
    bits = config.integer("bits", default=0) if order is None else round(32 * words / max(1, order.size))
    if bits not in BITS:
        raise UnsupportedModel(
            f"{config.source}: {module} has codes of {bits} bits; read are 2, 4 and 8; {ORIGINAL}"
        )
    columns, groups = words * 32 // bits, scales.shape[0]
    group = _group(columns, groups, config.integer("group_size", default=-1))
    expected = (groups, -(-rows * bits // 32))
    if group is None or scales.shape != (groups, rows) or qzeros.shape != expected:
        raise BrokenCheckpoint(
            f"{qweight.path.name}: {module} has qweight {list(qweight.shape)}, qzeros {list(qzeros.shape)} and "
            f"scales {list(scales.shape)}, which do not make a matrix of {bits} bits with group_size "
            f"{config.get('group_size')} (GPTQ)"
        )
    return IntegerMatrix(
        shape=(rows, columns),
        bits=bits,
        group=group,
        codes=partial(_codes, f"{module}.qweight", qweight, bits),
        scales=partial(transposed_scales, f"{module}.scales", scales),
        zero_points=partial(_zero_points, f"{module}.qzeros", qzeros, bits, _version(config)),
        group_of=None if order is None else group_order(f"{module}.g_idx", order, columns, group),
    )


def transposed_scales(name: str, entry: CheckpointTensor, first: int, count: int) -> Float32Array:
    """Columns of a tensor [groups, N] as float32 [count, groups]."""
    part = read_part(name, entry, columns=slice(first, first + count))
    return np.ascontiguousarray(part.T, np.float32)


def _group(columns: int, groups: int, told: int) -> int | None:
    """Columns of a group; None if ``told`` gives another number of groups."""
    group = columns if told < 1 else min(told, columns)
    return group if -(-columns // group) == groups else None


def _order(module: str, tensors: Mapping[str, CheckpointTensor]) -> npt.NDArray[np.int64] | None:
    """Group of each input, if the checkpoint says it."""
    entry = tensors.get(f"{module}.g_idx")
    return None if entry is None else read_part(f"{module}.g_idx", entry).astype(np.int64)


def _codes(name: str, entry: CheckpointTensor, bits: int, first: int, count: int) -> Codes:
    words = read_part(name, entry, columns=slice(first, first + count))
    return unpacked(words.T, bits)


def _version(config: QuantizationConfig) -> str:
    """How stored zero points become zero points: ``as they are``, ``codes plus one`` or ``words plus one``.

    In the first format they are less one. AutoGPTQ adds it to each code, modulo its size
    (qlinear_cuda_old.py, forward); GPTQModel has subtracted from whole words, with what is carried between
    codes, and adds the same (utils/model.py, convert_gptq_v1_to_v2_format_module). The two differ where a zero point
    is 0, which symmetric quantization never has.
    """
    if "gptq_v2" in (config.get("checkpoint_format"), config.get("format")):
        return "as they are"
    meta = config.get("meta", default={})
    quantizer = str(meta.get("quantizer", "")) if isinstance(meta, dict) else ""
    return "words plus one" if "gptqmodel" in quantizer else "codes plus one"


def _zero_points(
    name: str, entry: CheckpointTensor, bits: int, version: str, first: int, count: int
) -> Codes:
    words, codes = columns_of_words(first, count, bits)
    stored = read_part(name, entry, columns=words)
    if version == "words plus one":
        stored = (stored.view(np.uint32) + np.uint32(sum(1 << shift for shift in range(0, 32, bits)))).view(
            np.int32
        )
    values = unpacked(stored, bits)[:, codes]
    if version == "codes plus one":
        values = (values + np.uint8(1)) & np.uint8((1 << bits) - 1)
    return np.ascontiguousarray(values.T)
