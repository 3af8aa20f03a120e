from __future__ import annotations

import time

from protocol.suggestions import did_you_mean, nearest


def test_a_mistyped_name_gets_the_nearest() -> None:
    assert nearest("deadline_m", ["deadline_ms", "max_new_tokens"]) == "deadline_ms"
    assert did_you_mean("deadline_m", ["deadline_ms"]) == ", did you mean deadline_ms?"


def test_a_name_like_none_gets_nothing() -> None:
    assert nearest("zzz", ["deadline_ms"]) is None
    assert did_you_mean("zzz", ["deadline_ms"]) == ""


def test_without_a_cutoff_anything_is_offered() -> None:
    assert nearest("zzz", ["deadline_ms"], cutoff=0.0) == "deadline_ms"


def test_a_very_long_name_is_like_none_at_once() -> None:
    started = time.process_time()
    assert nearest("source" * 1_000_000, ["source"]) is None
    assert time.process_time() - started < 0.1
