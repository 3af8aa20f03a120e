"""How far a release's choices after one prompt are from the reference's: pure functions over log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from predictor.builder.verify.parity_report import TIE_MARGIN, Disagreement

_LEAST_PROBABILITY = 1e-9
"""Of all tokens outside the candidates; below it, float32 log-probabilities of the candidates are only rounding."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a release would choose at each position after one prompt."""

    token_ids: npt.NDArray[np.int64]
    """[T]: the tokens that were followed."""
    candidate_ids: npt.NDArray[np.int32]
    """[T, K], best first."""
    candidate_logprobs: npt.NDArray[np.float32]
    """[T, K]."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Figures of each position of one continuation, [T] each."""

    margins: npt.NDArray[np.float64]
    """Log-probability of the reference's choice minus that of the release's choice, in the reference."""
    same: npt.NDArray[np.bool_]
    """Whether the two choices are one token."""
    differences: npt.NDArray[np.float64]
    """[T, K]: |log-probability difference| of the release's candidates."""
    kl: npt.NDArray[np.float64]
    nats: npt.NDArray[np.float64]
    """-log-probability of the followed token by the release."""
    reference_nats: npt.NDArray[np.float64]


class Figures(TypedDict):
    """Fields of :class:`predictor.builder.verify.parity_report.ParityReport` that are measured."""

    equal_tokens: int
    ties: int
    max_logprob_difference: float
    mean_logprob_difference: float
    first_disagreement: Disagreement | None
    kl_nats: float
    nats_per_token: float
    reference_nats_per_token: float


def measure_agreement(reference: npt.NDArray[np.float64], continuation: Continuation) -> Agreement:
    """Compare a continuation with the reference.

    Args:
        reference: log-probabilities of all tokens, [T, V].
        continuation: of the release, after the same prompt.
    """
    candidates = continuation.candidate_ids.astype(np.int64)
    wanted = np.take_along_axis(reference, candidates, axis=1)  # [T, K]
    found = continuation.candidate_logprobs.astype(np.float64)
    followed = continuation.token_ids[:, None]
    is_followed = candidates == followed
    place = np.where(is_followed.any(axis=1), is_followed.argmax(axis=1), candidates.shape[1] - 1)
    return Agreement(
        margins=reference.max(axis=1) - wanted[:, 0],
        same=reference.argmax(axis=1) == candidates[:, 0],
        differences=np.abs(wanted - found),
        kl=kl_divergence(wanted, found),
        nats=-np.take_along_axis(found, place[:, None], axis=1)[:, 0],
        reference_nats=-np.take_along_axis(reference, followed, axis=1)[:, 0],
    )


def kl_divergence(
    reference: npt.NDArray[np.float64], release: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The divergence KL(reference, release) of each position, in nats, float64 [T].

    All tokens outside the candidates count as one, which makes it a lower bound (Cover and Thomas, 2.7.1).

    Args:
        reference: log-probabilities of the release's candidates in the reference, [T, K].
        release: the same in the release.
    """
    rest = np.maximum(1 - np.exp(reference).sum(axis=1), _LEAST_PROBABILITY)
    release_rest = np.maximum(1 - np.exp(release).sum(axis=1), _LEAST_PROBABILITY)
    inside = (np.exp(reference) * (reference - release)).sum(axis=1)
    divergence: npt.NDArray[np.float64] = inside + rest * np.log(rest / release_rest)
    return np.maximum(divergence, 0.0)


def mean_figures(agreements: Sequence[Agreement]) -> Figures:
    """The figures over all positions of all prompts.

    Args:
        agreements: of the prompts, in order.
    """
    margins = np.concatenate([each.margins for each in agreements])
    same = np.concatenate([each.same for each in agreements])
    differences = np.concatenate([each.differences for each in agreements])
    equal = margins <= TIE_MARGIN
    return Figures(
        equal_tokens=int(equal.sum()),
        ties=int((equal & ~same).sum()),
        max_logprob_difference=float(differences.max()),
        mean_logprob_difference=float(differences.mean()),
        first_disagreement=_first_disagreement(agreements),
        kl_nats=float(np.concatenate([each.kl for each in agreements]).mean()),
        nats_per_token=float(np.concatenate([each.nats for each in agreements]).mean()),
        reference_nats_per_token=float(np.concatenate([each.reference_nats for each in agreements]).mean()),
    )


def _first_disagreement(agreements: Sequence[Agreement]) -> Disagreement | None:
    for number, each in enumerate(agreements):
        if (differs := each.margins > TIE_MARGIN).any():
            position = int(np.argmax(differs))
            return Disagreement(number, position, float(each.margins[position]))
    return None
