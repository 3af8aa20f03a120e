"""Inputs of every matrix on calibration texts, kept on the disk, and the quantizer that they make possible.

Rows are kept in bfloat16: they are averages' material, and its range is that of float32.
"""

from __future__ import annotations

import threading
from pathlib import Path

import ml_dtypes
import numpy as np

from predictor.builder.errors import CalibrationFailed
from predictor.builder.weights.block_quantize import Codes, Float32Array, QuantFormat, quantize_rows
from predictor.builder.weights.error_feedback import ErrorFeedback, error_feedback, quantize_with_feedback
from predictor.segment_index import VOCABULARY

_KEPT = np.dtype(ml_dtypes.bfloat16)
COMPENSATED_BITS = 4
"""Of matrices whose errors are made up for. 8 bits leave errors of activations, which this does not reach."""


class RecordedInputs:
    """The inputs of matrices, one file for each. Not for several threads."""

    def __init__(self, directory: Path) -> None:
        """Keep them in a directory, which is there."""
        self._directory = directory
        self._widths: dict[str, int] = {}

    def __call__(self, name: str, values: Float32Array) -> None:
        """Add the inputs [T, K] of matrix ``name``.

        Raises:
            CalibrationFailed: a number is not finite.
        """
        if not np.isfinite(values).all():
            raise CalibrationFailed(
                f"the inputs of {name} are not finite on the calibration texts: the model leaves float16's range. "
                "Build without --compensate"
            )
        if name == VOCABULARY:  # has 8 bits
            return
        self._widths[name] = values.shape[1]
        with self._path(name).open("ab") as file:
            file.write(values.astype(_KEPT).tobytes())

    def __contains__(self, name: object) -> bool:
        return name in self._widths

    def rows(self, name: str) -> Float32Array:
        """The inputs of a matrix, float32 [T, K]."""
        values = np.fromfile(self._path(name), dtype=_KEPT).astype(np.float32)
        return values.reshape(-1, self._widths[name])

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.inputs"


class CompensatingQuantizer:
    """A :data:`predictor.builder.weights.writer.MatrixQuantizer` that makes up for errors in 4 bits."""

    def __init__(self, inputs: RecordedInputs) -> None:
        """Matrices without inputs are rounded to the nearest code."""
        self._inputs = inputs
        self._lock = threading.Lock()
        self._latest: tuple[str, ErrorFeedback] | None = None
        """Slices of one matrix come one after the other; a large one's feedback takes half a gigabyte."""

    def __call__(self, name: str, rows: Float32Array, form: QuantFormat) -> tuple[Codes, Float32Array]:
        """Codes and scales of some rows of a matrix."""
        if form.bits != COMPENSATED_BITS or name not in self._inputs:
            return quantize_rows(rows, form)
        return quantize_with_feedback(rows, form, self._feedback(name))

    def _feedback(self, name: str) -> ErrorFeedback:
        with self._lock:
            if self._latest is None or self._latest[0] != name:
                self._latest = None
                self._latest = name, error_feedback(self._inputs.rows(name))
            return self._latest[1]
