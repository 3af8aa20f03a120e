"""Detects generated tokens that repeat themselves, token by token. Pure.

A greedy model that has fallen into a loop keeps its slot until its budget is spent. The request says how often tokens
may repeat (``max_repeats``), since only the caller knows which repetitions are right.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_PERIOD = 32
"""Tokens; repetitions with a longer period are not detected."""
MIN_TOKENS = 16
"""Repetitions of fewer tokens in all are no loop: a row of dashes or dots, for example."""


class RepetitionDetector:
    """Detects loops in one sequence. A token that is none of the last ``MAX_PERIOD`` costs a few comparisons."""

    def __init__(self, max_repeats: int) -> None:
        """Start before the first token.

        Args:
            max_repeats: how often a part may follow itself at the end of the tokens, >= 2.
        """
        self._max_repeats = max_repeats
        self._runs: dict[int, int] = {}
        """For each period, how many tokens in a row, up to the newest, equal the one that far before them. Periods
        whose run is 0 are left out."""

    def observe(self, token_ids: Sequence[int]) -> bool:
        """Observe the newest token.

        Args:
            token_ids: the sequence's tokens so far; the last of them is new, the others were observed one by one.

        Returns:
            Whether they end in a loop: for some period p of 1 to ``MAX_PERIOD``, the last p · ``max_repeats`` tokens,
            and at least the last ``MIN_TOKENS``, repeat after p.
        """
        newest, end = token_ids[-1], len(token_ids) - 1
        window = token_ids[max(0, end - MAX_PERIOD) : end]
        runs: dict[int, int] = {}
        if newest in window:
            periods = (len(window) - at for at, token_id in enumerate(window) if token_id == newest)
            runs = {period: self._runs.get(period, 0) + 1 for period in periods}
        self._runs = runs
        return any(self._is_loop(period, run + period) for period, run in runs.items())

    def _is_loop(self, period: int, tokens: int) -> bool:
        return tokens >= MIN_TOKENS and tokens >= self._max_repeats * period
