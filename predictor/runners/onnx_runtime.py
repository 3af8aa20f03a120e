"""The runner on ONNX Runtime, which executes ``decoder.onnx`` on any of its execution providers.

The K/V cache is one array whose rows the graph reads and writes in place, so a step copies nothing. Rows in use are
kept contiguous at the front: a decode step over n sequences binds the first n rows, and those of sequences that sit
the step out follow. Rows are as long as the longest running sequence needs, in powers of two, and shrink when it has
ended.

The array is in the CPU's memory: a provider with its own memory copies it in and out, which is correct but slow.
"""

from __future__ import annotations

import logging
import mmap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from predictor.batch import Batch, StepOutput
from predictor.errors import RunnerError, StartupError
from predictor.runners.providers import CPU_PROVIDER, check_providers, choose_providers
from protocol.release import DECODER_FILE, WEIGHTS_FILE, Release

SMALLEST_CAPACITY = 64
"""Tokens of a row, at least: below it, growing costs more than the memory saved."""

MAX_GROUP_TOKENS = 256
"""Most padded prompt tokens of one prefill call, which bounds its activations. More gained no speed on two cores."""

Array = npt.NDArray[np.generic]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Call:
    """Inputs and outputs of calls of one shape, bound once and reused."""

    binding: ort.IOBinding
    input_ids: npt.NDArray[np.int64]  # [B, S]
    seqlens_k: npt.NDArray[np.int32]  # [B] valid tokens of the row after the step, minus one
    total_sequence_length: npt.NDArray[np.int32]  # []
    last_token: npt.NDArray[np.int64]  # [B]
    candidate_ids: npt.NDArray[np.int32]  # [B, K]
    candidate_logprobs: npt.NDArray[np.float32]  # [B, K]


