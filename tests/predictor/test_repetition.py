from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from predictor.llm_engine import LLMEngine
from predictor.metrics import EngineMetrics
from predictor.repetition import MAX_PERIOD, MIN_TOKENS, RepetitionDetector
from protocol.messages import FinishReason, GenerateRequest, SamplingParams, TokenDelta
from tests.predictor.conftest import RELEASE, STOP, HashRunner, answer_alone, looping_token

LIMIT = 48


def ends_in_a_loop(tokens: Sequence[int], max_repeats: int) -> bool:
    """The definition, at its word."""
    for period in range(1, MAX_PERIOD + 1):
        length = max(MIN_TOKENS, period * max_repeats)
        tail = list(tokens[-length:])
        if len(tail) == length and tail[period:] == tail[:-period]:
            return True
    return False


def cut_at_a_loop(tokens: Sequence[int], max_repeats: int) -> tuple[int, ...]:
    ends = (end for end in range(1, len(tokens) + 1) if ends_in_a_loop(tokens[:end], max_repeats))
    return tuple(tokens[: next(ends, len(tokens))])


parts = st.lists(st.integers(0, 3), min_size=1, max_size=40)
texts = st.lists(st.tuples(parts, st.integers(1, 12)), max_size=5).map(
    lambda each: [token for part, times in each for token in part * times]
)


@given(tokens=texts, max_repeats=st.integers(2, 9))
@settings(max_examples=300)
def test_a_loop_is_noticed_with_the_very_token_that_completes_it(tokens: list[int], max_repeats: int) -> None:
    detector = RepetitionDetector(max_repeats)
    for end in range(1, len(tokens) + 1):
        assert detector.observe(tokens[:end]) == ends_in_a_loop(tokens[:end], max_repeats), tokens[:end]


@pytest.mark.parametrize(
    ("tokens", "loops"),
    [
        ([1] * (MIN_TOKENS - 1), False),
        ([1] * MIN_TOKENS, True),
        ([9, 8, *[1, 2, 3] * 8], True),
        ([*[1, 2, 3] * 7, 1, 2], False),
        (list(range(MAX_PERIOD)) * 8, True),
        (list(range(MAX_PERIOD + 1)) * 20, False),
        (list(range(300)), False),
    ],
)
def test_how_long_a_loop_has_to_be(tokens: list[int], loops: bool) -> None:
    detector = RepetitionDetector(8)
    noticed = [detector.observe(tokens[:end]) for end in range(1, len(tokens) + 1)]
    assert noticed[-1] is loops
    assert not any(noticed[:-1])


class Followed:
    """What a subscriber was told."""

    def __init__(self) -> None:
        self.deltas: list[TokenDelta] = []

    def publish(self, delta: TokenDelta) -> None:
        self.deltas.append(delta)


class Stepped:
    """An engine stepped by the test."""

    def __init__(self, slots: int, *, runs_ahead: bool) -> None:
        self.registry = CollectorRegistry()
        self.runner = HashRunner(slots, runs_ahead=runs_ahead, model=looping_token)
        self.engine = LLMEngine(
            self.runner,
            RELEASE,
            prefill_tokens=64,
            queue_tokens=10_000,
            metrics=EngineMetrics(self.registry),
        )

    def run(self) -> None:
        while self.engine.has_work:
            self.engine.step()
            self.engine.scheduler.kv_cache.check_integrity()

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"yiwen_predictor_{name}", labels)


LOOPING = next(
    (first, second)
    for first in range(50)
    for second in range(50)
    if len(cut_at_a_loop(answer_alone((first, second), LIMIT, model=looping_token), 3)) < LIMIT - 8
    and STOP not in answer_alone((first, second), LIMIT, model=looping_token, stops=())
)
"""A prompt whose answer falls into a loop early, and holds no stop token."""


@pytest.mark.parametrize("runs_ahead", [False, True])
def test_a_loop_frees_its_slot_early_and_is_counted(runs_ahead: bool) -> None:
    stepped = Stepped(1, runs_ahead=runs_ahead)
    follower = Followed()
    looping = stepped.engine.submit(
        GenerateRequest((LOOPING,), (LIMIT,), max_repeats=(3,)), subscriber=follower
    )
    waiting = stepped.engine.submit(GenerateRequest(((1,),), (1,)))
    whole = answer_alone(LOOPING, LIMIT, model=looping_token)
    early = cut_at_a_loop(whole, 3)
    stepped.run()
    [generation] = looping.result(timeout=0).generations
    assert generation.finish_reason is FinishReason.REPETITION
    assert generation.token_ids == early
    assert len(follower.deltas) == len(early)
    assert follower.deltas[-1].end is not None
    assert follower.deltas[-1].end.finish_reason is FinishReason.REPETITION
    assert tuple(token for delta in follower.deltas for token in delta.token_ids) == early
    assert waiting.result(timeout=0).generations[0].finish_reason in (FinishReason.LENGTH, FinishReason.STOP)
    # The waiting prompt is read in the step after the loop was noticed, beside at most one row that comes to nothing.
    steps = [batch for batch in stepped.runner.batches if batch.rows]
    assert len(steps) <= len(early) + 1 + runs_ahead
    assert stepped.sample("sequences_total", end="repetition") == 1
    assert stepped.sample("slots_used") == 0


def test_without_a_bound_a_loop_goes_on_to_its_length() -> None:
    stepped = Stepped(2, runs_ahead=True)
    future = stepped.engine.submit(GenerateRequest((LOOPING, LOOPING), (LIMIT, LIMIT), max_repeats=(0, 3)))
    stepped.run()
    free, bound = future.result(timeout=0).generations
    assert free.finish_reason is FinishReason.LENGTH
    assert len(free.token_ids) == LIMIT
    assert bound.finish_reason is FinishReason.REPETITION


rows = st.tuples(
    st.lists(st.integers(0, 49), min_size=1, max_size=6).map(tuple),
    st.integers(1, LIMIT),
    st.sampled_from([0, 2, 3, 5]),
)


@pytest.mark.parametrize("runs_ahead", [False, True])
@given(
    slots=st.integers(1, 4),
    requests=st.lists(st.lists(rows, min_size=1, max_size=4), min_size=1, max_size=5),
    temperature=st.sampled_from([0.0, 1.0]),
)
@settings(max_examples=60)
def test_every_answer_is_the_one_it_has_alone_up_to_its_loop(
    runs_ahead: bool, slots: int, requests: list[list[tuple[tuple[int, ...], int, int]]], temperature: float
) -> None:
    stepped = Stepped(slots, runs_ahead=runs_ahead)
    params = SamplingParams(temperature=temperature, seed=5)
    futures = [
        stepped.engine.submit(
            GenerateRequest(
                tuple(prompt for prompt, _, _ in request),
                tuple(bound for _, bound, _ in request),
                params,
                max_repeats=tuple(repeats for _, _, repeats in request),
            )
        )
        for request in requests
    ]
    stepped.run()
    assert stepped.engine.scheduler.kv_cache.num_free == slots
    for request, future in zip(requests, futures, strict=True):
        for (prompt, bound, repeats), generation in zip(
            request, future.result(timeout=0).generations, strict=True
        ):
            alone = answer_alone(prompt, bound, params=params, model=looping_token)
            wanted = cut_at_a_loop(alone, repeats) if repeats else alone
            assert generation.token_ids == wanted
            looped = bool(repeats) and ends_in_a_loop(wanted, repeats)
            assert (generation.finish_reason is FinishReason.REPETITION) == looped
