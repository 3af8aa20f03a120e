"""Samples each row's next token from its candidates. Pure: the random number is a function of (seed, position)."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np
import numpy.typing as npt

from predictor.batch import StepOutput
from protocol.messages import SamplingParams


def sample(
    output: StepOutput, params: Seq[SamplingParams], positions: Seq[int]
) -> tuple[list[int], list[float]]:
    """Sample one token per row.

    Args:
        output: B rows of K candidates, best first.
        params: of each row; temperature 0 takes the best candidate.
        positions: index of the token within its sequence, 0 for the first. It decides the random number
            together with the seed, so a request's tokens do not depend on what else is in the batch.

    Returns:
        Token ids and their log-probabilities under the model (before temperature), B of each.
    """
    token_ids: list[int] = output.candidate_ids[:, 0].tolist()
    logprobs: list[float] = output.candidate_logprobs[:, 0].tolist()
    for row, choice in enumerate(params):
        if choice.temperature > 0:
            index = _draw(output.candidate_logprobs[row], choice, positions[row])
            token_ids[row] = int(output.candidate_ids[row, index])
            logprobs[row] = float(output.candidate_logprobs[row, index])
    return token_ids, logprobs


def _draw(logprobs: npt.NDArray[np.float32], params: SamplingParams, position: int) -> int:
    scaled = logprobs.astype(np.float64) / params.temperature
    weights = np.exp(scaled - scaled[0])[: params.top_k or None]  # best first, so the largest is 1
    cumulative = np.cumsum(weights / weights.sum())
    # The nucleus is the shortest prefix that reaches top_p; the best candidate is always in it.
    nucleus = int(np.searchsorted(cumulative, params.top_p)) + 1
    kept = cumulative[:nucleus]
    # Philox is counter-based: (seed, position) is a stream of its own, with no state between steps.
    uniform = np.random.Generator(np.random.Philox(key=params.seed, counter=position)).random()
    return min(int(np.searchsorted(kept, uniform * kept[-1], side="right")), len(kept) - 1)
