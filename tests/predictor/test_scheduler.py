from __future__ import annotations

from typing import Any

import pytest

from predictor.bulk_pacing import MOST_SAT_OUT
from predictor.scheduler import MAX_PASSES, Scheduler, Step
from protocol.errors import Overloaded, TooLong
from protocol.messages import FinishReason, SamplingParams
from tests.predictor.conftest import GREEDY, STOP, make_request


def make_scheduler(**changes: Any) -> Scheduler:
    settings: dict[str, Any] = {
        "slots": 2,
        "max_sequence_tokens": 32,
        "prefill_tokens": 8,
        "queue_tokens": 64,
        "bulk_slowdown": 2.0,
    } | changes
    return Scheduler(**settings)


def test_waiting_prompts_are_admitted_oldest_first_while_slots_last() -> None:
    scheduler = make_scheduler(slots=2)
    request = make_request([(1,), (2,), (3,)])
    scheduler.admit(request, tokens_per_s=0)
    step = scheduler.schedule(now=0.0)
    assert [s.prompt for s in step.prefills] == [(1,), (2,)]
    assert [s.prompt for s in scheduler.waiting] == [(3,)]
    scheduler.kv_cache.check_integrity()


def test_urgent_prompts_pass_those_that_may_wait_and_nothing_else_changes() -> None:
    scheduler = make_scheduler(slots=1, queue_tokens=1_000)
    for prompt, urgency in ((1, 3), (2, 5), (3, 5), (4, 3), (5, 0), (6, 3)):
        scheduler.admit(make_request([(prompt,), (10 * prompt,)], urgency=urgency), tokens_per_s=0)
    order = []
    while scheduler.has_work:
        step = scheduler.schedule(now=0.0)
        order += [s.prompt[0] for s in step.prefills]
        scheduler.update(step, [STOP], [-0.1])
    assert order == [5, 50, 1, 10, 4, 40, 6, 60, 2, 20, 3, 30]
    assert scheduler.waiting_tokens == 0


def test_bulk_leaves_slots_and_prompts_of_a_step_to_others_that_run() -> None:
    scheduler = make_scheduler(slots=16, prefill_tokens=100, queue_tokens=10_000)
    scheduler.admit(make_request([(1,)] * 40, max_new_tokens=20, urgency=5), tokens_per_s=0)
    step = scheduler.schedule(now=0.0)
    assert len(step.prefills) == 16  # alone it may have all
    scheduler.update(step, [STOP] * 6 + [1] * 10, [-0.1] * 16)
    scheduler.admit(make_request([(2,)], max_new_tokens=20), tokens_per_s=0)
    admitted = []
    for _ in range(12):
        step = scheduler.schedule(now=0.0)
        admitted.append([s.prompt[0] for s in step.prefills])
        scheduler.update(step, [1] * len(step.sequences), [-0.1] * len(step.sequences), seconds=0.1)
    # The other one's prompt and its first token without bulk; then one prompt a step, until one slot is left.
    assert admitted == [[2], [], [1], [1], [1], [1], [], [], [], [], [], []]
    (other,) = (s for s in scheduler.running if s.prompt == (2,))
    other.request.future.cancel()
    assert len(scheduler.schedule(now=9.0).prefills) == 1  # a slot is still left to others
    assert len(scheduler.schedule(now=19.1).prefills) == 1


def test_bulk_sits_steps_out_that_others_would_wait_for_and_keeps_its_slots() -> None:
    scheduler = make_scheduler(slots=8, max_sequence_tokens=200, prefill_tokens=100, queue_tokens=10_000)
    scheduler.admit(make_request([(1,)] * 6, max_new_tokens=100, urgency=5), tokens_per_s=0)
    run_step(scheduler)
    scheduler.admit(make_request([(2,)], max_new_tokens=81), tokens_per_s=0)
    total = joined = 0.0
    for number in range(81):
        step = run_step(scheduler)
        total += duration(step)
        joined += len(step.sequences) > 1
        if number and len(step.sequences) == 1:
            assert [s.prompt for s in step.decodes] == [(2,)]
            assert len(step.batch.held_slots) == 6
            assert set(step.batch.held_lengths.tolist()) == {step_tokens(scheduler)}
    assert 1.8 < total / 81 <= 2.0  # twice the time that it takes alone
    assert joined == pytest.approx(81 * (2 - 1) / 3, abs=2)
    step = run_step(scheduler)
    assert len(step.decodes) == 6  # nothing else runs
    scheduler.kv_cache.check_integrity()


