"""A mixture of experts in numpy: the router's choice, and the products of the chosen experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from predictor.runners.numpy_kernels import Float32s, silu_mul
from predictor.segment_traits import MixtureTraits

Product = Callable[[Float32s], Float32s]
"""y of x, [rows, in] to [rows, out]."""


@dataclass(frozen=True, slots=True)
class ReferenceMixture:
    """The mixture of one layer."""

    traits: MixtureTraits
    router: Float32s
    """[E, H]."""
    bias: Float32s | None
    """[E]."""
    experts: Sequence[tuple[Product, Product]]
    """Gate and up with alternating results, and down, of each expert."""
    shared: Product | None
    """The MLP that all tokens go through."""

    def run(self, values: Float32s) -> Float32s:
        """The weighted sum of the chosen experts' MLPs and the shared one: [T, H] to [T, H]."""
        weights = route(values @ self.router.T, self.bias, self.traits)
        total = np.zeros_like(values)
        for number in np.flatnonzero(weights.any(axis=0)).tolist():
            rows = np.flatnonzero(weights[:, number])
            gate_up, down = self.experts[number]
            gates = gate_up(values[rows])
            hidden = silu_mul(np.concatenate((gates[:, 0::2], gates[:, 1::2]), axis=1))
            total[rows] += weights[rows, number, None] * down(hidden)
        return total if self.shared is None else total + self.shared(values)


def route(logits: Float32s, bias: Float32s | None, traits: MixtureTraits) -> Float32s:
    """Weights of the experts for each token, 0 for those that are not chosen.

    Args:
        logits: [T, E], of the router.
        bias: [E], added to the scores for the choice.
        traits: of the mixture.

    Returns:
        [T, E].
    """
    scores = _sigmoid(logits) if traits.sigmoid else _softmax(logits)
    choice: Float32s = scores if bias is None else scores + bias
    if traits.groups > 1:
        grouped = choice.reshape(len(choice), traits.groups, -1)
        sums: Float32s = np.sort(grouped, axis=-1)[..., -traits.group_best :].sum(axis=-1)
        kept = _best(sums, traits.chosen_groups)[..., None]
        choice = np.where(kept, grouped, np.float32(-np.inf)).reshape(choice.shape)
    weights: Float32s = np.where(_best(choice, traits.chosen), scores, np.float32(0))
    if traits.normalized:
        weights = weights / weights.sum(axis=-1, keepdims=True)
    return weights


def _best(scores: Float32s, count: int) -> npt.NDArray[np.bool_]:
    """Which of the scores [T, any] are the best of their row, the first ones among equals."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    chosen = np.zeros(scores.shape, np.bool_)
    np.put_along_axis(chosen, order[:, :count], True, axis=-1)
    return chosen


def _sigmoid(logits: Float32s) -> Float32s:
    with np.errstate(over="ignore"):  # exp of a large -logit is inf, and the quotient 0, as it should be
        scores: Float32s = np.divide(1, 1 + np.exp(-logits), dtype=np.float32)
    return scores


def _softmax(logits: Float32s) -> Float32s:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores: Float32s = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return scores
