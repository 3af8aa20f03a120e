"""The operators of a mixture of experts in ONNX: the router's choice, and the experts by ``MoE`` or ``QMoE``.

Both operators (com.microsoft) choose the experts with the largest logits and weight them by softmax. A family that
chooses or weights otherwise gives them the logarithms of its weights. They read the chosen experts' matrices only.
Letters as in :mod:`predictor.builder.graph.ops`, and T tokens of all rows, E experts.
"""

from __future__ import annotations

import numpy as np

from predictor.builder.graph import ops
from predictor.builder.graph.onnx_graph import MICROSOFT, Attribute, GraphBuilder
from predictor.builder.weights.decoder_matrices import Matrix
from predictor.builder.weights.file_layout import WeightTensor
from predictor.builder.weights.mixture_matrices import LayerMixture
from predictor.segment_traits import MixtureTraits

_NEVER = -1e30
"""A score or logit that is chosen last, and that softmax makes 0."""
_SMALLEST_WEIGHT = 1e-30
"""Weights below it count as this much, so that they have a logarithm."""


class MixtureEmitter:
    """Adds the mixtures of a decoder's layers to a graph."""

    def __init__(self, graph: GraphBuilder, traits: MixtureTraits, *, accuracy_level: int) -> None:
        """Prepare to add them.

        Args:
            graph: that nodes are added to.
            traits: of the mixtures.
            accuracy_level: of quantized products, see :func:`ops.linear`; experts of 8 bits know level 4 alone.
        """
        self._graph = graph
        self._traits = traits
        self._accuracy_level = accuracy_level

    def emit(self, weights: LayerMixture, value: str, name: str) -> str:
        """The weighted sum of the chosen experts' MLPs, and the shared experts' beside it.

        Args:
            weights: of the layer.
            value: name of the float32 [..., H] value.
            name: prefix of the results' names.

        Returns:
            The name of the float32 [..., H] result.
        """
        logits, total = self._routing(weights, value, f"{name}.router")
        routed = self._experts(weights, value, logits, f"{name}.experts.out")
        if total is not None:
            routed = self._scaled(routed, total, weights.router.shape[1], f"{name}.experts.scaled")
        if weights.shared_gate_up is None or weights.shared_down is None:
            return routed
        gate_up = self._linear(weights.shared_gate_up, value, f"{name}.shared.gate_up.out")
        hidden = ops.gated(self._graph, gate_up, f"{name}.shared.gated")
        shared = self._linear(weights.shared_down, hidden, f"{name}.shared.out")
        return ops.add(self._graph, routed, shared, f"{name}.sum")

    @property
    def _by_logits(self) -> bool:
        """Whether the operators choose and weight as the family does, from the router's own logits."""
        traits = self._traits
        return not traits.sigmoid and not traits.biased and traits.groups == 1

    def _routing(self, weights: LayerMixture, value: str, name: str) -> tuple[str, str | None]:
        """Logits for the operators, float32 [T, E], and [T, 1], what is to be multiplied with their result."""
        graph, traits = self._graph, self._traits
        router = graph.stored(weights.router)
        product = graph.node("FusedMatMul", [value, router], f"{name}.out", domain=MICROSOFT, transB=1)
        logits = graph.node("Reshape", [product, graph.ints(-1, traits.experts)], f"{name}.logits")
        if self._by_logits:
            return logits, None
        if traits.sigmoid:
            scores = graph.node("Sigmoid", [logits], f"{name}.scores")
        else:
            scores = graph.node("Softmax", [logits], f"{name}.scores", axis=-1)
        choice = scores
        if weights.router_bias is not None:
            choice = ops.add(graph, scores, graph.stored(weights.router_bias), f"{name}.biased")
        if traits.groups > 1:
            choice = self._limited_to_groups(choice, f"{name}.groups")
        chosen = self._among_best(choice, traits.chosen, f"{name}.chosen")
        smallest, never, nothing = (self._float(value) for value in (_SMALLEST_WEIGHT, _NEVER, 0.0))
        logarithms = graph.node(
            "Log", [graph.node("Max", [scores, smallest], f"{name}.positive")], f"{name}.log"
        )
        forced = graph.node("Where", [chosen, logarithms, never], f"{name}.forced")
        if traits.normalized:
            return forced, None
        kept = graph.node("Where", [chosen, scores, nothing], f"{name}.weights")
        return forced, graph.node("ReduceSum", [kept, graph.ints(-1)], f"{name}.total", keepdims=1)

    def _limited_to_groups(self, choice: str, name: str) -> str:
        """Scores [T, E], with those outside of the best groups so low that they are chosen last."""
        graph, traits = self._graph, self._traits
        sizes = graph.ints(-1, traits.groups, traits.experts // traits.groups)
        grouped = graph.node("Reshape", [choice, sizes], f"{name}.scores")
        best = self._best(grouped, traits.group_best, name)
        sums = graph.node("ReduceSum", [best, graph.ints(-1)], f"{name}.sums", keepdims=0)
        among = self._among_best(sums, traits.chosen_groups, f"{name}.chosen")
        column = graph.node("Unsqueeze", [among, graph.ints(-1)], f"{name}.column")
        limited = graph.node("Where", [column, grouped, self._float(_NEVER)], f"{name}.limited")
        return graph.node("Reshape", [limited, graph.ints(-1, traits.experts)], f"{name}.choice")

    def _among_best(self, scores: str, count: int, output: str) -> str:
        """Whether each of the scores [T, any] is one of the best of its row, bool; equal ones all are."""
        best = self._best(scores, count, output)
        least = self._graph.node("Gather", [best, self._graph.ints(count - 1)], f"{output}.least", axis=-1)
        return self._graph.node("GreaterOrEqual", [scores, least], output)

    def _best(self, scores: str, count: int, name: str) -> str:
        """The best scores of the last axis, best first."""
        inputs, outputs = [scores, self._graph.ints(count)], [f"{name}.best", f"{name}.best.ids"]
        return self._graph.nodes("TopK", inputs, outputs, axis=-1, largest=1, sorted=1)[0]

    def _experts(self, weights: LayerMixture, value: str, logits: str, output: str) -> str:
        """The experts' weighted sum, [..., H]."""
        traits = self._traits
        options: dict[str, Attribute] = {
            "k": traits.chosen,
            "normalize_routing_weights": int(traits.normalized or not self._by_logits),
            "activation_type": "swiglu",
            "swiglu_fusion": 1,  # rows of gate and up alternate
            "activation_alpha": 1.0,
            "activation_beta": 0.0,
        }
        form, operands = weights.gate_up.form, [value, logits]
        for matrix in (weights.gate_up, weights.down):
            operands += [*self._operands(matrix), ""]
        if form is None:
            return self._graph.node("MoE", operands, output, domain=MICROSOFT, **options)
        options |= {"expert_weight_bits": form.bits, "block_size": form.block}
        if form.bits == 4:
            # ONNX Runtime 1.23 computes 4 bits wrong; it does not know this attribute, and refuses the graph.
            options["accuracy_level"] = self._accuracy_level
        return self._graph.node("QMoE", operands, output, domain=MICROSOFT, **options)

    def _operands(self, matrix: Matrix) -> list[str]:
        """Values, or codes and scales, with the experts as the first axis."""
        experts, values = self._traits.experts, matrix.values
        rows = matrix.rows // experts
        if matrix.form is None or matrix.scales is None:
            name = self._viewed(values, (experts, rows, matrix.columns))
            # ONNX Runtime folds the cast of a constant once, when it loads the graph.
            return [
                name if values.dtype == "float32" else self._graph.cast(name, "float32", f"{name}.float32")
            ]
        blocks = matrix.form.blocks(matrix.columns)
        return [
            self._viewed(values, (experts, rows, blocks * matrix.form.block_bytes)),
            self._viewed(matrix.scales, (experts, rows, blocks)),
        ]

    def _viewed(self, tensor: WeightTensor, shape: tuple[int, ...]) -> str:
        return self._graph.stored(tensor.viewed(f"{tensor.name}.by_expert", shape))

    def _scaled(self, value: str, factors: str, width: int, output: str) -> str:
        """Values [..., H] times a factor for each token, [T, 1]."""
        graph = self._graph
        rows = graph.node("Reshape", [value, graph.ints(-1, width)], f"{output}.rows")
        product = graph.node("Mul", [rows, factors], f"{output}.product")
        return graph.node("Reshape", [product, graph.node("Shape", [value], f"{output}.shape")], output)

    def _linear(self, matrix: Matrix, value: str, output: str) -> str:
        return ops.linear(self._graph, matrix, value, output, accuracy_level=self._accuracy_level)

    def _float(self, value: float) -> str:
        return self._graph.constant(np.array(value, np.float32))
