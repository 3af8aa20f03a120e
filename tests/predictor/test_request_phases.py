from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from predictor.request_phases import phases
from predictor.sequence import Sequence


@dataclass
class Times:
    """The part of a sequence that is looked at."""

    arrived: float = 10.0
    started: float = 0.0
    first_token_at: float = 0.0


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [
        (
            [Times(started=11.0, first_token_at=12.0)],
            [("queue", 10, 11), ("prefill", 11, 12), ("decode", 12, 20)],
        ),
        (
            [Times(started=11.0, first_token_at=12.0), Times(started=15.0, first_token_at=15.5)],
            [("queue", 10, 15), ("prefill", 15, 15.5), ("decode", 15.5, 20)],
        ),
        ([Times(started=11.0, first_token_at=12.0), Times()], [("queue", 10, 20)]),
        ([Times(started=11.0)], [("queue", 10, 11), ("prefill", 11, 20)]),
    ],
)
def test_phases_follow_one_another(sequences: list[Times], expected: list[tuple[str, float, float]]) -> None:
    assert phases(cast("list[Sequence]", sequences), 20.0) == expected
