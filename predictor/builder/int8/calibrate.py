"""Calibration: statistics of each matrix's inputs on the release's own texts and answers, run by the CPU reference.

A sequence of prompt and answer is read in one prefill: the inputs are the same as in token by token generation, at a
fraction of the time. The largest magnitude of each column and a sample of rows are kept;
:mod:`predictor.builder.int8.smooth` computes scales from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from predictor.batch import Batch
from predictor.builder.errors import CalibrationFailed
from predictor.builder.int8.smooth import Float32s
from predictor.runners.numpy_kernels import SlotCache
from predictor.runners.reference_decoder import ActivationHook, DecoderLoader, ReferenceDecoder, load_tensors
from predictor.runners.segmented import StepPass, pack_step
from predictor.segment_index import graph_file, linear_roles, read_segment_index
from protocol.release import load_release

Tokens = tuple[int, ...]

KEPT_ROWS = 192
"""Input rows kept per matrix: 0.6 GB in all for 7 billion parameters, enough to measure errors to a few percent."""
PASS_TOKENS = 512
"""Tokens per pass; limits the memory of activations and logits."""


@dataclass(frozen=True, slots=True)
class InputStatistics:
    """Statistics of the inputs of one matrix with K columns."""

    largest: Float32s
    """[K]: largest magnitude of each column over all rows."""
    rows: Float32s
    """[n, K]: a sample of the rows."""


class InputRecorder:
    """Collects input statistics by matrix name; samples the same rows for all matrices."""

    def __init__(self, kept: frozenset[int]) -> None:
        """Sample the rows with these numbers, counted from 0 over all passes."""
        self._kept = kept
        self._seen: dict[str, int] = {}
        self._largest: dict[str, Float32s] = {}
        self._rows: dict[str, list[Float32s]] = {}

    def __call__(self, name: str, values: Float32s) -> None:
        """Add the inputs [T, K] of matrix ``name``.

        Raises:
            CalibrationFailed: a number is not finite.
        """
        largest = np.maximum(values.max(axis=0), -values.min(axis=0))
        if not np.isfinite(largest).all():
            raise CalibrationFailed(
                f"the inputs of {name} are not finite on the calibration texts: the model leaves float16's range, "
                "so it can have no plan; serve it with YIWEN_BACKEND=onnxruntime"
            )
        self._largest[name] = np.maximum(largest, self._largest.get(name, np.float32(0)))
        first = self._seen.get(name, 0)
        self._seen[name] = first + len(values)
        chosen = [row for row in range(len(values)) if first + row in self._kept]
        self._rows.setdefault(name, []).append(values[chosen])

    def observed(self) -> dict[str, InputStatistics]:
        """The statistics by matrix name."""
        return {
            name: InputStatistics(largest, np.concatenate(self._rows[name]))
            for name, largest in self._largest.items()
        }


def collect_input_statistics(
    directory: Path, sequences: Sequence[Tokens], *, threads: int, seed: int
) -> dict[str, InputStatistics]:
    """Run sequences through the release's segments and collect input statistics by matrix name.

    Args:
        directory: of the release.
        sequences: token ids, each at most as long as the release allows.
        threads: of ONNX Runtime.
        seed: of the sample of rows.

    Raises:
        ReleaseError, StartupError: the release cannot be run.
        CalibrationFailed: the model's numbers are not finite.
    """
    tokens = sum(map(len, sequences))
    kept = np.random.default_rng(seed).permutation(tokens)[:KEPT_ROWS]
    recorder = InputRecorder(frozenset(kept.tolist()))
    observe_inputs(directory, sequences, recorder, threads=threads)
    return recorder.observed()


def observe_inputs(
    directory: Path, sequences: Sequence[Tokens], hook: ActivationHook, *, threads: int
) -> None:
    """Run sequences through the release's segments.

    Args:
        directory: of the release.
        sequences: token ids, each at most as long as the release allows.
        hook: called with the inputs of every matrix.
        threads: of ONNX Runtime.

    Raises:
        ReleaseError, StartupError: the release cannot be run.
    """
    decoder, cache = _open(directory, sequences, hook, threads)
    for one in _passes(sequences):
        decoder.run(one, one.token_ids, cache)


def _open(
    directory: Path, sequences: Sequence[Tokens], hook: ActivationHook, threads: int
) -> tuple[ReferenceDecoder, SlotCache]:
    release, index = load_release(directory), read_segment_index(directory)
    roles = linear_roles(index.traits, release.decoder.layers)
    graphs = {f"{role}.float16": directory / graph_file(role) for role in roles}
    tensors = load_tensors(directory, index, {})
    loader = DecoderLoader(tensors, graphs, threads=threads, hook=hook)
    capacity = max(map(len, sequences))
    rules = loader.rules(release.decoder, index.traits)
    cache = SlotCache(release.decoder, slots=len(sequences), capacity=capacity, rules=rules)
    return loader.load(release.decoder, index.traits), cache


def _passes(sequences: Sequence[Tokens]) -> Iterator[StepPass]:
    """One slot per sequence, with all rows as outputs: behind the last attention only output rows are computed."""
    batch = Batch.of_prompts(range(len(sequences)), sequences)
    for one in pack_step(batch, max_tokens=PASS_TOKENS, max_rows=PASS_TOKENS):
        rows = np.arange(one.tokens, dtype=np.int32)
        yield replace(one, out_rows=rows, output_rows=rows)
