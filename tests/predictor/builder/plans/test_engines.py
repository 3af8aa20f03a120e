from __future__ import annotations

import pytest

from predictor.builder.errors import PrecisionUnavailable
from predictor.builder.plans.engines import canonical_precision, check_precision, profiles_up_to


def test_profiles_are_narrow_and_tuned_for_their_largest_size() -> None:
    assert profiles_up_to(2048) == (
        (1, 8, 8),
        (9, 32, 32),
        (33, 64, 64),
        (65, 128, 128),
        (129, 256, 256),
        (257, 512, 512),
        (513, 1024, 1024),
        (1025, 2048, 2048),
    )


@pytest.mark.parametrize("most", [1, 7, 8, 9, 32, 33, 64, 100, 512, 3000])
def test_profiles_cover_every_size_once(most: int) -> None:
    sizes = [size for profile in profiles_up_to(most) for size in range(profile.min, profile.max + 1)]
    assert sizes == list(range(1, most + 1))


def test_fp16_is_a_spelling_of_float16() -> None:
    assert [canonical_precision(text) for text in ("fp16", "float16", "int8")] == [
        "float16",
        "float16",
        "int8",
    ]


@pytest.mark.parametrize(
    ("precision", "tensorrt", "compute_capability", "refusal"),
    [
        ("float16", "8.6.0", (7, 0), None),
        ("int8", "8.6.0", (9, 0), None),
        ("int8", "11.4.0.106", (7, 0), "compute capability is 7.0, int8 needs 7.5"),
        ("fp8", "8.6.1", (9, 0), "TensorRT 8.6.1 has no products in fp8: install 10.1 or newer"),
        ("fp8", "11.4.0.106", (8, 6), "compute capability is 8.6, fp8 needs 8.9"),
        ("fp8", "11.4.0.106", (12, 0), None),
    ],
)
def test_a_precision_needs_its_tensorrt_and_gpu(
    precision: str, tensorrt: str, compute_capability: tuple[int, int], refusal: str | None
) -> None:
    if refusal is None:
        check_precision(precision, tensorrt=tensorrt, compute_capability=compute_capability)
    else:
        with pytest.raises(PrecisionUnavailable, match=refusal):
            check_precision(precision, tensorrt=tensorrt, compute_capability=compute_capability)
