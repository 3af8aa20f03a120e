from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from predictor.batch import Batch
from predictor.builder.errors import CalibrationFailed
from predictor.builder.int8 import calibrate
from predictor.builder.int8.calibrate import InputRecorder, collect_input_statistics
from predictor.runners.base import execute
from predictor.runners.reference import open_reference_runner
from protocol.release import load_release

SEQUENCES = [(5, 6, 7, 8), (9, 10), (200, 100, 50, 25, 12, 6, 3)]


def generated(directory: Path) -> dict[str, np.ndarray]:
    """The inputs of every matrix when the sequences are decoded token by token, one after the other."""
    seen: dict[str, list[np.ndarray]] = defaultdict(list)
    runner = open_reference_runner(
        directory,
        load_release(directory),
        slots=1,
        threads=1,
        hook=lambda name, values: seen[name].append(values.copy()),
    )
    for first, *others in SEQUENCES:
        execute(runner, Batch.of_prompts([0], [(first,)]))
        for length, token in enumerate(others, 1):
            execute(runner, Batch.of_tokens(np.array([0]), np.array([token]), np.array([length])))
    return {name: np.concatenate(values) for name, values in seen.items()}


@pytest.mark.parametrize("pass_tokens", [512, 3])
def test_reading_a_sequence_shows_the_inputs_of_generating_it(
    random_release_dir: Path, monkeypatch: pytest.MonkeyPatch, pass_tokens: int
) -> None:
    monkeypatch.setattr(calibrate, "PASS_TOKENS", pass_tokens)
    wanted = generated(random_release_dir)
    found = collect_input_statistics(random_release_dir, SEQUENCES, threads=1, seed=0)
    assert set(found) == set(wanted)
    for name, inputs in found.items():
        assert inputs.rows.shape == (13, wanted[name].shape[1])
        np.testing.assert_allclose(inputs.rows, wanted[name], atol=0.02 * np.abs(wanted[name]).max())
        np.testing.assert_array_equal(inputs.largest, np.abs(inputs.rows).max(axis=0))


def test_some_rows_are_kept_and_the_maxima_of_all(
    random_release_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = collect_input_statistics(random_release_dir, SEQUENCES, threads=1, seed=0)
    monkeypatch.setattr(calibrate, "KEPT_ROWS", 4)
    some = collect_input_statistics(random_release_dir, SEQUENCES, threads=1, seed=0)
    for name, inputs in some.items():
        assert len(inputs.rows) == 4
        assert {row.tobytes() for row in inputs.rows} < {row.tobytes() for row in whole[name].rows}
        np.testing.assert_array_equal(inputs.largest, whole[name].largest)


def test_inputs_that_are_no_numbers_are_refused_by_name() -> None:
    recorder = InputRecorder(frozenset({0}))
    recorder("layers.0.mlp.down", np.ones((2, 3), np.float32))
    with pytest.raises(CalibrationFailed, match=r"layers\.0\.mlp\.down are not finite"):
        recorder("layers.0.mlp.down", np.array([[1, np.nan, 1]], np.float32))
