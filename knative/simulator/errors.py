"""The one error of the simulator."""

from __future__ import annotations


class SimulationError(Exception):
    """A trace, a scenario or a manifest cannot be simulated; the message says what is wrong and how to fix it."""
