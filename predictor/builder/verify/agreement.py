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

    @property
    def nats(self) -> npt.NDArray[np.float64]:
        """-log-probability of each token that was followed, [T]; of the last candidate where it is none."""
        is_followed = self.candidate_ids == self.token_ids[:, None]
        last = self.candidate_ids.shape[1] - 1
        place = np.where(is_followed.any(axis=1), is_followed.argmax(axis=1), last)
        found = np.take_along_axis(self.candidate_logprobs, place[:, None], axis=1)[:, 0]
        nats: npt.NDArray[np.float64] = -found.astype(np.float64)
        return nats


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
    return Agreement(
        margins=reference.max(axis=1) - wanted[:, 0],
        same=reference.argmax(axis=1) == candidates[:, 0],
        differences=np.abs(wanted - found),
        kl=kl_divergence(wanted, found),
        nats=continuation.nats,
        reference_nats=-np.take_along_axis(reference, followed, axis=1)[:, 0],
    )


def kl_divergence(
    reference: npt.NDArray[np.float64], release: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The divergence KL(reference, release) of each position, in nats, float64 [T].

    All tokens outside the candidates count as one, which makes it a lower bound (Cover and Thomas, 2.7.1).

    Args:
        reference: log-probabilities of the release's candidates in the reference, [T, K]; -inf leaves one out.
        release: the same in the release.
    """
    rest = np.maximum(1 - np.exp(reference).sum(axis=1), _LEAST_PROBABILITY)
    release_rest = np.maximum(1 - np.exp(release).sum(axis=1), _LEAST_PROBABILITY)
    ratios = np.subtract(reference, release, out=np.zeros_like(reference), where=np.isfinite(reference))
    inside = (np.exp(reference) * ratios).sum(axis=1)
    divergence: npt.NDArray[np.float64] = inside + rest * np.log(rest / release_rest)
    return np.maximum(divergence, 0.0)


def divergence_of_candidates(reference: Continuation, release: Continuation) -> npt.NDArray[np.float64]:
    """As :func:`kl_divergence`, where only the candidates of the reference are known, too.

    Args:
        reference: what another release would choose, [T, K].
        release: that follows the same tokens.
    """
    matches = reference.candidate_ids[:, :, None] == release.candidate_ids[:, None, :]  # [T, K, K]
    # Candidates that only one of them has join the other tokens; each pair of one token is a cell of its own.
    position, first, second = np.nonzero(matches)
    shape = reference.candidate_logprobs.shape
    wanted, found = np.full(shape, -np.inf), np.full(shape, -np.inf)
    wanted[position, first] = reference.candidate_logprobs[position, first]
    found[position, first] = release.candidate_logprobs[position, second]
    return kl_divergence(wanted, found)


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
