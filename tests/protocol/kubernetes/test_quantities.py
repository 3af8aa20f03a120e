from __future__ import annotations

import pytest

from protocol.kubernetes.quantities import parse_quantity, quantity_or_zero


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("500m", 0.5),
        ("16Gi", 16 * 2**30),
        ("1.5k", 1500),
        ("2e3", 2000),
        ("100n", 1e-7),
        (3, 3),
        (".5", 0.5),
    ],
)
def test_quantities(text: object, value: float) -> None:
    assert float(parse_quantity(text)) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("text", ["", "1 Gi", "Gi", "1GB", "1Gi1", None, True])
def test_a_text_that_is_no_quantity(text: object) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        parse_quantity(text)
    assert quantity_or_zero(text) == 0
