"""How often a canary is judged rightly, over simulated draws."""

from __future__ import annotations

import pytest

from benchmarks.canary import CANARIES, STABLE, SimulatedRelease, outcomes, table
from inferenceservices.canary.judgement import Verdict

RUNS = 20
BAD = [name for name in CANARIES if name != "equal"]


@pytest.mark.parametrize("requests", [200, 1000])
def test_an_equal_canary_is_promoted(requests: int) -> None:
    found, looks = outcomes(CANARIES["equal"], requests, 10 * RUNS, seed=2)
    # At most 1 % by design; 7 of 200 or more would have a chance of 0.5 % then.
    assert found[Verdict.ROLL_BACK] <= 6
    assert found[Verdict.PROMOTE] >= 190
    assert looks < 1.5


@pytest.mark.parametrize("name", BAD)
def test_a_worse_canary_is_rolled_back(name: str) -> None:
    found, _ = outcomes(CANARIES[name], 1000, RUNS, seed=3)
    assert found == {Verdict.ROLL_BACK: RUNS, Verdict.PROMOTE: 0, Verdict.HOLD: 0}


def test_a_cold_cache_is_no_fault_of_the_release() -> None:
    found, _ = outcomes(SimulatedRelease(hits=0.0), 1000, RUNS, seed=4)
    assert found[Verdict.PROMOTE] == RUNS
    assert STABLE.hits > 0


def test_too_few_requests_are_waited_for() -> None:
    found, looks = outcomes(CANARIES["equal"], 30, RUNS, seed=5)
    assert found[Verdict.ROLL_BACK] == 0
    assert looks == 5


def test_the_table_has_a_row_for_each_canary_and_size() -> None:
    rows = table(runs=2, seed=1).splitlines()[2:]
    assert len(rows) == 3 * len(CANARIES)
    assert all(row.count("|") == 7 for row in rows)
    assert "| dead: all requests fail | 5,000 | 100.0% | 0.0% | 0.0% | 1.0 |" in rows
