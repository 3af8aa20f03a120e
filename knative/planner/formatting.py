"""Formats numbers for the planner's messages."""

from __future__ import annotations

from knative.planner.hardware.gpus import GIB


def milliseconds(seconds: float) -> str:
    """Whole milliseconds, or three digits where there are fewer than ten: 0.01 ms is not 0 ms."""
    value = seconds * 1000
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.3g} ms"


def gibibytes(nbytes: float) -> str:
    """Bytes in GiB, to a tenth."""
    return f"{nbytes / GIB:.1f} GiB"


def counted(count: int, what: str) -> str:
    """``1 pod``, ``2 pods``."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
