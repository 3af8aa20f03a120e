"""Gives free memory back to the operating system, which glibc does not do where blocks in use lie above it."""

from __future__ import annotations

import asyncio
import ctypes

_DELAY_S = 0.5
"""Seconds in which further requests may end whose memory is given back with the first one's."""


class MemoryTrimmer:
    """Trims the heap soon after requests have ended that held much."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        # Other C libraries have no such function.
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    def request(self) -> None:
        """Trim within a moment."""
        if self._timer is None and self._trim is not None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY_S, self._run)

    def _run(self) -> None:
        self._timer = None
        if self._trim is not None:
            asyncio.get_running_loop().run_in_executor(None, self._trim, 0)
