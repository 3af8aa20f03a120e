"""How a soak judges memory."""

from __future__ import annotations

import pytest

from benchmarks.soak.__main__ import slope_without_steps

TIMES = [15.0 * number for number in range(60)]


@pytest.mark.parametrize("at", [10, 30, 50])
def test_one_step_is_no_slope(at: int) -> None:
    values = [100.0 + 8.0 * (number >= at) for number in range(60)]
    assert slope_without_steps(TIMES, values) == pytest.approx(0.0, abs=1e-9)


def test_a_leak_is_a_slope_whatever_steps_there_are() -> None:
    leak = [0.5 * time for time in TIMES]
    assert slope_without_steps(TIMES, leak) == pytest.approx(0.5)
    steps = [value + 20.0 * (number >= 20) - 30.0 * (number >= 40) for number, value in enumerate(leak)]
    assert slope_without_steps(TIMES, steps) == pytest.approx(0.5, rel=0.1)
