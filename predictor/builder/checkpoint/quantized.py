"""Replaces the parts of quantized matrices among a checkpoint's tensors by the matrices themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from predictor.builder.checkpoint.awq import awq_matrix, check_awq
from predictor.builder.checkpoint.compressed_tensors import (
    block_structures,
    check_compressed_tensors,
    group_sizes,
    int8_matrix,
    packed_matrix,
    square,
)
from predictor.builder.checkpoint.float8 import float8_matrix
from predictor.builder.checkpoint.gptq import check_gptq, gptq_matrix
from predictor.builder.checkpoint.packed import PackedMatrix
from predictor.builder.checkpoint.quantization_config import QuantizationConfig
from predictor.builder.checkpoint.stored_tensors import CheckpointTensor

Tensors = Mapping[str, CheckpointTensor]

PARTS = (
    "qweight", "qzeros", "scales", "g_idx", "weight_packed", "weight_shape", "weight_scale", "weight_scale_inv",
    "weight_zero_point", "weight_g_idx",
)  # fmt: skip
"""Of a quantized matrix, behind the name of its module."""
OF_ACTIVATIONS = (
    "input_scale", "input_zero_point", "output_scale", "output_zero_point", "input_scale_ub", "activation_scale",
    "k_scale", "v_scale", "q_scale", "kv_scale", "prob_scale",
)  # fmt: skip
"""Scales of inputs, of results and of the K/V cache, which are computed in floats here."""


@dataclass(frozen=True, slots=True)
class QuantizedTensors:
    """The tensors of a quantized checkpoint."""

    tensors: dict[str, CheckpointTensor]
    """All names, without the parts."""
    packed: dict[str, PackedMatrix] = field(default_factory=dict)
    """The matrices that are quantized, by name."""


def quantized_tensors(tensors: Tensors, config: QuantizationConfig | None) -> QuantizedTensors:
    """The tensors of a checkpoint, with each quantized matrix under the name that it has in one that is not.

    Args:
        tensors: as they are stored.
        config: how they are quantized; None: not at all.

    Raises:
        BrokenCheckpoint: parts of a matrix are missing, or do not fit each other.
        UnsupportedModel: the form is not read.
    """
    if config is None:
        return QuantizedTensors(dict(tensors))
    packed = dict(_CHECKED[config.method](tensors, config))
    modules = {name.removesuffix(".weight") for name in packed}
    kept = {name: entry for name, entry in tensors.items() if not _is_part(name, modules)}
    for name, matrix in packed.items():
        path = next(tensors[part].path for part in _names(name, tensors))
        kept[name] = CheckpointTensor(path, matrix.label, matrix.shape)
    return QuantizedTensors(kept, packed)


def _names(name: str, tensors: Tensors) -> Iterator[str]:
    module = name.removesuffix(".weight")
    return (each for each in (name, f"{module}.qweight", f"{module}.weight_packed") if each in tensors)


def _is_part(name: str, modules: set[str]) -> bool:
    module, _, part = name.rpartition(".")
    return part in OF_ACTIVATIONS or (part in PARTS and module in modules)


def _modules(tensors: Tensors, part: str) -> Iterator[str]:
    return (name.removesuffix(f".{part}") for name in tensors if name.endswith(f".{part}"))


def _float8(tensors: Tensors, config: QuantizationConfig) -> Iterator[tuple[str, PackedMatrix]]:
    block = square(config.get("weight_block_size"))
    yield from _float8_matrices(tensors, [] if block is None else [block])


def _float8_matrices(tensors: Tensors, blocks: list[tuple[int, int]]) -> Iterator[tuple[str, PackedMatrix]]:
    for module in _modules(tensors, "weight"):
        matrix = float8_matrix(module, tensors, blocks)
        if matrix is not None:
            yield matrix.name, matrix


def _modelopt(tensors: Tensors, config: QuantizationConfig) -> Iterator[tuple[str, PackedMatrix]]:
    config.require("quant_algo", "FP8")
    return _float8_matrices(tensors, [])


def _compressed(tensors: Tensors, config: QuantizationConfig) -> Iterator[tuple[str, PackedMatrix]]:
    check_compressed_tensors(config)
    yield from _float8_matrices(
        tensors, block_structures(config) + [(1, size) for size in group_sizes(config)]
    )
    for module in _modules(tensors, "weight"):
        matrix = int8_matrix(module, tensors, config)
        if matrix is not None:
            yield f"{module}.weight", matrix
    for module in _modules(tensors, "weight_packed"):
        yield f"{module}.weight", packed_matrix(module, tensors, config)


def _by_qweight(
    check: Callable[[QuantizationConfig], None],
    matrix: Callable[[str, Tensors, QuantizationConfig], PackedMatrix],
    tensors: Tensors,
    config: QuantizationConfig,
) -> Iterator[tuple[str, PackedMatrix]]:
    check(config)
    for module in _modules(tensors, "qweight"):
        yield f"{module}.weight", matrix(module, tensors, config)


_CHECKED: Mapping[str, Callable[[Tensors, QuantizationConfig], Iterator[tuple[str, PackedMatrix]]]] = {
    "fp8": _float8,
    "fbgemm_fp8": _float8,
    "modelopt": _modelopt,
    "compressed-tensors": _compressed,
    "gptq": partial(_by_qweight, check_gptq, gptq_matrix),
    "awq": partial(_by_qweight, check_awq, awq_matrix),
}
