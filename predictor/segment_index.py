"""The segments of a decoder: its five graphs, the names of its weights, and ``segments/segments.json``.

A *segment* is one matrix product, y = x W^T with the weight as an input, so that one graph, or one engine built from
it, serves all layers. There is a graph per role of a matrix (N rows and K columns of W, T rows of x)::

    in   x float16 [T, K], weight float16 [N, K]     out  y float16 [T, N]
    in   x int8 [T, K],    weight int8 [N, K]        out  y float32 [T, N], the sum of products times INT8_STEP

Runners implement what is between the graphs: norms, rotary embedding, attention, biases, residuals and the gate.
All weights have these names, in ``weights.bin`` as in a plan (i: layer, H hidden, F all heads of queries, keys and
values, D head_dim, I intermediate, V vocab; see :class:`protocol.release.DecoderShape`)::

    embedding                           [V, H]
    layers.i.attention.norm             [H]                  if traits.pre_norms; also of the MLP
    layers.i.attention.qkv              [F, H]               queries, keys, values below each other
    layers.i.attention.q_norm, .k_norm  [D]                  if traits.qk_norm; [heads * D], [KV heads * D] if wide
    layers.i.attention.post_norm        [H]                  if traits.post_norms; also of the MLP
    layers.i.attention.output           [H, heads * D]
    layers.i.mlp.norm                   [H]
    layers.i.mlp.gate_up                [2 I, H]             gate above up
    layers.i.mlp.down                   [H, I]
    norm                                [H]
    vocabulary                          [V, H]               absent where it is tied to the embedding
    rotary.cos, rotary.sin              [positions, D / 2]   float32
    rotary.local.cos, rotary.local.sin  likewise             if traits.layers has local ones
    MATRIX.bias                         [N]                  if the traits say so
    MATRIX.input_scale                  [K]                  of int8 matrices, in plans only
    MATRIX.output_scale                 [N]                  likewise

Matrices are multiplied in float16 or int8, the rest is used in float32; ``weights.bin`` may keep matrices in
float32. An int8 product takes round(x * input_scale), clamped to +-127, and its y counts times output_scale.

Shared by those who run the graphs (:mod:`predictor.runners`), who emit them
(:mod:`predictor.builder.graph.segments`), and who make engines of them (:mod:`predictor.builder.plans.build`).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from protocol.release import SEGMENTS_DIR, WEIGHTS_FILE, DecoderShape
from protocol.release_documents import ReleaseError

INDEX_FILE = "segments.json"
INDEX_FORMAT = 1

LAYER_ROLES = ("qkv", "attention_output", "gate_up", "down")
"""Roles of the matrices that each layer has one of, in the order of a step."""
LINEAR_ROLES = (*LAYER_ROLES, "vocabulary")
"""Roles of all matrices of products; the embedding is a lookup table."""

INT8_STEP = 2.0**-12
"""Factor of the integer sum of an int8 product, which the output scale is relative to. It is constant, since weights
and scales are inputs of the graph, and a power of two, which rounds nothing."""

EMBEDDING = "embedding"
FINAL_NORM = "norm"
VOCABULARY = "vocabulary"
ROTARY = ("rotary.cos", "rotary.sin")
"""Cosines and sines."""
LOCAL_ROTARY = ("rotary.local.cos", "rotary.local.sin")
"""The same for local layers."""
GLOBAL, LOCAL, UNROTATED = "global", "local", "unrotated"
"""Kinds of attention layers: over all tokens; over a window, with its own rotary table; over all, not rotated."""

_PARTS = {
    "qkv": "attention.qkv",
    "attention_output": "attention.output",
    "gate_up": "mlp.gate_up",
    "down": "mlp.down",
}

Tensor = npt.NDArray[np.generic]


def layer_tensor(layer: int, part: str) -> str:
    """Name of a layer's tensor, e.g. ``layers.3.mlp.norm`` for ``mlp.norm``."""
    return f"layers.{layer}.{part}"


def linear(layer: int, role: str) -> str:
    """Name of a layer's matrix, one of :data:`LAYER_ROLES`. The vocabulary's: :attr:`SegmentIndex.vocabulary`."""
    return layer_tensor(layer, _PARTS[role])


def bias(matrix: str) -> str:
    """Name of a matrix's bias, float32 [N]."""
    return f"{matrix}.bias"


def input_scale(matrix: str) -> str:
    """Name of what the inputs of an int8 matrix are multiplied with before rounding, float32 [K]."""
    return f"{matrix}.input_scale"


def output_scale(matrix: str) -> str:
    """Name of what the products of an int8 matrix are multiplied with, float32 [N]."""
    return f"{matrix}.output_scale"


def linear_shape(shape: DecoderShape, role: str) -> tuple[int, int]:
    """(N, K) of a matrix: N results from K inputs. ``role`` is one of :data:`LINEAR_ROLES`."""
    heads = shape.heads * shape.head_dim
    shapes = {
        "qkv": (heads + 2 * shape.kv_heads * shape.head_dim, shape.hidden),
        "attention_output": (shape.hidden, heads),
        "gate_up": (2 * shape.intermediate, shape.hidden),
        "down": (shape.hidden, shape.intermediate),
        "vocabulary": (shape.vocab, shape.hidden),
    }
    return shapes[role]


