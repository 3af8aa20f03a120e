from __future__ import annotations

import pytest

from protocol.kubernetes.durations import is_whole_seconds, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0), ("60s", 60.0), ("1m30s", 90.0), ("1.5h", 5400.0), ("-2ms", -0.002), ("+.5s", 0.5), ("3µs", 3e-6),
        ("1ns", 1e-9),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert is_whole_seconds(seconds) == (seconds % 1 == 0)


@pytest.mark.parametrize("text", ["", "-", "60", "1 s", "s", "1d", "1s2", "9999999h"])
def test_a_text_that_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write one with its unit"):
        parse_duration(text)