def run_step(scheduler: Scheduler) -> Step:
    step = scheduler.schedule(now=0.0)
    scheduler.update(step, [1] * len(step.sequences), [-0.1] * len(step.sequences), seconds=duration(step))
    return step


def duration(step: Step) -> float:
    """Of a step on a CPU: 1 for a single row, 4 for seven."""
    return 0.5 + 0.5 * len(step.sequences)


def step_tokens(scheduler: Scheduler) -> int:
    """Tokens that each sequence of bulk holds."""
    (held,) = {s.cached_tokens for s in scheduler.running if s.request.urgency == 5}
    return held


def test_bulk_is_not_passed_for_ever() -> None:
    scheduler = make_scheduler(slots=2, queue_tokens=10_000)
    scheduler.admit(make_request([(9,)] * 3, urgency=5), tokens_per_s=0)
    order = []
    for number in range(4 * MOST_SAT_OUT):
        scheduler.admit(make_request([(number + 10,)]), tokens_per_s=0)
        scheduler.admit(make_request([(number + 10,)]), tokens_per_s=0)
        step = scheduler.schedule(now=0.0)
        order += [s.prompt[0] for s in step.prefills]
        scheduler.update(step, [STOP] * len(step.sequences), [-0.1] * len(step.sequences))
    assert order.count(9) == 3
    assert order.index(9) == 2 * MOST_SAT_OUT > MAX_PASSES
    scheduler.kv_cache.check_integrity()


def test_a_finished_sequence_hands_its_slot_over_in_the_next_step() -> None:
    scheduler = make_scheduler(slots=1)
    scheduler.admit(make_request([(1,), (2,)]), tokens_per_s=0)
    step = scheduler.schedule(now=0.0)
    finished = scheduler.update(step, [STOP], [-0.1])
    assert [s.finish_reason for s in finished] == [FinishReason.STOP]
    step = scheduler.schedule(now=0.0)
    assert [s.prompt for s in step.prefills] == [(2,)]
    scheduler.kv_cache.check_integrity()


def test_running_sequences_decode_in_the_step_that_reads_new_prompts() -> None:
    scheduler = make_scheduler(slots=2)
    scheduler.admit(make_request([(1, 2)]), tokens_per_s=0)
    step = scheduler.schedule(now=0.0)
    scheduler.update(step, [5], [-0.1])
    scheduler.admit(make_request([(3,)]), tokens_per_s=0)
    step = scheduler.schedule(now=0.0)
    assert [s.prompt for s in step.prefills] == [(3,)]
    assert step.batch.decode_tokens.tolist() == [5]
    assert step.batch.decode_lengths.tolist() == [2]


def test_the_prefill_budget_bounds_a_step_but_always_lets_one_prompt_in() -> None:
    scheduler = make_scheduler(slots=4, prefill_tokens=4)
    scheduler.admit(make_request([(1,) * 9, (2,) * 3, (3,) * 3]), tokens_per_s=0)
    step = scheduler.schedule(now=0.0)
    assert [len(s.prompt) for s in step.prefills] == [9]
    scheduler.update(step, [1], [-0.1])
    step = scheduler.schedule(now=0.0)
    assert [len(s.prompt) for s in step.prefills] == [3]