def graph_file(role: str) -> str:
    """Path of a role's float16 graph inside the release."""
    return f"{SEGMENTS_DIR}/{role}.onnx"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies in ``weights.bin``, C order."""

    offset: int
    """Byte of the file."""
    dtype: str
    """numpy's name: float32 or float16."""
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes without padding."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class SegmentTraits:
    """The decoder's details beyond ``release.json``: the norms' epsilon, and which tensors exist."""

    norm_eps: float
    qkv_bias: bool
    output_bias: bool
    """Of the projection after attention."""
    mlp_bias: bool
    qk_norm: bool
    """Queries and keys are normed per head."""
    norm_after_rotary: bool = False
    """That is done after the rotary embedding."""
    wide_qk_norm: bool = False
    """All heads are normed together."""
    pre_norms: bool = True
    """The inputs of attention and MLP are normed."""
    post_norms: bool = False
    """What attention and MLP add to the residual is normed."""
    gelu: bool = False
    """The MLP's gate is GELU in its tanh form, not SiLU."""
    attention_softcap: float = 0.0
    """Scores become cap * tanh(score / cap); 0: none."""
    logits_softcap: float = 0.0
    window: int = 0
    """Tokens that a local layer attends to, the token itself included."""
    layers: tuple[str, ...] = ()
    """Kind of each layer; empty: all global."""

    def kind(self, layer: int) -> str:
        """Kind of a layer."""
        return self.layers[layer] if self.layers else GLOBAL

    def to_json(self) -> dict[str, Any]:
        """The fields, without those that have their default."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


@dataclass(frozen=True, slots=True)
class SegmentIndex:
    """``segments.json``."""

    traits: SegmentTraits
    tensors: Mapping[str, StoredTensor]
    """By the names above."""

    @property
    def rotary(self) -> tuple[str, str]:
        """Names of the tables of cosines and sines."""
        return ROTARY

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len({name.split(".")[1] for name in self.tensors if name.startswith("layers.")})

    @property
    def vocabulary(self) -> str:
        """Name of the tensor that is the vocabulary's matrix."""
        return VOCABULARY if VOCABULARY in self.tensors else EMBEDDING

    def step_dtype(self, name: str) -> str:
        """The type, by numpy's name, in which a step uses a tensor that is not quantized."""
        is_matrix = len(self.tensors[name].shape) == 2 and name not in (*ROTARY, *LOCAL_ROTARY)
        return "float16" if is_matrix else "float32"

    def to_json(self) -> dict[str, Any]:
        """The document that :func:`read_segment_index` reads."""
        return {
            "format": INDEX_FORMAT,
            "traits": self.traits.to_json(),
            "tensors": {
                name: {"offset": tensor.offset, "dtype": tensor.dtype, "shape": list(tensor.shape)}
                for name, tensor in self.tensors.items()
            },
        }


def read_segment_index(release: Path) -> SegmentIndex:
    """Read ``segments.json`` of a release directory.

    Raises:
        ReleaseError: the release has no segments, or the file is not one this version reads.
    """
    path = release / SEGMENTS_DIR / INDEX_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ReleaseError(
            f"{release} has no {SEGMENTS_DIR}/{INDEX_FILE}: rebuild the release with --precision float16 or float32"
        ) from error
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{path} cannot be read: {error}; rebuild the release") from error
    try:
        if document["format"] != INDEX_FORMAT:
            raise ValueError(f"format is {document['format']!r}, this version reads {INDEX_FORMAT}")
        return _index(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReleaseError(f"{path}: {error!r}; rebuild the release with this version of yiwen") from error


def map_tensor(release: Path, tensor: StoredTensor) -> Tensor:
    """A tensor of ``weights.bin``, mapped read-only: pages are read on access.

    Raises:
        ReleaseError: the file is missing or too short.
    """
    path = release / WEIGHTS_FILE
    try:
        return np.memmap(path, tensor.dtype, mode="r", offset=tensor.offset, shape=tensor.shape)
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{path} cannot be read: {error}; check it with `yiwen release verify`") from error


def _index(document: Mapping[str, Any]) -> SegmentIndex:
    index = SegmentIndex(
        traits=SegmentTraits(**{**document["traits"], "layers": tuple(document["traits"].get("layers", ()))}),
        tensors={
            name: StoredTensor(
                int(entry["offset"]), str(entry["dtype"]), tuple(int(side) for side in entry["shape"])
            )
            for name, entry in document["tensors"].items()
        },
    )
    if missing := _needed(index) - set(index.tensors):
        raise ValueError(f"tensors has no {min(missing)}")
    return index


def _needed(index: SegmentIndex) -> set[str]:
    """Names of the tensors that the traits require."""
    traits = index.traits
    biased = {
        "qkv": traits.qkv_bias,
        "attention_output": traits.output_bias,
        "gate_up": traits.mlp_bias,
        "down": traits.mlp_bias,
    }
    parts = list(_PARTS.values())
    parts += ["attention.norm", "mlp.norm"] if traits.pre_norms else []
    parts += ["attention.post_norm", "mlp.post_norm"] if traits.post_norms else []
    parts += [bias(_PARTS[role]) for role in LAYER_ROLES if biased[role]]
    parts += ["attention.q_norm", "attention.k_norm"] if traits.qk_norm else []
    of_layers = {layer_tensor(layer, part) for layer in range(index.layers) for part in parts}
    rotary = (*ROTARY, *LOCAL_ROTARY) if LOCAL in traits.layers else ROTARY
    return {EMBEDDING, FINAL_NORM, *rotary} | of_layers
