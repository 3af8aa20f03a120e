from __future__ import annotations

import numpy as np

from predictor.builder.checkpoint.rope import Llama3Scaling, Rope, YarnScaling, rotary_tables


def test_tables_hold_cosine_and_sine_of_position_times_frequency() -> None:
    cosines, sines = rotary_tables(Rope(100.0), head_dim=4, positions=3)
    angles = np.outer([0, 1, 2], [1.0, 0.1])
    np.testing.assert_allclose(cosines, np.cos(angles), atol=1e-6)
    np.testing.assert_allclose(sines, np.sin(angles), atol=1e-6)
    assert cosines.dtype == sines.dtype == np.float32


def test_linear_scaling_stretches_positions() -> None:
    plain, _ = rotary_tables(Rope(10_000.0), head_dim=64, positions=10)
    stretched, _ = rotary_tables(Rope(10_000.0, linear_factor=4.0), head_dim=64, positions=40)
    np.testing.assert_allclose(stretched[::4], plain, atol=1e-5)


def test_llama3_scaling_keeps_short_wavelengths_and_divides_long_ones() -> None:
    scaling = Llama3Scaling(8.0, 1.0, 4.0, 8192)
    plain, _ = rotary_tables(Rope(500_000.0), head_dim=128, positions=2)
    scaled, _ = rotary_tables(Rope(500_000.0, llama3=scaling), head_dim=128, positions=2)
    slowed, _ = rotary_tables(Rope(500_000.0, linear_factor=8.0), head_dim=128, positions=2)
    np.testing.assert_array_equal(scaled[:, 0], plain[:, 0])
    np.testing.assert_array_equal(scaled[:, -1], slowed[:, -1])
    middle = np.arccos(scaled[1, 1:-1].astype(float))
    assert (middle <= np.arccos(plain[1, 1:-1].astype(float)) + 1e-6).all()


def test_yarn_keeps_fast_angles_and_divides_slow_ones() -> None:
    scaling = YarnScaling(8.0, 4096, table_factor=1.5)
    plain, _ = rotary_tables(Rope(10_000.0), head_dim=128, positions=2)
    scaled, sines = rotary_tables(Rope(10_000.0, yarn=scaling), head_dim=128, positions=2)
    slowed, _ = rotary_tables(Rope(10_000.0, linear_factor=8.0), head_dim=128, positions=2)
    np.testing.assert_allclose(scaled[:, :8], 1.5 * plain[:, :8], rtol=1e-6)
    np.testing.assert_allclose(scaled[:, -8:], 1.5 * slowed[:, -8:], rtol=1e-6)
    np.testing.assert_allclose(np.hypot(scaled, sines), 1.5, rtol=1e-6)
    between = np.arccos(scaled[1].astype(float) / 1.5)
    assert (between <= np.arccos(plain[1].astype(float)) + 1e-6).all()
    assert (between >= np.arccos(slowed[1].astype(float)) - 1e-6).all()
