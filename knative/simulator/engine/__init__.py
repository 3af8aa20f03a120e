"""Discrete-event simulation: the clock with its event queue, and CPU cores."""
