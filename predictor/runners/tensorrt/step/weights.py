"""Device addresses of a decoder's weights.

The names are those of :mod:`predictor.segment_index`. An address of 0 means that the decoder has no such weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from predictor.errors import StartupError
from predictor.plan import PlanTensor, TensorRTPlan, engine_name
from predictor.segment_index import (
    EMBEDDING,
    FINAL_NORM,
    LAYER_ROLES,
    VOCABULARY,
    bias,
    input_scale,
    layer_tensor,
    linear,
    output_scale,
)


@dataclass(frozen=True, slots=True)
class LinearWeights:
    """Weights of a product y = x W^T + b.

    In int8, x is multiplied with ``input_scale`` and rounded, and y is multiplied with ``output_scale`` before
    the bias is added.
    """

    engine: str
    """Key of :attr:`predictor.plan.TensorRTPlan.engines`."""
    dtype: str
    """Of the weight and of x: float16 or int8."""
    width: int
    """Columns of y."""
    columns: int
    """Of x."""
    weight: int
    bias: int
    """float32 [out]."""
    input_scale: int
    """float32 [in]."""
    output_scale: int
    """float32 [out]."""


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """Weights of one layer: norms are float32 [H], norms of heads [D]."""

    attention_norm: int
    q_norm: int
    k_norm: int
    mlp_norm: int
    linears: Mapping[str, LinearWeights]
    """By role: qkv, attention_output, gate_up, down."""


@dataclass(frozen=True, slots=True)
class DeviceWeights:
    """Weights of a decoder."""

    embedding: int
    """float16 [V, H]."""
    layers: tuple[LayerWeights, ...]
    final_norm: int
    """float32 [H]."""
    vocabulary: LinearWeights
    cosines: int
    """float32 [positions, D / 2]."""
    sines: int

    @property
    def linears(self) -> Iterator[LinearWeights]:
        """Weights of all matrix products."""
        for layer in self.layers:
            yield from layer.linears.values()
        yield self.vocabulary

    def linear(self, layer: int, role: str) -> LinearWeights:
        """The weights of a product; the vocabulary's are the same for every ``layer``."""
        return self.vocabulary if role == "vocabulary" else self.layers[layer].linears[role]


def place_weights(plan: TensorRTPlan, layers: int, base: int) -> DeviceWeights:
    """Addresses of a plan's tensors, copied to ``base``.

    Args:
        plan: whose tensors ``[tensors_offset, nbytes)`` are copied.
        layers: of the decoder.
        base: device address of the copy.

    Raises:
        StartupError: the plan lacks a tensor or an engine that the decoder needs.
    """
    return _WeightPlacer(plan, base).decoder(layers)


class _WeightPlacer:
    """Looks up tensors of a plan by name."""

    def __init__(self, plan: TensorRTPlan, base: int) -> None:
        self._plan = plan
        self._base = base

    def decoder(self, layers: int) -> DeviceWeights:
        cosines, sines = (self._address(self._plan.tensors[name]) for name in self._plan.rotary)
        return DeviceWeights(
            embedding=self._need(EMBEDDING),
            layers=tuple(self._layer(number) for number in range(layers)),
            final_norm=self._need(FINAL_NORM),
            vocabulary=self._linear("vocabulary", VOCABULARY),
            cosines=cosines,
            sines=sines,
        )

    def _layer(self, number: int) -> LayerWeights:
        return LayerWeights(
            attention_norm=self._need(layer_tensor(number, "attention.norm")),
            q_norm=self._find(layer_tensor(number, "attention.q_norm")),
            k_norm=self._find(layer_tensor(number, "attention.k_norm")),
            mlp_norm=self._need(layer_tensor(number, "mlp.norm")),
            linears={role: self._linear(role, linear(number, role)) for role in LAYER_ROLES},
        )

    def _linear(self, role: str, name: str) -> LinearWeights:
        tensor = self._tensor(name)
        engine = engine_name(role, tensor.dtype)
        if engine not in self._plan.engines:
            raise self._incomplete(f"engine {engine}")
        quantized = tensor.dtype != "float16"
        return LinearWeights(
            engine=engine,
            dtype=tensor.dtype,
            width=tensor.shape[0],
            columns=tensor.shape[1],
            weight=self._address(tensor),
            bias=self._find(bias(name)),
            input_scale=self._need(input_scale(name)) if quantized else 0,
            output_scale=self._need(output_scale(name)) if quantized else 0,
        )

    def _tensor(self, name: str) -> PlanTensor:
        tensor = self._plan.find(name)
        if tensor is None:
            raise self._incomplete(f"tensor {name}")
        return tensor

    def _need(self, name: str) -> int:
        return self._address(self._tensor(name))

    def _find(self, name: str) -> int:
        tensor = self._plan.find(name)
        return 0 if tensor is None else self._address(tensor)

    def _address(self, tensor: PlanTensor) -> int:
        return self._base + tensor.offset - self._plan.tensors_offset

    def _incomplete(self, what: str) -> StartupError:
        return StartupError(
            f"plan {self._plan.key.name} has no {what}: build it again with `yiwen release plan DIR --force`"
        )
