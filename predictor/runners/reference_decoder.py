"""The reference decoder: matrix products by ONNX Runtime graphs, all other operations by ``numpy_kernels``.

Graphs and names of tensors are those of :mod:`predictor.segment_index`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    quantize,
    rms_norm,
    silu_mul,
    softcap,
)
from predictor.runners.segmented import Int32s, StepPass
from predictor.segment_index import (
    EMBEDDING,
    FINAL_NORM,
    GLOBAL,
    LOCAL,
    LOCAL_ROTARY,
    ROTARY,
    VOCABULARY,
    SegmentIndex,
    SegmentTraits,
    bias,
    input_scale,
    layer_tensor,
    linear,
    map_tensor,
    output_scale,
)
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
class ReferenceLayer:
    """One layer of the decoder."""

    attention_norm: Float32s | None
    qkv: ReferenceLinear
    q_norm: Float32s | None
    k_norm: Float32s | None
    output: ReferenceLinear
    attention_post_norm: Float32s | None
    mlp_norm: Float32s | None
    gate_up: ReferenceLinear
    down: ReferenceLinear
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
            normed = self._norm(residual, layer.attention_norm)
            attended = cache.attend(number, step, *self._heads(layer, layer.qkv.run(normed)))
            attended = attended.reshape(step.tokens, -1)
            if number == len(self.layers) - 1:
                attended, residual = attended[step.out_rows], residual[step.out_rows]
                if not len(residual):
                    return None
            residual = residual + self._norm(layer.output.run(attended), layer.attention_post_norm)
            gates = layer.gate_up.run(self._norm(residual, layer.mlp_norm))
            down = layer.down.run(gelu_mul(gates) if self.traits.gelu else silu_mul(gates))
            residual = residual + self._norm(down, layer.mlp_post_norm)
        logits = self.vocabulary.run(self._norm(residual, self.final_norm))
        return softcap(logits, self.traits.logits_softcap)

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
            layers=tuple(self._layer(number) for number in range(shape.layers)),
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

    def _layer(self, number: int) -> ReferenceLayer:
        def norm(part: str) -> Float32s | None:
            return self._tensors.get(layer_tensor(number, part))

        return ReferenceLayer(
            attention_norm=norm("attention.norm"),
            qkv=self._linear("qkv", linear(number, "qkv")),
            q_norm=norm("attention.q_norm"),
            k_norm=norm("attention.k_norm"),
            output=self._linear("attention_output", linear(number, "attention_output")),
            attention_post_norm=norm("attention.post_norm"),
            mlp_norm=norm("mlp.norm"),
            gate_up=self._linear("gate_up", linear(number, "gate_up")),
            down=self._linear("down", linear(number, "down")),
            mlp_post_norm=norm("mlp.post_norm"),
        )

    def _linear(self, role: str, name: str) -> ReferenceLinear:
        matrix = self._tensors[name]
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
