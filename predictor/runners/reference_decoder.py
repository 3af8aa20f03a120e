"""The reference decoder: matrix products by ONNX Runtime graphs, all other operations by ``numpy_kernels``.

Graphs and names of tensors are those of :mod:`predictor.segment_index`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from predictor.errors import StartupError
from predictor.runners.numpy_kernels import (
    Float32s,
    LayerRule,
    SlotCache,
    dequantize,
    gelu_mul,
    layer_norm,
    quantize,
    rms_norm,
    silu_mul,
    softcap,
)
from predictor.runners.reference_latent import ReferenceLatent
from predictor.runners.reference_mixture import Product, ReferenceMixture
from predictor.runners.segmented import Int32s, StepPass
from predictor.segment_index import (
    EMBEDDING,
    EXPERT_ROLES,
    FINAL_NORM,
    LATENT_KV,
    LATENT_NORM,
    LOCAL_ROTARY,
    QUERY_NORM,
    ROTARY,
    ROUTER,
    ROUTER_BIAS,
    SHARED_ROLES,
    VOCABULARY,
    SegmentIndex,
    bias,
    input_scale,
    layer_tensor,
    linear,
    map_tensor,
    output_scale,
)
from predictor.segment_traits import GLOBAL, LOCAL, LatentTraits, MixtureTraits, SegmentTraits
from protocol.release import DecoderShape

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]
Graphs = Mapping[str, "bytes | Path"]
"""ONNX graphs, serialized or on disk, by role and type of the matrix: ``qkv.float16``, ``down.int8``."""
ActivationHook = Callable[[str, Float32s], None]
"""Called with the name of a matrix (``layers.3.mlp.down``, ``vocabulary``) and the input of its product, float32
[rows, in], before quantization."""


@dataclass(frozen=True, slots=True)
class ReferenceLinear:
    """y = x W^T + b, in float16, or in int8 where the matrix has scales."""

    name: str
    session: ort.InferenceSession
    weight: ort.OrtValue
    bias: Float32s | None
    input_scale: Float32s | None
    output_scale: Float32s | None
    hook: ActivationHook | None

    def run(self, values: Float32s) -> Float32s:
        """[rows, in] to [rows, out]."""
        if self.hook:
            self.hook(self.name, values)
        x = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(quantize(values, self.input_scale)))
        (y,) = self.session.run_with_ort_values(["y"], {"x": x, "weight": self.weight})
        return dequantize(y.numpy(), self.output_scale, self.bias)


@dataclass(frozen=True, slots=True)
class ReferenceMlp:
    """The MLP of one layer, or the shared one of a mixture."""

    gate_up: ReferenceLinear
    down: ReferenceLinear
    gelu: bool

    def run(self, values: Float32s) -> Float32s:
        """[rows, H] to [rows, H]."""
        gates = self.gate_up.run(values)
        return self.down.run(gelu_mul(gates) if self.gelu else silu_mul(gates))


@dataclass(frozen=True, slots=True)
class ReferenceLayer:
    """One layer of the decoder."""

    attention_norm: Float32s | None
    qkv: ReferenceLinear
    q_norm: Float32s | None
    k_norm: Float32s | None
    latent: ReferenceLatent | None
    """What makes queries and keys of the first product, and values of what was attended to."""
    output: ReferenceLinear
    attention_post_norm: Float32s | None
    mlp_norm: Float32s | None
    mlp: ReferenceMlp | ReferenceMixture
    mlp_post_norm: Float32s | None


@dataclass(frozen=True, slots=True)
class ReferenceDecoder:
    """A decoder: token ids in, logits out."""

    shape: DecoderShape
    traits: SegmentTraits
    embedding: npt.NDArray[np.float16]
    layers: tuple[ReferenceLayer, ...]
    final_norm: Float32s
    vocabulary: ReferenceLinear

    def run(self, step: StepPass, token_ids: Int32s, cache: SlotCache) -> Float32s | None:
        """Run one pass and cache the keys and values of its rows.

        Args:
            step: the pass.
            token_ids: [T], replace the pass's own.
            cache: keys and values of all slots.

        Returns:
            Logits of the output rows, [R, V]; None if there are none.
        """
        residual = self.embedding[token_ids].astype(np.float32)
        for number, layer in enumerate(self.layers):
            normed = self._residual_norm(residual, layer.attention_norm)
            attended = self._attend(number, layer.qkv.run(normed), step, cache)
            if number == len(self.layers) - 1:
                attended, residual, normed = (
                    values[step.out_rows] for values in (attended, residual, normed)
                )
                if not len(residual):
                    return None
            residual = residual + self._norm(layer.output.run(attended), layer.attention_post_norm)
            if not self.traits.parallel:
                normed = self._residual_norm(residual, layer.mlp_norm)
            residual = residual + self._norm(layer.mlp.run(normed), layer.mlp_post_norm)
        logits = self.vocabulary.run(self._residual_norm(residual, self.final_norm))
        return softcap(logits, self.traits.logits_softcap)

    def _attend(self, number: int, qkv: Float32s, step: StepPass, cache: SlotCache) -> Float32s:
        """Attention without its output projection: [T, F] to [T, H * D], or [T, H * value] where it is latent."""
        layer = self.layers[number]
        if layer.latent is None:
            attended = cache.attend(number, step, *self._heads(layer, qkv))
        else:
            queries, keys = layer.latent.project(qkv, step.positions)
            attended = layer.latent.values(cache.attend(number, step, queries, keys, keys))
        return attended.reshape(step.tokens, -1)

    def _residual_norm(self, values: Float32s, weight: Float32s | None) -> Float32s:
        """The norm of the residual; the residual itself where the family has none."""
        if weight is None or not self.traits.centered_norms:
            return self._norm(values, weight)
        return layer_norm(values, weight, self.traits.norm_eps)

    def _norm(self, values: Float32s, weight: Float32s | None) -> Float32s:
        """The norm over the last axis; the values themselves where the family has none."""
        return values if weight is None else rms_norm(values, weight, self.traits.norm_eps)

    def _heads(self, layer: ReferenceLayer, qkv: Float32s) -> tuple[Float32s, Float32s, Float32s]:
        """Queries [T, H, D], keys and values [T, KV, D], normed if that is done before they are rotated."""
        size = self.shape.head_dim
        ends = [self.shape.heads * size, (self.shape.heads + self.shape.kv_heads) * size]
        queries, keys, values = np.split(qkv, ends, axis=1)
        if self.traits.wide_qk_norm:
            queries, keys = self._norm(queries, layer.q_norm), self._norm(keys, layer.k_norm)
        queries, keys, values = (part.reshape(len(qkv), -1, size) for part in (queries, keys, values))
        if not (self.traits.wide_qk_norm or self.traits.norm_after_rotary):
            queries, keys = self._norm(queries, layer.q_norm), self._norm(keys, layer.k_norm)
        return queries, keys, values


class DecoderLoader:
    """Loads a :class:`ReferenceDecoder` from tensors and graphs by name."""

    def __init__(
        self, tensors: Tensors, graphs: Graphs, *, threads: int, hook: ActivationHook | None
    ) -> None:
        """Prepare to load.

        Args:
            tensors: by name; see :func:`load_tensors`.
            graphs: one for each role and type of the matrices.
            threads: of ONNX Runtime.
            hook: called with the input of every matrix product.
        """
        self._tensors = tensors
        self._graphs = graphs
        self._threads = threads
        self._hook = hook
        self._sessions: dict[str, ort.InferenceSession] = {}

    def load(self, shape: DecoderShape, traits: SegmentTraits) -> ReferenceDecoder:
        """Load the decoder, with one session per graph for all layers.

        Args:
            shape: of the decoder.
            traits: of its segments.

        Raises:
            StartupError: ONNX Runtime cannot load a graph, or there is none for a matrix.
        """
        vocabulary = VOCABULARY if VOCABULARY in self._tensors else EMBEDDING
        return ReferenceDecoder(
            shape=shape,
            traits=traits,
            embedding=self._tensors[EMBEDDING],
            layers=tuple(self._layer(number, shape, traits) for number in range(shape.layers)),
            final_norm=self._tensors[FINAL_NORM],
            vocabulary=self._linear("vocabulary", vocabulary),
        )

    def rules(self, shape: DecoderShape, traits: SegmentTraits) -> list[LayerRule]:
        """What the attention of each layer does.

        Args:
            shape: of the decoder.
            traits: of its segments.
        """
        return [self._rule(number, traits) for number in range(shape.layers)]

    def _rule(self, number: int, traits: SegmentTraits) -> LayerRule:
        if traits.latent is not None:  # its queries and keys are rotated already
            return LayerRule(rotary=None, scale=traits.latent.scale)
        kind, norms = traits.kind(number), None
        tables = {GLOBAL: ROTARY, LOCAL: LOCAL_ROTARY}.get(kind)
        if traits.norm_after_rotary:
            q_norm, k_norm = (self._tensors[layer_tensor(number, f"attention.{part}_norm")] for part in "qk")
            norms = (q_norm, k_norm)
        return LayerRule(
            rotary=None if tables is None else (self._tensors[tables[0]], self._tensors[tables[1]]),
            window=traits.window if kind == LOCAL else 0,
            cap=traits.attention_softcap,
            norms=norms,
            epsilon=traits.norm_eps,
        )

    def _layer(self, number: int, shape: DecoderShape, traits: SegmentTraits) -> ReferenceLayer:
        mixture = traits.mixture_of(number)

        def norm(part: str) -> Float32s | None:
            return self._tensors.get(layer_tensor(number, part))

        return ReferenceLayer(
            attention_norm=norm("attention.norm"),
            qkv=self._linear("qkv", linear(number, "qkv")),
            q_norm=norm("attention.q_norm"),
            k_norm=norm("attention.k_norm"),
            latent=None if traits.latent is None else self._latent(number, shape.heads, traits.latent),
            output=self._linear("attention_output", linear(number, "attention_output")),
            attention_post_norm=norm("attention.post_norm"),
            mlp_norm=norm("mlp.norm"),
            mlp=self._mlp(number, traits) if mixture is None else self._mixture(number, traits, mixture),
            mlp_post_norm=norm("mlp.post_norm"),
        )

    def _latent(self, number: int, heads: int, traits: LatentTraits) -> ReferenceLatent:
        keys_values = self._tensors[layer_tensor(number, LATENT_KV)].astype(np.float32)
        return ReferenceLatent(
            traits,
            heads,
            query=self._linear("query", linear(number, "query")).run if traits.query_rank else None,
            query_norm=self._tensors.get(layer_tensor(number, QUERY_NORM)),
            latent_norm=self._tensors[layer_tensor(number, LATENT_NORM)],
            keys_values=keys_values.reshape(heads, traits.plain + traits.value, traits.rank),
            rotary=(self._tensors[ROTARY[0]], self._tensors[ROTARY[1]]),
        )

    def _mlp(
        self, number: int, traits: SegmentTraits, roles: Sequence[str] = ("gate_up", "down")
    ) -> ReferenceMlp:
        gate_up, down = (self._linear(role, linear(number, role)) for role in roles)
        return ReferenceMlp(gate_up, down, gelu=traits.gelu)

    def _mixture(self, number: int, traits: SegmentTraits, mixture: MixtureTraits) -> ReferenceMixture:
        gate_ups, downs = (self._experts(number, role, mixture.experts) for role in EXPERT_ROLES)
        return ReferenceMixture(
            mixture,
            router=self._tensors[layer_tensor(number, ROUTER)],
            bias=self._tensors.get(layer_tensor(number, ROUTER_BIAS)),
            experts=tuple(zip(gate_ups, downs, strict=True)),
            shared=self._mlp(number, traits, SHARED_ROLES).run if mixture.shared_intermediate else None,
        )

    def _experts(self, number: int, role: str, count: int) -> list[Product]:
        """The product of each expert with its own part of the matrix of them all."""
        name = linear(number, role)
        return [self._product(role, name, part).run for part in np.split(self._tensors[name], count)]

    def _linear(self, role: str, name: str) -> ReferenceLinear:
        return self._product(role, name, self._tensors[name])

    def _product(self, role: str, name: str, matrix: Array) -> ReferenceLinear:
        return ReferenceLinear(
            name=VOCABULARY if role == "vocabulary" else name,
            session=self._session(f"{role}.{matrix.dtype}"),
            weight=ort.OrtValue.ortvalue_from_numpy(matrix),
            bias=self._tensors.get(bias(name)),
            input_scale=self._tensors.get(input_scale(name)),
            output_scale=self._tensors.get(output_scale(name)),
            hook=self._hook,
        )

    def _session(self, graph: str) -> ort.InferenceSession:
        if graph not in self._graphs:
            raise StartupError(f"there is no graph {graph}: emit it, or use a matrix of another type")
        if graph not in self._sessions:
            self._sessions[graph] = _open_session(self._graphs[graph], self._threads)
        return self._sessions[graph]


def load_tensors(directory: Path, index: SegmentIndex, overrides: Tensors) -> dict[str, Array]:
    """Every tensor of a release by name: mapped if the file has the type of the product, else converted.

    Args:
        directory: of the release.
        index: its ``segments.json``.
        overrides: tensors that replace the release's or are added to them.

    Raises:
        ReleaseError: ``weights.bin`` cannot be read.
    """
    tensors = {}
    for name, stored in index.tensors.items():
        values = np.asarray(map_tensor(directory, stored))
        tensors[name] = values.astype(index.step_dtype(name), copy=False)
    return {**tensors, **overrides}


def _open_session(graph: bytes | Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # shapes change with every pass
    try:
        source = graph if isinstance(graph, bytes) else str(graph)
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise StartupError(
            f"ONNX Runtime {ort.__version__} cannot load a segment: {error}; check the release with "
            "`yiwen release verify`, or rebuild it with this version of yiwen"
        ) from error
