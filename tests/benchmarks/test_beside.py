"""The table of two checkouts, from blocks that are given."""

from __future__ import annotations

from benchmarks.beside import Block, table


def test_ratios_are_of_the_pairs_not_of_the_medians() -> None:
    slow_machine = (Block(300.0, 900.0), Block(330.0, 450.0))
    fast_machine = (Block(100.0, 300.0), Block(120.0, 150.0))
    steady = (Block(200.0, 600.0), Block(200.0, 300.0))
    last = table({"a miss": [slow_machine, fast_machine, steady]}).splitlines()[-1]
    assert last == "| a miss | 200 | 200 | 1.10 (1.00 1.10 1.20) | 0.50 |"
