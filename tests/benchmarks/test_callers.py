"""What a small caller gains and a flood loses, in simulated time."""

from __future__ import annotations

import pytest

from benchmarks.callers.trade import StepTimes, TradeLoad, simulate
from benchmarks.transformer_stages.figures import percentile

LOAD = TradeLoad(seconds=8.0)
CPU = StepTimes((1, 16), (0.6, 2.4), prompt_ms=1.4)
GPU = StepTimes((1, 16), (2.4, 2.4), prompt_ms=0.1)


def p99(times: StepTimes, slowdown: float, *, floods: bool) -> float:
    waits, _ = simulate(times, LOAD, slowdown=slowdown, rate=10.0, floods=floods)
    assert len(waits) > 50
    return percentile(waits, 0.99)


def test_a_flood_delays_others_as_much_as_the_setting_says() -> None:
    alone = p99(CPU, 2.0, floods=False)
    ratios = [p99(CPU, slowdown, floods=True) / alone for slowdown in (1.25, 2.0, 1000.0)]
    assert ratios == sorted(ratios)
    assert ratios[0] < 2.0
    assert 1.5 < ratios[1] < 2.2
    assert ratios[2] > 3.0


def test_a_flood_that_is_alone_loses_nothing() -> None:
    rates = [simulate(CPU, LOAD, slowdown=each, rate=0.0, floods=True)[1] for each in (1.25, 1000.0)]
    assert rates[0] == rates[1]


def test_where_rows_cost_nothing_a_flood_hardly_waits() -> None:
    limited, free = (simulate(GPU, LOAD, slowdown=each, rate=10.0, floods=True)[1] for each in (2.0, 1000.0))
    assert limited == pytest.approx(free, rel=0.05)
    assert p99(GPU, 2.0, floods=True) < 1.3 * p99(GPU, 2.0, floods=False)
