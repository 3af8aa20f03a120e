from __future__ import annotations

import numpy as np
import pytest

from predictor.batch import StepOutput
from predictor.builder.int8.greedy import generate_greedily, score_outputs
from predictor.builder.int8.prompts import Prompt
from tests.predictor.conftest import STOP, VOCAB, HashRunner, answer_alone

PAIR = ("en", "zh")


@pytest.fixture
def prompts() -> list[Prompt]:
    rng = np.random.default_rng(0)
    return [
        Prompt(PAIR, tuple(rng.integers(0, VOCAB, rng.integers(1, 9)).tolist()), int(rng.integers(1, 30)))
        for _ in range(23)
    ]


@pytest.mark.parametrize("slots", [1, 4, 64])
def test_answers_are_those_of_each_prompt_alone(prompts: list[Prompt], slots: int) -> None:
    answers = generate_greedily(HashRunner(slots), prompts, {STOP})
    wanted = [answer_alone(prompt.token_ids, prompt.max_new_tokens) for prompt in prompts]
    assert [tuple(t for t in answer.token_ids if t != STOP) for answer in answers] == wanted
    assert any(answer.token_ids[-1] == STOP for answer in answers), "no answer came to its stop"
    assert all(answer.logprobs == (-0.5,) * len(answer.token_ids) for answer in answers)


def test_answers_can_be_cut_short(prompts: list[Prompt]) -> None:
    whole = generate_greedily(HashRunner(8), prompts, {STOP})
    short = generate_greedily(HashRunner(8), prompts, {STOP}, max_tokens=3)
    assert [answer.token_ids for answer in short] == [answer.token_ids[:3] for answer in whole]


@pytest.mark.parametrize("slots", [1, 4, 64])
def test_a_runner_scores_its_own_answers_as_it_gave_them(prompts: list[Prompt], slots: int) -> None:
    answers = generate_greedily(HashRunner(7), prompts, {STOP})
    scores = score_outputs(HashRunner(slots), prompts, [answer.token_ids for answer in answers])
    assert scores == [list(answer.logprobs) for answer in answers]


def test_tokens_that_are_no_candidates_count_as_the_last_one(prompts: list[Prompt]) -> None:
    answers = generate_greedily(HashRunner(7), prompts[:1], {STOP})
    best = answers[0].token_ids[0]
    for token, logprob in ((best, -0.5), ((best + 1) % VOCAB, -1.5), ((best + 2) % VOCAB, -1.5)):
        assert score_outputs(HashRunner(7), prompts[:1], [(token,)]) == [[logprob]]


def test_scores_depend_on_the_tokens_before(prompts: list[Prompt]) -> None:
    """The second token is scored after the answer's first one, not after the runner's own choice."""

    class Seen(HashRunner):
        def collect(self) -> StepOutput:
            output = super().collect()
            self.seen = [list(tokens) for tokens in self.cache.values()]
            return output

    runner = Seen(4)
    score_outputs(runner, prompts[:1], [(3, 4, 5)])
    assert runner.seen == [[*prompts[0].token_ids, 3, 4]]