class OnnxRuntimeRunner:
    """A :class:`predictor.runners.base.Runner` on ONNX Runtime. It does not run ahead."""

    def __init__(
        self,
        directory: Path,
        release: Release,
        *,
        slots: int,
        threads: int,
        spin: bool,
        providers: Sequence[str] = (CPU_PROVIDER,),
    ) -> None:
        """Load the graph and its weights.

        Args:
            directory: of the release.
            release: its ``release.json``.
            slots: rows of K/V.
            threads: of ONNX Runtime, for the work inside an operator.
            spin: whether they spin between operators instead of sleeping.
            providers: execution providers by ONNX Runtime's names, preferred first; the CPU's is always the last.

        Raises:
            StartupError: ONNX Runtime lacks a provider, or cannot load the graph.
        """
        self._release = release
        self._slots = slots
        chosen = choose_providers(
            providers,
            available=ort.get_available_providers(),
            known=ort.get_all_providers(),
            version=ort.__version__,
        )
        self._session = _load_session(directory / DECODER_FILE, chosen, threads=threads, spin=spin)
        self._rows: list[int] = []
        """Slot of each row in use: row r of the cache holds slot ``_rows[r]``."""
        self._output: StepOutput | None = None
        """Of the step in flight."""
        self._decode_calls: dict[int, _Call] = {}
        """By number of rows; valid for the current cache array."""
        self._kv = self._allocate(SMALLEST_CAPACITY)
        """[2 L, slots, KV, C, D]: key, value of each layer in turn; [L, ...] where keys are the values too."""

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def kv_bytes(self) -> int:
        return self._kv.nbytes

    @property
    def capacity(self) -> int:
        """Tokens of a row now."""
        return int(self._kv.shape[3])

    @property
    def kv_bytes_per_token(self) -> int:
        return self._release.decoder.kv_values_per_token * self._kv.itemsize

    @property
    def runs_ahead(self) -> bool:
        return False

    @property
    def launches(self) -> Mapping[str, int]:
        return {}

    def launch(self, batch: Batch) -> None:
        """See :meth:`predictor.runners.base.Runner.launch`; the step is done when it returns."""
        try:
            self._output = self._execute(batch)
        except Exception as error:  # ONNX Runtime's errors share no base class
            self._rows.clear()
            raise RunnerError(f"ONNX Runtime failed in a step: {error}") from error

    def collect(self) -> StepOutput:
        """See :meth:`predictor.runners.base.Runner.collect`."""
        output, self._output = self._output, None
        if output is None:
            raise RunnerError("a step was collected that was never launched")
        return output

    def close(self) -> None:
        self._decode_calls.clear()
        del self._session

    def _execute(self, batch: Batch) -> StepOutput:
        prefills, decodes = len(batch.prompts), len(batch.decode_slots)
        order = self._arrange_rows(batch)
        longest = max((len(prompt) for prompt in batch.prompts), default=0)
        held = int(max(batch.decode_lengths.max(initial=0), batch.held_lengths.max(initial=0)))
        self._resize(max(longest, int(batch.decode_lengths.max(initial=-1)) + 1, held), held)
        ids = np.empty((prefills + decodes, self._release.limits.candidates), np.int32)
        logprobs = np.empty(ids.shape, np.float32)
        if decodes:
            call = self._decode(batch, order)
            ids[prefills + order] = call.candidate_ids
            logprobs[prefills + order] = call.candidate_logprobs
        for group in group_prompts([len(prompt) for prompt in batch.prompts]):
            call = self._prefill([batch.prompts[i] for i in group], [batch.prefill_slots[i] for i in group])
            ids[group] = call.candidate_ids
            logprobs[group] = call.candidate_logprobs
        return StepOutput(ids, logprobs)

    def _decode(self, batch: Batch, order: npt.NDArray[np.int64]) -> _Call:
        rows = len(order)
        call = self._decode_calls.get(rows)
        if call is None:
            call = self._decode_calls[rows] = self._bind(first_row=0, rows=rows, tokens=1)
        call.input_ids[:, 0] = batch.decode_tokens[order]
        call.seqlens_k[:] = batch.decode_lengths[order]
        call.total_sequence_length[...] = batch.decode_lengths.max() + 1
        self._session.run_with_iobinding(call.binding)
        return call

    def _prefill(self, prompts: Sequence[tuple[int, ...]], slots: Sequence[int]) -> _Call:
        tokens = max(len(prompt) for prompt in prompts)
        call = self._bind(first_row=len(self._rows), rows=len(prompts), tokens=tokens)
        call.input_ids[:] = 0  # padding follows the prompt, so no valid token attends to it
        for row, prompt in enumerate(prompts):
            call.input_ids[row, : len(prompt)] = prompt
            call.last_token[row] = len(prompt) - 1
        call.seqlens_k[:] = call.last_token
        call.total_sequence_length[...] = tokens
        self._session.run_with_iobinding(call.binding)
        self._rows.extend(slots)
        return call

    def _arrange_rows(self, batch: Batch) -> npt.NDArray[np.int64]:
        """Move rows: those of the decodes to the front, then those held; returns, for each decoded row, its index."""
        index_of = {slot: index for index, slot in enumerate(batch.decode_slots.tolist())}
        lengths = dict(
            zip(
                [*index_of, *batch.held_slots.tolist()],
                [*batch.decode_lengths.tolist(), *batch.held_lengths.tolist()],
                strict=True,
            )
        )
        self._drop_rows(lengths)
        rows, decodes = self._rows, len(index_of)
        if len(rows) != len(lengths):
            raise RunnerError(f"the batch names {len(lengths)} running slots, the cache holds {len(rows)}")
        behind = (row for row in range(decodes, len(rows)) if rows[row] in index_of)
        for row in range(decodes):
            if rows[row] not in index_of:
                self._swap_rows(row, next(behind), lengths)
        return np.array([index_of[slot] for slot in rows[:decodes]], dtype=np.int64)

    def _drop_rows(self, lengths: Mapping[int, int]) -> None:
        """Move rows so that none of a slot without a length lies among the others."""
        rows = self._rows
        row = 0
        while row < len(rows):
            if rows[row] in lengths:
                row += 1
                continue
            last = rows.pop()
            if row < len(rows) and last in lengths:
                tokens = lengths[last]
                self._kv[:, row, :, :tokens] = self._kv[:, len(rows), :, :tokens]
                rows[row] = last

    def _swap_rows(self, row: int, other: int, lengths: Mapping[int, int]) -> None:
        rows, kv = self._rows, self._kv
        tokens = max(lengths[rows[row]], lengths[rows[other]])
        kv[:, [row, other], :, :tokens] = kv[:, [other, row], :, :tokens]
        rows[row], rows[other] = rows[other], rows[row]

    def _resize(self, tokens: int, held: int) -> None:
        """Make rows long enough for ``tokens``, or shorter where a quarter of their length is enough.

        Args:
            tokens: of the longest row after the step.
            held: of the longest row before it.
        """
        wanted = bucket_capacity(tokens, self._release.limits.max_sequence_tokens)
        if wanted <= self.capacity < 4 * wanted:
            return
        old, rows = self._kv, len(self._rows)
        self._kv = self._allocate(wanted)
        self._kv[:, :rows, :, :held] = old[:, :rows, :, :held]
        self._decode_calls.clear()

    def _allocate(self, capacity: int) -> npt.NDArray[np.float32]:
        shape = self._release.decoder
        arrays = shape.kv_tensors * shape.layers
        return np.empty((arrays, self._slots, shape.kv_heads, capacity, shape.head_dim), np.float32)

    def _bind(self, *, first_row: int, rows: int, tokens: int) -> _Call:
        candidates = self._release.limits.candidates
        call = _Call(
            binding=self._session.io_binding(),
            input_ids=np.zeros((rows, tokens), np.int64),
            seqlens_k=np.zeros(rows, np.int32),
            total_sequence_length=np.zeros((), np.int32),
            last_token=np.zeros(rows, np.int64),
            candidate_ids=np.empty((rows, candidates), np.int32),
            candidate_logprobs=np.empty((rows, candidates), np.float32),
        )
        for name in ("input_ids", "seqlens_k", "total_sequence_length", "last_token"):
            _bind_array(call.binding.bind_input, name, getattr(call, name))
        for name in ("candidate_ids", "candidate_logprobs"):
            _bind_array(call.binding.bind_output, name, getattr(call, name))
        arrays = self._kv[:, first_row : first_row + rows]  # [B, KV, C, D] each
        shape = self._release.decoder
        for index in range(2 * shape.layers):
            name = f"{('key', 'value')[index % 2]}.{index // 2}"
            array = arrays[index * shape.kv_tensors // 2]
            _bind_array(call.binding.bind_input, f"past_{name}", array)
            _bind_array(call.binding.bind_output, f"present_{name}", array)
        return call


def bucket_capacity(tokens: int, limit: int) -> int:
    """Smallest power of two from 64 that holds ``tokens``, or ``limit`` if that is less."""
    capacity = SMALLEST_CAPACITY
    while capacity < tokens:
        capacity *= 2
    return max(tokens, min(capacity, limit))


def group_prompts(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Group prompts of similar length into prefill calls, longest first, to limit padding.

    Yields:
        Indices into ``lengths``. A prompt has at least three quarters of its group's longest length, or 8 tokens less
        than it. A padded group has at most ``MAX_GROUP_TOKENS``, unless it is a single prompt.
    """
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[group[0]] if group else lengths[index]
        too_short = longest - lengths[index] > max(8, longest // 4)
        if group and (too_short or (len(group) + 1) * longest > MAX_GROUP_TOKENS):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _load_session(path: Path, providers: Sequence[str], *, threads: int, spin: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # shapes change with every batch
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # ONNX Runtime opens the weights itself, unless it cannot resolve their path: then it refuses to.
    weights = None if path.resolve().exists() else _mapped_weights(path.parent)
    if weights is not None:  # must live until the session has been made
        options.add_external_initializers_from_files_in_memory([WEIGHTS_FILE], [weights], [len(weights)])
    try:
        session = ort.InferenceSession(str(path), options, providers=list(providers), enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise StartupError(
            f"ONNX Runtime {ort.__version__} cannot load {path}: {error}; check it with `yiwen release verify`, "
            "or rebuild the release with this version of yiwen"
        ) from error
    check_providers(providers, session.get_providers())
    logger.info("decoder loaded", extra={"fields": {"nodes": _nodes_by_provider(session)}})
    return session


def _mapped_weights(directory: Path) -> mmap.mmap:
    """The weights below a path that can be opened and not resolved.

    Such is a link into the root of another container, as KServe makes for a model that a container beside the
    predictor holds ("modelcar"): ``/proc/PID/root`` opens that root, but as a text it is ``/``, this container's own.

    Raises:
        StartupError: they cannot be read.
    """
    path = directory / WEIGHTS_FILE
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise StartupError(f"{path} cannot be read: {error}; check it with `yiwen release verify`") from error


def _nodes_by_provider(session: ort.InferenceSession) -> dict[str, int]:
    """Nodes of the graph by execution provider; empty from an ONNX Runtime that does not report them."""
    nodes = Counter[str]()
    for subgraph in getattr(session, "get_provider_graph_assignment_info", list)():
        nodes[subgraph.ep_name] += len(subgraph.get_nodes())
    return dict(nodes)


def _bind_array(bind: object, name: str, array: Array) -> None:
    # The graph reads and writes in place, which needs a contiguous view: that of whole leading rows is.
    if not array.flags.c_contiguous:
        raise AssertionError(f"{name} is not contiguous")
    bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)  # type: ignore[operator]
