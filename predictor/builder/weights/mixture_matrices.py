"""The matrices of mixtures of experts: those of all experts of a layer below each other, router, shared experts.

ONNX Runtime's operators for mixtures take gate and up of an expert as one matrix with alternating rows, and one size
of blocks for all its matrices, which must divide their rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from predictor.builder.errors import UnsupportedModel
from predictor.builder.families.architecture import Architecture
from predictor.builder.weights.block_quantize import QuantFormat
from predictor.builder.weights.decoder_matrices import DecoderMatrices, Matrix
from predictor.builder.weights.file_layout import UNCHANGED, Adjustment, WeightTensor
from predictor.segment_index import ROUTER, ROUTER_BIAS, layer_tensor, linear
from predictor.segment_traits import MixtureTraits

_SMALLEST_BLOCK = 16
_NAMES = {
    "router": "mlp.gate.weight",
    "router_bias": "mlp.gate.e_score_correction_bias",
    "shared": "mlp.shared_experts",
}
"""Names in the checkpoint; :attr:`Family.names` has those of other families."""


@dataclass(frozen=True, slots=True)
class LayerMixture:
    """The matrices of one layer."""

    router: WeightTensor
    """float32 [experts, hidden]."""
    router_bias: WeightTensor | None
    """float32 [experts]."""
    gate_up: Matrix
    """[experts * 2 intermediate, hidden], rows of an expert's gate and up in turn."""
    down: Matrix
    """[experts * hidden, intermediate]."""
    shared_gate_up: Matrix | None
    """[2 shared_intermediate, hidden], gate above up."""
    shared_down: Matrix | None
    """[hidden, shared_intermediate]."""


class MixtureMatrices:
    """Adds the matrices of mixtures to the layout of the other matrices; the router is float32 always."""

    def __init__(self, weights: DecoderMatrices, architecture: Architecture) -> None:
        self._plan, self._precision, self._prefix = weights.plan, weights.precision, weights.prefix
        self._hidden = architecture.shape.hidden
        self._details = architecture.details
        self._names = {**_NAMES, **architecture.definition.names}

    def layer(self, layer: int, mixture: MixtureTraits) -> LayerMixture:
        """The matrices of one layer.

        Raises:
            BrokenCheckpoint, UnsupportedModel: see :meth:`WeightFileLayout.dense`.
        """
        source, hidden = f"{self._prefix}layers.{layer}.", self._hidden
        router = self._plan.dense(
            layer_tensor(layer, ROUTER), [f"{source}{self._names['router']}"], [(mixture.experts, hidden)]
        )
        bias = None
        if mixture.biased:
            name = f"{source}{self._names['router_bias']}"
            bias = self._plan.dense(layer_tensor(layer, ROUTER_BIAS), [name], [(mixture.experts,)])
        gate_up, down = self._experts(layer, mixture, source)
        shared_gate_up, shared_down = self._shared(layer, mixture.shared_intermediate, source)
        return LayerMixture(router, bias, gate_up, down, shared_gate_up, shared_down)

    def _experts(self, layer: int, mixture: MixtureTraits, source: str) -> tuple[Matrix, Matrix]:
        size, hidden = mixture.intermediate, self._hidden
        form = None if self._precision.linear is None else expert_form(self._precision.linear, hidden, size)
        experts = [f"{source}mlp.experts.{number}" for number in range(mixture.experts)]
        gates = [f"{expert}.{part}_proj.weight" for expert in experts for part in ("gate", "up")]
        downs = [f"{expert}.down_proj.weight" for expert in experts]
        scale = Adjustment(self._details.experts_scale)
        gate_up = self._matrix(linear(layer, "expert_gate_up"), gates, (size, hidden), form, alternating=True)
        down = self._matrix(linear(layer, "expert_down"), downs, (hidden, size), form, scale)
        return gate_up, down

    def _shared(self, layer: int, size: int, source: str) -> tuple[Matrix | None, Matrix | None]:
        if not size:
            return None, None
        name, form = f"{source}{self._names['shared']}", self._precision.linear
        gates, downs = [f"{name}.{part}_proj.weight" for part in ("gate", "up")], [f"{name}.down_proj.weight"]
        gate_up = self._matrix(linear(layer, "shared_gate_up"), gates, (size, self._hidden), form)
        down = self._matrix(linear(layer, "shared_down"), downs, (self._hidden, size), form)
        return gate_up, down

    def _matrix(
        self,
        name: str,
        sources: Sequence[str],
        shape: tuple[int, int],
        form: QuantFormat | None,
        adjustment: Adjustment = UNCHANGED,
        *,
        alternating: bool = False,
    ) -> Matrix:
        """Matrices of one shape below each other, or in pairs with alternating rows."""
        rows, columns = len(sources) * shape[0], shape[1]
        shapes, adjustments = [shape] * len(sources), [adjustment] * len(sources)
        if form is None:
            dense = self._precision.dense
            values = self._plan.dense(name, sources, shapes, dense, adjustments, alternating=alternating)
            return Matrix(rows, columns, values)
        codes, scales = self._plan.quantized(
            name, sources, shapes, form, adjustments, alternating=alternating
        )
        return Matrix(rows, columns, codes, scales, form)


def expert_form(form: QuantFormat, *columns: int) -> QuantFormat:
    """The quantization of an expert's matrices: with the largest block up to that of ``form`` that divides all rows.

    Args:
        form: of the other matrices.
        columns: of the expert's matrices.

    Raises:
        UnsupportedModel: no block of at least 16 values divides them.
    """
    block = math.gcd(form.block, *columns)
    if block < _SMALLEST_BLOCK:
        raise UnsupportedModel(
            f"rows of {' and '.join(map(str, columns))} values of an expert cannot be divided into equal blocks of "
            f"{_SMALLEST_BLOCK} or more: build with --precision float16"
        )
    return QuantFormat(form.bits, block)
