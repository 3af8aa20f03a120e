"""Writes checkpoints in the forms of quantizers, by the loops of their published code, and tells their numbers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

from tests.predictor.builder.checkpoints import WEIGHTS, edit_json

Tensors = dict[str, np.ndarray]
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
RAW_TYPES = {ml_dtypes.float8_e4m3fn: "F8_E4M3", ml_dtypes.float8_e8m0fnu: "F8_E8M0"}


def packed_rows(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes [K, N] -> int32 [K * bits / 32, N], as AutoGPTQ's ``pack`` does it."""
    per_word = 32 // bits
    words = np.zeros((-(-len(codes) // per_word), codes.shape[1]), np.uint32)
    for row, values in enumerate(codes):
        words[row // per_word] |= values.astype(np.uint32) << np.uint32(bits * (row % per_word))
    return words.view(np.int32)


def packed_columns(codes: np.ndarray, bits: int, order: tuple[int, ...] | None = None) -> np.ndarray:
    """Codes [K, N] -> int32 [K, N * bits / 32]; ``order``: AutoAWQ's ``order_map``."""
    per_word = 32 // bits
    order = order or tuple(range(per_word))
    words = np.zeros((len(codes), -(-codes.shape[1] // per_word)), np.uint32)
    for column in range(words.shape[1]):
        for place in range(per_word):
            source = column * per_word + order[place]
            if source < codes.shape[1]:
                words[:, column] |= codes[:, source].astype(np.uint32) << np.uint32(bits * place)
    return words.view(np.int32)


def random_codes(shape: tuple[int, int], bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**bits, shape).astype(np.uint8)


def random_scales(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.01, 0.05, shape).astype(np.float16)


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """A safetensors file, with 8-bit floats too, which the library for numpy does not write."""
    header: dict[str, Any] = {}
    content = b""
    names = {np.dtype(kind): name for kind, name in RAW_TYPES.items()} | {
        np.dtype(np.float32): "F32", np.dtype(np.float16): "F16", np.dtype(ml_dtypes.bfloat16): "BF16",
    }  # fmt: skip
    for name, values in tensors.items():
        data = np.ascontiguousarray(values).tobytes()
        offsets = [len(content), len(content) + len(data)]
        header[name] = {"dtype": names[values.dtype], "shape": list(values.shape), "data_offsets": offsets}
        content += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


Quantizer = Callable[[str, np.ndarray], tuple[Tensors, np.ndarray]]
"""Parts of a module, by their full names, and its numbers."""


def quantize_checkpoint(
    checkpoint: Path, quantize: Quantizer, **quantization_config: object
) -> dict[str, np.ndarray]:
    """Replace the matrices of the layers, and return all numbers of the checkpoint by the names of its tensors."""
    stored: Tensors = {}
    numbers: dict[str, np.ndarray] = {}
    for name, values in load_file(checkpoint / WEIGHTS).items():
        if "_proj.weight" in name or name == "lm_head.weight":
            parts, numbers[name] = quantize(name.removesuffix(".weight"), values)
            stored |= parts
        else:
            stored[name] = numbers[name] = values
    if any(values.dtype in map(np.dtype, RAW_TYPES) for values in stored.values()):
        write_tensors(checkpoint / WEIGHTS, stored)
    else:
        save_file(stored, checkpoint / WEIGHTS)
    if quantization_config:
        edit_json(checkpoint / "config.json", quantization_config=quantization_config)
    return numbers


def gptq(
    *, bits: int = 4, group: int = 32, version: str = "gptq", even: bool = False, act_order: bool = False
) -> Quantizer:
    """W = scales[g_idx] * (code - zero), stored as ``QuantLinear.pack`` of auto_gptq does: zero points less one."""

    def quantize(module: str, values: np.ndarray) -> tuple[Tensors, np.ndarray]:
        rows, columns = values.shape
        size = columns if group < 1 else group
        groups = -(-columns // size)
        codes = random_codes((columns, rows), bits)
        zeros = (
            np.full((groups, rows), 2 ** (bits - 1), np.uint8)
            if even
            else 1 + random_codes((groups, rows), bits) % 14
        )
        scales = random_scales((groups, rows))
        g_idx = np.arange(columns) // size
        if act_order:
            g_idx = np.random.default_rng(3).permutation(g_idx)
        expected = scales[g_idx].astype(np.float32) * (
            codes.astype(np.float32) - zeros[g_idx].astype(np.float32)
        )
        parts = {
            "qweight": packed_rows(codes, bits),
            "qzeros": packed_columns(zeros - (version == "gptq"), bits),
            "scales": scales,
            "g_idx": g_idx.astype(np.int32),
        }
        return {f"{module}.{part}": each for part, each in parts.items()}, expected.T

    return quantize


def awq(*, group: int = 32) -> Quantizer:
    """W = scales * (code - zero), stored as ``WQLinear_GEMM.from_linear`` of AutoAWQ does."""

    def quantize(module: str, values: np.ndarray) -> tuple[Tensors, np.ndarray]:
        rows, columns = values.shape
        groups = columns // group
        codes, zeros = random_codes((columns, rows), 4), random_codes((groups, rows), 4, seed=5)
        scales = random_scales((groups, rows))
        of = np.arange(columns) // group
        expected = scales[of].astype(np.float32) * (codes.astype(np.float32) - zeros[of].astype(np.float32))
        parts = {
            "qweight": packed_columns(codes, 4, AWQ_ORDER),
            "qzeros": packed_columns(zeros, 4, AWQ_ORDER),
            "scales": scales,
        }
        return {f"{module}.{part}": each for part, each in parts.items()}, expected.T

    return quantize


def pack_quantized(*, bits: int = 4, group: int = 32, uneven: bool = False) -> Quantizer:
    """compressed-tensors' ``pack_to_int32``: 2 ** (bits - 1) is added to signed codes and zero points."""

    def quantize(module: str, values: np.ndarray) -> tuple[Tensors, np.ndarray]:
        rows, columns = values.shape
        size = columns if group < 1 else group
        groups = -(-columns // size)
        middle = 2 ** (bits - 1)
        signed = random_codes((rows, columns), bits).astype(np.int32) - middle
        zeros = random_codes((rows, groups), bits, seed=7).astype(np.int32) - middle if uneven else 0
        scales = random_scales((rows, groups)).astype(ml_dtypes.bfloat16)
        parts = {
            "weight_packed": packed_columns(signed + middle, bits),
            "weight_shape": np.array([rows, columns], np.int64),
            "weight_scale": scales,
        }
        if uneven:
            parts["weight_zero_point"] = packed_rows(np.asarray(zeros) + middle, bits)
        of = np.arange(columns) // size
        by_column = np.broadcast_to(zeros, (rows, groups))[:, of]
        expected = (signed - by_column).astype(np.float32) * scales.astype(np.float32)[:, of]
        return {f"{module}.{part}": np.asarray(each) for part, each in parts.items()}, expected

    return quantize


def int_quantized(*, uneven: bool = False) -> Quantizer:
    """compressed-tensors' int8 weights with a scale per row."""

    def quantize(module: str, values: np.ndarray) -> tuple[Tensors, np.ndarray]:
        rows, columns = values.shape
        codes = (random_codes((rows, columns), 8).astype(np.int32) - 128).astype(np.int8)
        scales = random_scales((rows, 1)).astype(np.float32)
        parts: Tensors = {"weight": codes, "weight_scale": scales}
        zeros = np.zeros((rows, 1), np.int8)
        if uneven:
            zeros = np.random.default_rng(4).integers(-20, 20, (rows, 1)).astype(np.int8)
            parts["weight_zero_point"] = zeros
        expected = (codes.astype(np.float32) - zeros.astype(np.float32)) * scales
        return {f"{module}.{part}": each for part, each in parts.items()}, expected

    return quantize


def float8(
    shape: str, *, scale: str = "weight_scale", block: int = 32, scale_type: type = np.float32
) -> Quantizer:
    """8-bit floats with one scale, one per row, or one per square: W = value * scale."""

    def quantize(module: str, values: np.ndarray) -> tuple[Tensors, np.ndarray]:
        rows, columns = values.shape
        codes = (values * 100).astype(ml_dtypes.float8_e4m3fn)
        shapes = {
            "tensor": (), "tensor of one": (1,), "row": (rows, 1), "vector": (rows,),
            "block": (-(-rows // block), -(-columns // block)),
        }  # fmt: skip
        scales = random_scales(shapes[shape]).astype(np.float32)
        if scale_type is ml_dtypes.float8_e8m0fnu:
            scales = np.exp2(np.round(np.log2(scales)))
        scales = np.asarray(scales.astype(scale_type))
        wide = scales.astype(np.float32)
        row, column = np.indices((rows, columns))
        at = {"row": (row, 0), "vector": (row,), "block": (row // block, column // block)}
        factors = wide.reshape(-1)[0] if shape.startswith("tensor") else wide[at[shape]]
        expected = codes.astype(np.float32) * factors
        parts = {"weight": codes, scale: scales, "input_scale": np.array([0.5], np.float32)}
        return {f"{module}.{part}": each for part, each in parts.items()}, expected

    return quantize
