"""The reference backend: the segments on the CPU, with ONNX Runtime and numpy.

Uses the same graphs, weights and passes as on a GPU. Tests, calibration and the quality gate run it where there is no
GPU. It runs ahead as a GPU does, but executes a step when it is collected, and it refuses passes that break the
contract of :class:`predictor.runners.segmented.SegmentBackend`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from predictor.batch import StepOutput
from predictor.errors import RunnerError
from predictor.runners.base import MAX_IN_FLIGHT
from predictor.runners.numpy_kernels import SlotCache, best_candidates
from predictor.runners.reference_decoder import (
    ActivationHook,
    DecoderLoader,
    Graphs,
    ReferenceDecoder,
    Tensors,
    load_tensors,
)
from predictor.runners.segmented import Int32s, SegmentedRunner, StepPass, output_rows
from predictor.segment_index import graph_file, linear_roles, read_segment_index
from protocol.release import Release

MAX_TOKENS = 512
"""Most rows of a pass, which bounds the activations and the attention scores."""

MAX_ROWS = 64
"""Most output rows of a pass, which bounds the logits."""


def open_reference_runner(
    directory: Path,
    release: Release,
    *,
    slots: int,
    threads: int,
    graphs: Graphs | None = None,
    tensors: Tensors | None = None,
    hook: ActivationHook | None = None,
    max_tokens: int = MAX_TOKENS,
    max_rows: int = MAX_ROWS,
) -> SegmentedRunner:
    """A runner on the segments of a release.

    Args:
        directory: of the release.
        release: its ``release.json``.
        slots: sequences of K/V, each as long as the release allows.
        threads: of ONNX Runtime.
        graphs: added to the release's own, e.g. ``down.int8``.
        tensors: replace the release's or are added to them, e.g. an int8 matrix and its scales.
        hook: called with the input of every matrix product.
        max_tokens: most rows of a pass.
        max_rows: most output rows of a pass.

    Raises:
        ReleaseError: the release has no segments, or cannot be read.
        StartupError: ONNX Runtime cannot load a graph, or there is none for a matrix.
    """
    index = read_segment_index(directory)
    roles = linear_roles(index.traits, release.decoder.layers)
    own = {f"{role}.float16": directory / graph_file(role) for role in roles}
    loaded = load_tensors(directory, index, tensors or {})
    loader = DecoderLoader(loaded, {**own, **(graphs or {})}, threads=threads, hook=hook)
    decoder = loader.load(release.decoder, index.traits)
    limits = release.limits
    rules = loader.rules(release.decoder, index.traits)
    cache = SlotCache(release.decoder, slots=slots, capacity=limits.max_sequence_tokens, rules=rules)
    backend = ReferenceBackend(
        decoder, cache, candidates=limits.candidates, max_tokens=max_tokens, max_rows=max_rows
    )
    return SegmentedRunner(backend)


class ReferenceBackend:
    """A :class:`predictor.runners.segmented.SegmentBackend`; :func:`open_reference_runner` makes one."""

    def __init__(
        self,
        decoder: ReferenceDecoder,
        cache: SlotCache,
        *,
        candidates: int,
        max_tokens: int,
        max_rows: int,
    ) -> None:
        self._decoder = decoder
        self._cache = cache
        self._candidates = candidates
        self._max_tokens = max_tokens
        self._max_rows = max_rows
        self._launched: deque[tuple[StepPass, ...]] = deque()
        self._previous = np.empty((0, candidates), np.int32)  # [B, K] of the step that was collected last
        self._lengths = np.zeros(cache.slots, np.int32)  # [slots] tokens in the cache

    @property
    def slots(self) -> int:
        return self._cache.slots

    @property
    def kv_bytes(self) -> int:
        return self._cache.nbytes

    @property
    def kv_bytes_per_token(self) -> int:
        return self._cache.bytes_per_token

    @property
    def launches(self) -> Mapping[str, int]:
        return {}

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    @property
    def max_rows(self) -> int:
        return self._max_rows

    @property
    def runs_ahead(self) -> bool:
        return True

    def launch(self, passes: tuple[StepPass, ...]) -> None:
        """See :meth:`predictor.runners.segmented.SegmentBackend.launch`."""
        if len(self._launched) == MAX_IN_FLIGHT:
            self._reset()
            raise RunnerError(f"a step was launched with {MAX_IN_FLIGHT} in flight")
        self._launched.append(passes)

    def collect(self) -> StepOutput:
        """See :meth:`predictor.runners.segmented.SegmentBackend.collect`."""
        try:
            return self._run_step(self._launched.popleft())
        except Exception as error:  # ONNX Runtime's errors share no base class
            self._reset()
            if isinstance(error, RunnerError):
                raise
            raise RunnerError(f"the reference failed in a step: {error}") from error

    def close(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._launched.clear()
        self._previous = self._previous[:0]
        self._lengths[:] = 0

    def _run_step(self, passes: tuple[StepPass, ...]) -> StepOutput:
        rows = output_rows(passes)
        ids = np.empty((rows, self._candidates), np.int32)
        logprobs = np.empty((rows, self._candidates), np.float32)
        for step_pass in passes:
            self._admit(step_pass)
            if (logits := self._decoder.run(step_pass, self._token_ids(step_pass), self._cache)) is not None:
                ids[step_pass.output_rows], logprobs[step_pass.output_rows] = best_candidates(
                    logits, self._candidates
                )
        self._previous = ids
        return StepOutput(ids, logprobs)

    def _admit(self, step_pass: StepPass) -> None:
        """Refuse a pass that reads what is not there; record the new lengths of its slots."""
        if step_pass.tokens > self._max_tokens or len(step_pass.out_rows) > self._max_rows:
            raise RunnerError(
                f"a pass of {step_pass.tokens} tokens and {len(step_pass.out_rows)} output rows is too large"
            )
        if step_pass.sources.max(initial=-1) >= len(self._previous):
            raise RunnerError(f"a source lies behind the {len(self._previous)} rows of the step before")
        for slot, position in zip(
            step_pass.slots[: step_pass.decodes], step_pass.positions[: step_pass.decodes], strict=True
        ):
            if position != self._lengths[slot]:
                raise RunnerError(
                    f"slot {slot} holds {self._lengths[slot]} tokens, a decode goes to {position}"
                )
            self._lengths[slot] += 1
        for chunk in step_pass.chunks:
            if chunk.start not in (0, self._lengths[chunk.slot]):
                raise RunnerError(
                    f"slot {chunk.slot} holds {self._lengths[chunk.slot]} tokens, a chunk goes to {chunk.start}"
                )
            self._lengths[chunk.slot] = chunk.start + chunk.count

    def _token_ids(self, step_pass: StepPass) -> Int32s:
        """Token ids of a pass, [T], with those that have a source looked up."""
        sourced = step_pass.sources >= 0
        token_ids: Int32s = step_pass.token_ids.copy()
        token_ids[sourced] = self._previous[step_pass.sources[sourced], 0]
        return token_ids
