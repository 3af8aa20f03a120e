from __future__ import annotations

import pytest

from predictor.scheduler import Scheduler
from protocol.errors import Overloaded, TooLong
from protocol.messages import FinishReason
from tests.predictor.conftest import STOP, make_request


def make_scheduler(**changes: int) -> Scheduler:
    settings = {"slots": 2, "max_sequence_tokens": 32, "prefill_tokens": 8, "queue_tokens": 64} | changes
    return Scheduler(**settings)


def test_waiting_prompts_are_let_in_oldest_first_while_slots_last() -> None:
    scheduler = make_scheduler(slots=2)
    request = make_request([(1,), (2,), (3,)])
    scheduler.admit(request, tokens_per_s=0)
    step = scheduler.schedule(now=0.0)
    assert [s.prompt for s in step.prefills] == [(1,), (2,)]
    assert [s.prompt for s in scheduler.waiting] == [(3,)]
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
    assert {s.prompt for s in step.left} == {(1,), (2,)}
    assert not scheduler.has_work
    assert scheduler.waiting_tokens == 0
    assert scheduler.kv_cache.num_free == 1


def test_a_passed_deadline_ends_running_and_waiting_sequences() -> None:
    scheduler = make_scheduler(slots=1)
    scheduler.admit(make_request([(1,), (2,)], deadline=5.0), tokens_per_s=0)
    scheduler.schedule(now=4.9)
    step = scheduler.schedule(now=5.0)
    assert not step.batch
    assert [s.finish_reason for s in step.left] == [FinishReason.DEADLINE] * 2
    assert scheduler.kv_cache.num_free == 1
