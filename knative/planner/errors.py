"""The one error of the planner."""

from __future__ import annotations


class PlanError(Exception):
    """Nothing can be planned from what was given; the message says what is wrong and how to fix it."""
