"""The model sizes that the kernels are compiled for, and what follows: limits, work space, splits of the work.

Pure arithmetic. Constants that only tune speed are at the top and reach the CUDA sources as macros.
"""

from __future__ import annotations

from dataclasses import dataclass

from predictor.errors import StartupError

DECODE_WARPS = 4
"""Warps of a block of decode_attention; a warp reads 16 tokens at a time."""

DECODE_BLOCKS_PER_SM = 4
"""Blocks of decode_attention per multiprocessor, at most: as many as run at once, so that none waits for its turn
(H200: a step of 32 rows in int8 took 5 % less than with twice as many)."""

MAX_SPLITS = 32
"""Most parts that the past of a sequence is split into: the lanes of a warp."""

SLICE_THREADS = 256
LOGITS_PER_THREAD = 32
"""A block of candidates reads SLICE_THREADS * LOGITS_PER_THREAD logits."""

MAX_SLICES = 64

ROWS_PER_TILE = 64
"""Prompt rows of a block of prefill_attention."""

_ALIGNMENT = 256


@dataclass(frozen=True, slots=True)
class KernelShape:
    """The sizes of a model that the kernels depend on.

    Raises:
        StartupError: the kernels do not support these sizes.
    """

    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocabulary: int
    candidates: int
    capacity: int
    """Tokens of a slot."""

    def __post_init__(self) -> None:
        wanted = (
            (
                self.head_dim % 8 == 0 and 8 <= self.head_dim <= 256,
                "head_dim must be a multiple of 8, at most 256",
            ),
            (
                self.heads % self.kv_heads == 0 and self.group <= 16,
                "heads must be a multiple of kv_heads, at most 16 times",
            ),
            (self.hidden % 8 == 0, "hidden must be a multiple of 8"),
            (
                1 <= self.candidates <= min(64, self.vocabulary),
                "candidates must be 1 to 64 and not exceed the vocabulary",
            ),
            (self.slices <= MAX_SLICES, f"the vocabulary must not exceed {MAX_SLICES * _SLICE:,}"),
        )
        for holds, rule in wanted:
            if not holds:
                raise StartupError(
                    f"the GPU kernels do not fit this model ({self}): {rule}; run it with YIWEN_BACKEND=onnxruntime"
                )

    @property
    def group(self) -> int:
        """Query heads that share a K/V head."""
        return self.heads // self.kv_heads

    @property
    def slices(self) -> int:
        """Blocks that select the candidates of one row."""
        return -(-self.vocabulary // _SLICE)

    def macros(self) -> tuple[str, ...]:
        """Compiler options; the compiled kernels depend on these alone."""
        values = {
            "HEADS": self.heads,
            "KV_HEADS": self.kv_heads,
            "HEAD_DIM": self.head_dim,
            "HIDDEN": self.hidden,
            "CANDIDATES": self.candidates,
            "DECODE_WARPS": DECODE_WARPS,
            "MAX_SPLITS": MAX_SPLITS,
            "SLICE_THREADS": SLICE_THREADS,
            "LOGITS_PER_THREAD": LOGITS_PER_THREAD,
            "MAX_SLICES": MAX_SLICES,
        }
        return tuple(f"-D{name}={value}" for name, value in values.items())


_SLICE = SLICE_THREADS * LOGITS_PER_THREAD


@dataclass(frozen=True, slots=True)
class Workspace:
    """Offsets in a kernel's work space, bytes. All of it must be zero before the first launch."""

    stats: int
    results: int
    nbytes: int


def decode_splits(rows: int, kv_heads: int, sm_count: int) -> int:
    """Number of shares into which decode_attention splits each past.

    The blocks then fill the device and all run at once. A share is at least 16 * DECODE_WARPS tokens, so a short past
    takes fewer; the kernel sees to that.

    Args:
        rows: decode rows of the pass.
        kv_heads: of the model.
        sm_count: multiprocessors of the GPU.
    """
    return min(MAX_SPLITS, max(1, sm_count * DECODE_BLOCKS_PER_SM // (rows * kv_heads)))


def decode_workspace(shape: KernelShape, max_rows: int, sm_count: int) -> Workspace:
    """Work space of decode_attention.

    Args:
        shape: of the model.
        max_rows: most decode rows of a pass.
        sm_count: multiprocessors of the GPU.
    """
    heads = max(
        rows * shape.heads * decode_splits(rows, shape.kv_heads, sm_count) for rows in range(1, max_rows + 1)
    )
    return _workspace(counters=max_rows * shape.kv_heads, stats=heads * 8, results=heads * shape.head_dim * 4)


def candidates_workspace(shape: KernelShape, max_rows: int) -> Workspace:
    """Work space of candidates for up to ``max_rows`` rows."""
    slices = max_rows * shape.slices
    return _workspace(counters=max_rows, stats=slices * 8, results=slices * shape.candidates * 8)


def _workspace(*, counters: int, stats: int, results: int) -> Workspace:
    """Counters of four bytes, then the bytes of stats and results, each aligned."""
    first = _align(4 * counters)
    second = first + _align(stats)
    return Workspace(first, second, second + _align(results))


def _align(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT
