"""Slots of the K/V cache and their owners. A slot is a contiguous row, as long as the release's longest sequence.

Bookkeeping only: the runner owns the memory.
"""

from __future__ import annotations

from predictor.sequence import Sequence


class KVCacheManager:
    """Allocates slots to sequences."""

    def __init__(self, slots: int) -> None:
        self.num_slots = slots
        self._free = list(range(slots - 1, -1, -1))
        """A stack, lowest slot on top, so that few running sequences use the lowest rows."""
        self._owners: dict[int, Sequence] = {}

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_used(self) -> int:
        return len(self._owners)

    def allocate(self, sequence: Sequence) -> None:
        """Give ``sequence`` a slot. There must be a free one, and it must own none yet."""
        if sequence.slot is not None:
            raise AssertionError("a sequence was given a second slot")
        slot = self._free.pop()
        self._owners[slot] = sequence
        sequence.slot = slot

    def deallocate(self, sequence: Sequence) -> None:
        """Free the slot of ``sequence``; does nothing if it has none."""
        if sequence.slot is None:
            return
        del self._owners[sequence.slot]
        self._free.append(sequence.slot)
        sequence.slot = None

    def check_integrity(self) -> None:
        """Check that every slot is free or owned, never both, and that owners know their slots. For tests."""
        used, free = set(self._owners), set(self._free)
        if used & free or used | free != set(range(self.num_slots)) or len(free) != len(self._free):
            raise AssertionError(f"slots lost or doubled: used {sorted(used)}, free {sorted(self._free)}")
        for slot, owner in self._owners.items():
            if owner.slot != slot:
                raise AssertionError(f"slot {slot} belongs to a sequence that thinks it owns {owner.slot}")
