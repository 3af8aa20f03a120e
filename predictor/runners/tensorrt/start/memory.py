"""Plans the GPU's memory: how many slots fit. Arithmetic alone, on the free and total bytes that CUDA reports.

On a MIG slice CUDA reports the slice's memory, the driver's management library (NVML) the whole GPU's.
"""

from __future__ import annotations

from dataclasses import dataclass

from predictor.errors import StartupError

GIB = 2**30
ELEMENT_BYTES = 2
"""Of an element of a key or value: float16."""


@dataclass(frozen=True, slots=True)
class MemoryNeeds:
    """Bytes of GPU memory that do not depend on the number of slots."""

    weights: int
    scratch: int
    """Work space of the largest engine."""
    buffers: int
    """Residuals, projections, logits and the like for the largest step."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How the GPU's memory is divided."""

    slots: int
    slot_bytes: int
    wanted_slots: int
    available: int
    """Bytes that may be allocated: the configured fraction of all memory, less what is in use."""
    needs: MemoryNeeds

    @property
    def kv_bytes(self) -> int:
        """Bytes of K/V cache."""
        return self.slots * self.slot_bytes

    def describe(self) -> str:
        """The arithmetic, for the log."""
        kv = f"{self.slots} slots of {_gib(self.slot_bytes)} = {_gib(self.kv_bytes)}"
        return f"{_sum(self.available, self.needs)}; {kv}, {self.wanted_slots} wanted"


def slot_bytes(*, layers: int, kv_heads: int, head_dim: int, capacity: int) -> int:
    """Bytes of K/V of one slot.

    Args:
        layers: of the decoder; each keeps keys and values.
        kv_heads: per layer.
        head_dim: numbers per head.
        capacity: tokens of a slot.
    """
    return 2 * layers * kv_heads * head_dim * ELEMENT_BYTES * capacity


def plan_memory(
    *, free: int, total: int, fraction: float, needs: MemoryNeeds, bytes_per_slot: int, wanted_slots: int
) -> MemoryPlan:
    """Divide the GPU's memory.

    Args:
        free: bytes that CUDA calls free, before anything of ``needs`` is allocated.
        total: bytes of the device, or of its slice.
        fraction: of ``total`` that may be in use afterwards, by all processes.
        needs: allocated before any slot.
        bytes_per_slot: see :func:`slot_bytes`.
        wanted_slots: never more than these.

    Raises:
        StartupError: not even one slot fits; the message shows the arithmetic and what would help.
    """
    available = max(0, int(total * fraction) - (total - free))
    left = available - needs.weights - needs.scratch - needs.buffers
    slots = min(wanted_slots, max(0, left) // bytes_per_slot)
    if slots < 1:
        missing = bytes_per_slot - left
        raise StartupError(
            f"the GPU's memory is too small by {_gib(missing)}: {fraction:.0%} of {_gib(total)}, less "
            f"{_gib(total - free)} in use, are {_sum(available, needs)}, and one slot takes {_gib(bytes_per_slot)}; "
            "take a larger GPU or MIG slice, stop what else uses this one, raise YIWEN_GPU_MEMORY_FRACTION, build an "
            "int8 plan (yiwen release plan DIR --precision int8) or a release with a lower --max-tokens"
        )
    return MemoryPlan(slots, bytes_per_slot, wanted_slots, available, needs)


def _sum(available: int, needs: MemoryNeeds) -> str:
    left = available - needs.weights - needs.scratch - needs.buffers
    return (
        f"{_gib(available)} - {_gib(needs.weights)} weights - {_gib(needs.scratch)} scratch - "
        f"{_gib(needs.buffers)} buffers = {_gib(left)} for K/V"
    )


def _gib(nbytes: int) -> str:
    """Three decimals: a slot of a small model is a few MiB."""
    return f"{nbytes / GIB:.3f} GiB"