def test_a_request_that_can_never_fit_is_too_long_even_when_idle() -> None:
    with pytest.raises(TooLong, match="a sequence may hold 32"):
        make_scheduler().admit(make_request([(1,) * 30], max_new_tokens=3), tokens_per_s=0)
    with pytest.raises(TooLong, match="split the request"):
        make_scheduler().admit(make_request([(1,) * 8] * 5, max_new_tokens=8), tokens_per_s=0)


def test_a_full_queue_refuses_with_the_time_the_excess_takes_to_drain() -> None:
    scheduler = make_scheduler()
    scheduler.admit(make_request([(1,) * 8] * 3, max_new_tokens=8), tokens_per_s=0)  # 48 of 64
    with pytest.raises(Overloaded, match="48 of 64") as refusal:
        scheduler.admit(make_request([(1,) * 8] * 2, max_new_tokens=8), tokens_per_s=4.0)
    assert refusal.value.retry_after_s == 4.0  # 16 tokens too many at 4 a second
    assert scheduler.waiting_tokens == 48


def test_a_refused_request_leaves_nothing_behind() -> None:
    scheduler = make_scheduler()
    scheduler.admit(make_request([(1,) * 8] * 3, max_new_tokens=8), tokens_per_s=0)
    before = list(scheduler.waiting)
    with pytest.raises(Overloaded):
        scheduler.admit(make_request([(1,) * 8] * 2, max_new_tokens=8), tokens_per_s=0)
    assert list(scheduler.waiting) == before


def test_callers_that_left_lose_slot_and_place_before_the_next_step() -> None:
    scheduler = make_scheduler(slots=1)
    running, waiting = make_request([(1,)]), make_request([(2,)])
    scheduler.admit(running, tokens_per_s=0)
    scheduler.admit(waiting, tokens_per_s=0)
    scheduler.schedule(now=0.0)
    running.future.cancel()
    waiting.future.cancel()
    step = scheduler.schedule(now=1.0)
    assert not step.batch
    assert {s.prompt for s in step.aborted} == {(1,), (2,)}
    assert not scheduler.has_work
    assert scheduler.waiting_tokens == 0
    assert scheduler.kv_cache.num_free == 1


def test_a_passed_deadline_ends_running_and_waiting_sequences() -> None:
    scheduler = make_scheduler(slots=1)
    scheduler.admit(make_request([(1,), (2,)], deadline=5.0), tokens_per_s=0)
    scheduler.schedule(now=4.9)
    step = scheduler.schedule(now=5.0)
    assert not step.batch
    assert [s.finish_reason for s in step.aborted] == [FinishReason.DEADLINE] * 2
    assert scheduler.kv_cache.num_free == 1


def test_a_step_scheduled_before_the_last_is_read_names_the_rows_of_its_tokens() -> None:
    scheduler = make_scheduler(slots=2)
    scheduler.admit(make_request([(1, 2), (3,)]), tokens_per_s=0)
    first = scheduler.schedule(now=0.0)
    second = scheduler.schedule(now=0.0)
    assert second.batch.decode_sources.tolist() == [0, 1]
    assert second.batch.decode_lengths.tolist() == [2, 1]
    scheduler.update(first, [5, 6], [-0.1, -0.1])
    third = scheduler.schedule(now=0.0)
    assert third.batch.decode_sources.tolist() == [0, 1]
    assert third.batch.decode_lengths.tolist() == [3, 2]
    scheduler.update(second, [8, 9], [-0.1, -0.1])
    scheduler.update(third, [10, 11], [-0.1, -0.1])
    fourth = scheduler.schedule(now=0.0)
    assert fourth.batch.decode_sources.tolist() == [-1, -1]
    assert fourth.batch.decode_tokens.tolist() == [10, 11]
    assert [s.output_ids for s in fourth.sequences] == [[5, 8, 10], [6, 9, 11]]


