from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from predictor.errors import StartupError
from predictor.runners.tensorrt.start.memory import GIB, MemoryNeeds, plan_memory, slot_bytes

H200 = 139 * GIB
NEEDS = MemoryNeeds(weights=13 * GIB, scratch=GIB // 2, buffers=GIB // 2)


def test_a_slot_of_deepseek_7b_with_1024_tokens_takes_480_mib() -> None:
    assert slot_bytes(layers=30, kv_heads=32, head_dim=128, capacity=1024) == 480 * 2**20


@pytest.mark.parametrize(
    ("free", "total", "fraction", "wanted", "slots"),
    [
        (H200, H200, 0.92, 256, 113),
        (H200, H200, 0.92, 64, 64),
        (H200 - 20 * GIB, H200, 0.92, 256, 93),
        (H200 // 8, H200 // 8, 0.92, 256, 1),
        (20 * GIB, 20 * GIB, 1.0, 256, 6),
    ],
)
def test_slots_are_what_the_rest_holds_and_never_more_than_wanted(
    free: int, total: int, fraction: float, wanted: int, slots: int
) -> None:
    plan = plan_memory(
        free=free, total=total, fraction=fraction, needs=NEEDS, bytes_per_slot=GIB, wanted_slots=wanted
    )
    assert plan.slots == slots
    assert plan.kv_bytes == slots * GIB


def test_the_log_shows_the_arithmetic() -> None:
    plan = plan_memory(
        free=20 * GIB, total=20 * GIB, fraction=1.0, needs=NEEDS, bytes_per_slot=GIB, wanted_slots=4
    )
    assert plan.describe() == (
        "20.000 GiB - 13.000 GiB weights - 0.500 GiB scratch - 0.500 GiB buffers = 6.000 GiB for K/V; "
        "4 slots of 1.000 GiB = 4.000 GiB, 4 wanted"
    )


def test_a_gpu_without_room_for_one_slot_is_refused_with_the_arithmetic_and_what_helps() -> None:
    with pytest.raises(StartupError) as caught:
        plan_memory(
            free=15 * GIB, total=16 * GIB, fraction=0.9, needs=NEEDS, bytes_per_slot=GIB, wanted_slots=4
        )
    message = str(caught.value)
    assert "too small by 1.600 GiB: 90% of 16.000 GiB, less 1.000 GiB in use, are 13.400 GiB" in message
    assert "= -0.600 GiB for K/V, and one slot takes 1.000 GiB" in message
    for help_ in ("MIG slice", "YIWEN_GPU_MEMORY_FRACTION", "--precision int8", "--max-tokens"):
        assert help_ in message


@given(
    total=st.integers(GIB, 200 * GIB),
    used=st.floats(0, 1),
    fraction=st.floats(0.05, 1),
    weights=st.integers(0, 40 * GIB),
    per_slot=st.integers(2**20, 4 * GIB),
    wanted=st.integers(1, 1024),
)
def test_what_is_shared_out_stays_within_the_fraction_and_no_further_slot_would(
    total: int, used: float, fraction: float, weights: int, per_slot: int, wanted: int
) -> None:
    free = total - int(total * used)
    needs = MemoryNeeds(weights, 2**28, 2**27)
    fixed = (total - free) + weights + needs.scratch + needs.buffers
    allowed = int(total * fraction)
    try:
        plan = plan_memory(
            free=free,
            total=total,
            fraction=fraction,
            needs=needs,
            bytes_per_slot=per_slot,
            wanted_slots=wanted,
        )
    except StartupError:
        assert fixed + per_slot > allowed
        return
    assume(plan.slots)
    assert fixed + plan.kv_bytes <= allowed
    assert plan.slots == wanted or fixed + plan.kv_bytes + per_slot > allowed
