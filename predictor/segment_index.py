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
    layers.i.attention.query            [heads * query, query_rank], of latent attention (traits.latent), whose QKV is
                                                             queries or their latent, latent, rotated key
    layers.i.attention.latent_kv        [heads * (plain + value), rank]   keys above values of each head
    layers.i.attention.query_norm       [query_rank]         if traits.latent.query_rank, as the query matrix
    layers.i.attention.latent_norm      [rank]
    layers.i.mlp.norm                   [H]                  unless traits.parallel
    layers.i.mlp.gate_up                [2 I, H]             gate above up
    layers.i.mlp.down                   [H, I]
    layers.i.mlp.router                 [E, H]               float32, of a mixture of E experts
    layers.i.mlp.router.bias            [E]                  if traits.mixture.biased
    layers.i.mlp.experts.gate_up        [E 2 X, H]           X intermediate; an expert's gate and up alternate
    layers.i.mlp.experts.down           [E H, X]
    layers.i.mlp.shared.gate_up, .down  as an MLP's          if traits.mixture.shared_intermediate
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

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.segment_traits import LOCAL, LatentTraits, SegmentTraits
from protocol.release import SEGMENTS_DIR, WEIGHTS_FILE, DecoderShape
from protocol.release_documents import ReleaseError

INDEX_FILE = "segments.json"
INDEX_FORMAT = 1

LAYER_ROLES = ("qkv", "attention_output", "gate_up", "down")
"""Roles of the matrices that each layer has one of, in the order of a step."""
LINEAR_ROLES = (*LAYER_ROLES, "vocabulary")
"""Roles of all matrices of products; the embedding is a lookup table."""
EXPERT_ROLES, SHARED_ROLES = ("expert_gate_up", "expert_down"), ("shared_gate_up", "shared_down")
"""In layers that are mixtures these, and shared ones if there are any, stand in place of ``gate_up`` and ``down``. A
graph of an expert's role multiplies with the matrix of one expert."""
ROUTER, ROUTER_BIAS = "mlp.router", "mlp.router.bias"
LATENT_KV, LATENT_NORM, QUERY_NORM = "attention.latent_kv", "attention.latent_norm", "attention.query_norm"

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
_PARTS = {
    "qkv": "attention.qkv",
    "query": "attention.query",
    "attention_output": "attention.output",
    "gate_up": "mlp.gate_up",
    "down": "mlp.down",
    "expert_gate_up": "mlp.experts.gate_up",
    "expert_down": "mlp.experts.down",
    "shared_gate_up": "mlp.shared.gate_up",
    "shared_down": "mlp.shared.down",
}

Tensor = npt.NDArray[np.generic]


def layer_tensor(layer: int, part: str) -> str:
    """Name of a layer's tensor, e.g. ``layers.3.mlp.norm`` for ``mlp.norm``."""
    return f"layers.{layer}.{part}"


def linear(layer: int, role: str) -> str:
    """Name of a layer's matrix, one of :func:`layer_roles`. The vocabulary's: :attr:`SegmentIndex.vocabulary`."""
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


def layer_roles(traits: SegmentTraits, layer: int) -> tuple[str, ...]:
    """Roles of a layer's matrices, in the order of a step; an expert's stand for those of all experts."""
    query = ("query",) if traits.latent is not None and traits.latent.query_rank else ()
    mixture = traits.mixture_of(layer)
    if mixture is None:
        return ("qkv", *query, *LAYER_ROLES[1:])
    shared = SHARED_ROLES if mixture.shared_intermediate else ()
    return ("qkv", *query, "attention_output", *EXPERT_ROLES, *shared)


def linear_roles(traits: SegmentTraits, layers: int) -> tuple[str, ...]:
    """Roles of all matrices of a decoder of so many layers, each once."""
    roles = [role for layer in range(layers) for role in layer_roles(traits, layer)]
    return (*dict.fromkeys(roles), "vocabulary")


def linear_shape(shape: DecoderShape, role: str, traits: SegmentTraits | None = None) -> tuple[int, int]:
    """(N, K) of a matrix: N results from K inputs.

    Args:
        shape: of the decoder.
        role: one of :func:`linear_roles`.
        traits: of the decoder, for roles that not every decoder has.
    """
    heads = shape.heads * shape.head_dim
    mixture = None if traits is None else traits.mixture
    expert, shared = (0, 0) if mixture is None else (mixture.intermediate, mixture.shared_intermediate)
    latent = None if traits is None else traits.latent
    if latent is not None and role in ("qkv", "query", "attention_output"):
        return _latent_shape(shape, role, latent)
    shapes = {
        "qkv": (heads + 2 * shape.kv_heads * shape.head_dim, shape.hidden),
        "attention_output": (shape.hidden, heads),
        "gate_up": (2 * shape.intermediate, shape.hidden),
        "down": (shape.hidden, shape.intermediate),
        "expert_gate_up": (2 * expert, shape.hidden),
        "expert_down": (shape.hidden, expert),
        "shared_gate_up": (2 * shared, shape.hidden),
        "shared_down": (shape.hidden, shared),
        "vocabulary": (shape.vocab, shape.hidden),
    }
    return shapes[role]


def _latent_shape(shape: DecoderShape, role: str, latent: LatentTraits) -> tuple[int, int]:
    shapes = {
        "qkv": (sum(latent.projected(shape.heads)), shape.hidden),
        "query": (shape.heads * latent.query, latent.query_rank),
        "attention_output": (shape.hidden, shape.heads * latent.value),
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
        is_table = name in (*ROTARY, *LOCAL_ROTARY) or name.endswith(ROUTER)
        is_matrix = len(self.tensors[name].shape) == 2 and not is_table
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
        traits=SegmentTraits.from_json(document["traits"]),
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
    layers = range(index.layers)
    of_layers = {layer_tensor(layer, part) for layer in layers for part in _needed_parts(index.traits, layer)}
    rotary = (*ROTARY, *LOCAL_ROTARY) if LOCAL in index.traits.layers else ROTARY
    return {EMBEDDING, FINAL_NORM, *rotary} | of_layers


def _needed_parts(traits: SegmentTraits, layer: int) -> list[str]:
    """Names of the tensors of a layer, within the layer."""
    biased = {
        "qkv": traits.qkv_bias,
        "attention_output": traits.output_bias,
        "gate_up": traits.mlp_bias,
        "down": traits.mlp_bias,
    }
    roles = layer_roles(traits, layer)
    parts = [_PARTS[role] for role in roles]
    parts += ["attention.norm"] if traits.pre_norms else []
    parts += ["mlp.norm"] if traits.pre_norms and not traits.parallel else []
    parts += ["attention.post_norm", "mlp.post_norm"] if traits.post_norms else []
    parts += [bias(_PARTS[role]) for role in roles if biased.get(role)]
    parts += ["attention.q_norm", "attention.k_norm"] if traits.qk_norm else []
    if traits.latent is not None:
        parts += [LATENT_KV, LATENT_NORM, *([QUERY_NORM] if traits.latent.query_rank else [])]
    mixture = traits.mixture_of(layer)
    parts += [ROUTER] if mixture is not None else []
    parts += [ROUTER_BIAS] if mixture is not None and mixture.biased else []
    return parts