def test_a_row_behind_a_prompt_is_named_by_its_place_among_all_rows() -> None:
    scheduler = make_scheduler(slots=3)
    scheduler.admit(make_request([(1,), (2,)]), tokens_per_s=0)
    first = scheduler.schedule(now=0.0)
    scheduler.update(first, [5, STOP], [-0.1, -0.1])
    scheduler.admit(make_request([(3,)]), tokens_per_s=0)
    second = scheduler.schedule(now=0.0)  # rows: the prompt (3,), then the sequence of (1,)
    assert [s.prompt for s in second.sequences] == [(3,), (1,)]
    third = scheduler.schedule(now=0.0)
    assert [s.prompt for s in third.sequences] == [(1,), (3,)]
    assert third.batch.decode_sources.tolist() == [1, 0]


def test_a_sequence_that_reaches_its_length_unread_sits_out_and_keeps_its_slot() -> None:
    scheduler = make_scheduler(slots=1)
    scheduler.admit(make_request([(1,), (2,)], max_new_tokens=2), tokens_per_s=0)
    first, second, third = (scheduler.schedule(now=0.0) for _ in range(3))
    assert (bool(second.batch), bool(third.batch)) == (True, False)
    assert scheduler.update(first, [5], [-0.1]) == []
    [finished] = scheduler.update(second, [6], [-0.1])
    assert finished.output_ids == [5, 6]
    assert finished.finish_reason is FinishReason.LENGTH
    assert [s.prompt for s in scheduler.schedule(now=0.0).prefills] == [(2,)]


def test_what_is_generated_behind_a_stop_token_is_dropped_and_the_slot_given_away_before() -> None:
    scheduler = make_scheduler(slots=1)
    scheduler.admit(make_request([(1,), (2,)]), tokens_per_s=0)
    first, second = scheduler.schedule(now=0.0), scheduler.schedule(now=0.0)
    [finished] = scheduler.update(first, [STOP], [-0.1])
    third = scheduler.schedule(now=0.0)
    assert [s.prompt for s in third.prefills] == [(2,)]
    assert scheduler.update(second, [5], [-0.1]) == []
    assert (finished.output_ids, finished.num_generated) == ([], 1)
    scheduler.update(third, [6], [-0.1])
    assert third.prefills[0].output_ids == [6]
    scheduler.kv_cache.check_integrity()


def test_a_sequence_aborted_during_a_step_gets_none_of_its_tokens() -> None:
    scheduler = make_scheduler(slots=2)
    gone, late = make_request([(1,)]), make_request([(2,)], deadline=1.0)
    scheduler.admit(gone, tokens_per_s=0)
    scheduler.admit(late, tokens_per_s=0)
    step = scheduler.schedule(now=0.0)
    gone.future.cancel()
    assert set(scheduler.schedule(now=1.0).aborted) == {*gone.sequences, *late.sequences}
    assert scheduler.update(step, [5, 6], [-0.1, -0.1]) == []
    assert gone.sequences[0].output_ids == late.sequences[0].output_ids == []
    assert scheduler.kv_cache.num_free == 2


def test_a_failed_step_loses_all_that_runs_and_nothing_that_waits() -> None:
    scheduler = make_scheduler(slots=2)
    scheduler.admit(make_request([(1,), (2,), (3,)]), tokens_per_s=0)
    scheduler.schedule(now=0.0)
    assert [s.prompt for s in scheduler.drop_running()] == [(1,), (2,)]
    assert scheduler.kv_cache.num_free == 2
    assert [s.prompt for s in scheduler.schedule(now=0.0).prefills] == [(3,)]


def test_one_sampled_row_makes_a_step_not_greedy() -> None:
    scheduler = make_scheduler(slots=2)
    scheduler.admit(make_request([(1,)], params=GREEDY), tokens_per_s=0)
    step = scheduler.schedule(now=0.0)
    assert step.is_greedy
    scheduler.update(step, [5], [-0.1])
    scheduler.admit(make_request([(2,)], params=SamplingParams(temperature=0.5)), tokens_per_s=0)
    assert not scheduler.schedule(now=0.0).is_greedy
