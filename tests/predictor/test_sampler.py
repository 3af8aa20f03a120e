from __future__ import annotations

import numpy as np
import pytest

from predictor.batch import StepOutput
from predictor.sampler import sample
from protocol.messages import SamplingParams

PROBABILITIES = np.array([0.5, 0.3, 0.15, 0.05])
OUTPUT = StepOutput(
    np.array([[11, 12, 13, 14]], np.int32), np.log(PROBABILITIES).astype(np.float32).reshape(1, 4)
)


def draw(params: SamplingParams, position: int = 0) -> int:
    return sample(OUTPUT, [params], [position])[0][0]


def test_greedy_takes_the_best_candidate_and_its_log_probability() -> None:
    token_ids, logprobs = sample(OUTPUT, [SamplingParams()], [0])
    assert token_ids == [11]
    assert logprobs == pytest.approx([np.log(0.5)])


def test_draws_follow_the_distribution() -> None:
    params = SamplingParams(temperature=1.0, seed=3)
    counts = np.bincount([draw(params, position) - 11 for position in range(4000)], minlength=4)
    assert np.abs(counts / 4000 - PROBABILITIES).max() < 0.03


def test_a_low_temperature_sharpens_and_a_high_one_flattens() -> None:
    cold = [draw(SamplingParams(temperature=0.1, seed=1), p) for p in range(300)]
    hot = [draw(SamplingParams(temperature=10.0, seed=1), p) for p in range(300)]
    assert cold.count(11) > 290
    assert hot.count(14) > 45


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, {11}), (0.5, {11}), (0.6, {11, 12}), (0.95, {11, 12, 13})])
def test_top_p_keeps_the_shortest_prefix_that_reaches_it(top_p: float, kept: set[int]) -> None:
    params = SamplingParams(temperature=1.0, top_p=top_p, seed=5)
    assert {draw(params, position) for position in range(500)} == kept


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [
        (0, 1.0, {11, 12, 13, 14}),
        (1, 1.0, {11}),
        (2, 1.0, {11, 12}),
        (3, 0.6, {11, 12}),
        (9, 1.0, {11, 12, 13, 14}),
    ],
)
def test_top_k_keeps_so_many_before_top_p(top_k: int, top_p: float, kept: set[int]) -> None:
    params = SamplingParams(temperature=1.0, top_p=top_p, seed=5, top_k=top_k)
    assert {draw(params, position) for position in range(500)} == kept


def test_a_draw_depends_on_seed_and_position_alone() -> None:
    params = SamplingParams(temperature=1.0, seed=9)
    alone = [draw(params, position) for position in range(50)]
    three = StepOutput(np.repeat(OUTPUT.candidate_ids, 3, 0), np.repeat(OUTPUT.candidate_logprobs, 3, 0))
    other = SamplingParams(temperature=2.0, seed=1)
    in_a_batch = [sample(three, [other, params, other], [4, position, 7])[0][1] for position in range(50)]
    assert in_a_batch == alone
    assert [draw(SamplingParams(temperature=1.0, seed=10), p) for p in range(50)] != alone
