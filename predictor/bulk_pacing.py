"""Decides in which steps bulk takes part while other sequences run.

A step with more rows takes longer: on a CPU by far, on a GPU hardly. So bulk sits steps of others out, its K/V kept,
and joins one as soon as the time that it adds is within its allowance. Each step of others adds to that allowance, so
that bulk makes their time at most so many times as long, on any hardware: the times are measured.
"""

from __future__ import annotations

MOST_SAT_OUT = 32
"""Steps of others in a row that bulk sits out: it waits for no one for ever, nor because the machine stalled once."""
_WEIGHT = 0.3
"""Weight of the newest step in a running mean."""
_AGING = 0.99
"""Of the time of a step without bulk, at each step with it: what was measured long ago is measured again."""


class BulkPacer:
    """The time that bulk may add to the steps of others. Time is an argument."""

    def __init__(self, slowdown: float) -> None:
        """Nothing is known of any step's time.

        Args:
            slowdown: how many times as long bulk may make the steps of others, together; more than 1.
        """
        self._slowdown = slowdown
        self._alone_s: float | None = None
        """Mean time of a step of others without bulk; None if unknown."""
        self._added_s = 0.0
        """Mean time that bulk adds to one."""
        self._allowance_s = 0.0
        """What bulk may add now; never more than two steps need, so that little is saved up."""
        self._sat_out = 0
        """Steps of others in a row without bulk."""

    @property
    def may_join(self) -> bool:
        """Whether bulk takes part in the next step of others."""
        if self._sat_out >= MOST_SAT_OUT:
            return True
        return self._alone_s is not None and self._allowance_s >= self._added_s

    def others_came(self, waited_s: float) -> None:
        """Take in that others, of which none ran, waited for a step of bulk: that is time that bulk added."""
        self._allowance_s -= waited_s

    def bulk_ran_alone(self) -> None:
        """Take in a step of bulk that no others took part in."""
        self._sat_out = 0

    def observe(self, seconds: float, *, joined: bool, reads_prompts: bool) -> None:
        """Take in a step that sequences other than bulk took part in.

        Args:
            seconds: that it took.
            joined: whether bulk took part in it too.
            reads_prompts: whether it read prompts of others, which takes a time of its own.
        """
        if joined:
            self._observe_joined(seconds, seconds if self._alone_s is None else self._alone_s, reads_prompts)
            return
        self._sat_out += 1
        if not reads_prompts:
            before = seconds if self._alone_s is None else self._alone_s
            self._alone_s = before + _WEIGHT * (seconds - before)
        self._account(seconds, added_s=0.0)

    def _observe_joined(self, seconds: float, alone_s: float, reads_prompts: bool) -> None:
        if self._sat_out >= MOST_SAT_OUT:
            self._allowance_s = self._added_s  # what it owed is forgotten
        self._sat_out = 0
        added_s = self._added_s  # with prompts, how much of the time was bulk's is not known
        if not reads_prompts:
            added_s = max(0.0, seconds - alone_s)
            self._added_s += _WEIGHT * (added_s - self._added_s)
            self._alone_s = _AGING * alone_s
        self._account(alone_s, added_s=added_s)

    def _account(self, alone_s: float, *, added_s: float) -> None:
        """Add what a step of others allows, which takes ``alone_s`` without bulk, and take off what bulk added."""
        allowance_s = self._allowance_s + (self._slowdown - 1) * alone_s - added_s
        self._allowance_s = min(allowance_s, 2 * self._added_s)
