from __future__ import annotations

import hashlib
import threading
import time
from contextlib import closing
from functools import partial

import pytest

from predictor.builder.parallel import UNHASHED, BackgroundDigest, run_ordered


def test_results_come_in_order_whichever_is_done_first() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number

    assert list(run_ordered((partial(slow_first, n) for n in range(40)), threads=4)) == list(range(40))


def test_tasks_run_at_once_and_not_too_far_ahead() -> None:
    together = threading.Barrier(3)
    begun: list[int] = []

    def task(number: int) -> int:
        begun.append(number)
        if number < 3:
            together.wait(timeout=5)
        return number

    with closing(run_ordered((partial(task, n) for n in range(100)), threads=3)) as results:
        assert next(results) == 0
        assert len(begun) <= 7
    assert len(begun) <= 7


def test_what_a_task_raises_comes_in_its_place() -> None:
    def fail() -> int:
        raise ValueError("broken")

    results = run_ordered([lambda: 1, fail, lambda: 3], threads=2)
    assert next(results) == 1
    with pytest.raises(ValueError, match="broken"):
        next(results)


def test_a_digest_is_that_of_all_buffers_in_order() -> None:
    parts = [bytes([n]) * (n * 5000) for n in range(4 * UNHASHED)]
    with BackgroundDigest() as digest:
        for part in parts:
            digest.update(part)
        assert digest.hexdigest() == hashlib.sha256(b"".join(parts)).hexdigest()


def test_a_digest_goes_on_with_one_that_was_begun_and_ends_its_thread() -> None:
    before = threading.active_count()
    with BackgroundDigest(hashlib.sha256(b"be")) as digest:
        digest.update(memoryview(b"gun"))
        assert digest.hexdigest() == hashlib.sha256(b"begun").hexdigest()
    assert threading.active_count() == before
