"""How the skinny matrix product is split among blocks: arithmetic alone.

The weight is split into tiles of rows and those into chunks of k; a block works on a run of consecutive chunks, and
all runs have the same length to one chunk. ``linear.cu`` is the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_ROWS = 64
"""Of x: beyond that the product is bound by arithmetic, and TensorRT's are better."""

ITEM_BYTES = {"float16": 2, "int8": 1}

MAX_BLOCKS_PER_SM = 4

_TOKEN_TILE = 8
_GRANULE_BYTES = 64
"""Rows of x and of the weight are multiples of this."""
_GRANULE_COLUMNS = 8
"""The width of y is a multiple of this."""
_MAX_CHUNKS = 2**30
"""So that the kernel's numbers fit in 32 bits."""
_SUM_BYTES = 4
_FLAG_BYTES = 4
_PART_ALIGNMENT = 256


@dataclass(frozen=True, slots=True)
class Tiling:
    """The constants that the kernel is compiled with, besides the type of its operands."""

    token_tiles: int
    """Of 8 rows of x each."""
    row_warps: int
    """Warps that share a chunk's rows."""
    depth_warps: int
    """Warps that share a chunk's k, for each of them."""
    row_tiles: int
    """Of 16 rows of the weight each, per warp."""
    chunk: int
    """Bytes of k of a chunk: a multiple of 64 for each of ``depth_warps``, and of 128."""
    stages: int
    """Chunks in shared memory: one is multiplied while the others are loaded."""
    blocks_per_sm: int

    @property
    def threads(self) -> int:
        return self.row_warps * self.depth_warps * 32

    @property
    def tile_rows(self) -> int:
        """Rows of the weight in a tile."""
        return self.row_warps * self.row_tiles * 16

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory of a block: the stages, and the sums that warps exchange."""
        stage = (self.tile_rows + self.token_tiles * _TOKEN_TILE) * self.chunk
        return self.stages * stage + (self.depth_warps - 1) * self.part_bytes

    @property
    def part_bytes(self) -> int:
        """Sums of a tile."""
        return self.tile_rows * self.token_tiles * _TOKEN_TILE * _SUM_BYTES

    def macros(self, dtype: str) -> tuple[str, ...]:
        """Compiler options for operands of ``dtype``."""
        return (
            f"-DINT8={int(dtype == 'int8')}",
            f"-DTOKEN_TILES={self.token_tiles}",
            f"-DROW_WARPS={self.row_warps}",
            f"-DDEPTH_WARPS={self.depth_warps}",
            f"-DROW_TILES={self.row_tiles}",
            f"-DCHUNK={self.chunk}",
            f"-DSTAGES={self.stages}",
            f"-DBLOCKS_PER_SM={self.blocks_per_sm}",
        )


def supports(n: int, k: int, m: int, dtype: str) -> bool:
    """Whether the kernel can multiply x [m, k] with the weight [n, k].

    k must be a multiple of 32 in float16 and of 64 in int8, n of 8, and m at most ``MAX_ROWS``.

    Args:
        n: rows of the weight, the result's width.
        k: columns of the weight.
        m: rows of x.
        dtype: float16 or int8; False for any other.
    """
    row_bytes = k * ITEM_BYTES.get(dtype, 0)
    return (
        0 < m <= MAX_ROWS
        and row_bytes > 0
        and row_bytes % _GRANULE_BYTES == 0
        and n > 0
        and n % _GRANULE_COLUMNS == 0
        and n * row_bytes < _MAX_CHUNKS * _GRANULE_BYTES
    )


def is_fastest(n: int, k: int, m: int, dtype: str) -> bool:
    """Whether the kernel multiplies x [m, k] with the weight [n, k] faster than TensorRT 8.6 does.

    Measured on an H200 with the shapes of a 7B model (docs/benchmarks/gpu): in int8 up to 64 rows for all of them,
    since TensorRT does not split narrow products along k; in float16 up to 16 rows, and up to 32 for narrow ones.

    Args:
        n: rows of the weight, the result's width.
        k: columns of the weight.
        m: rows of x.
        dtype: float16 or int8; False for any other.
    """
    most = MAX_ROWS if dtype == "int8" else _NARROW_FLOAT16_ROWS if n <= _NARROW_COLUMNS else _FLOAT16_ROWS
    return m <= most and supports(n, k, m, dtype)


_FLOAT16_ROWS, _NARROW_FLOAT16_ROWS, _NARROW_COLUMNS = 16, 32, 8192


def token_tiles(m: int) -> int:
    """Tiles of 8 rows that a product of m rows is calculated with: 1, 2, 4 or 8.

    Raises:
        ValueError: m is not within 1 and ``MAX_ROWS``.
    """
    if not 0 < m <= MAX_ROWS:
        raise ValueError(f"a product of {m} rows is not for this kernel: 1 to {MAX_ROWS} are")
    return next(tiles for tiles in (1, 2, 4, 8) if m <= tiles * _TOKEN_TILE)


def shared_limit(compute_capability: tuple[int, int]) -> int:
    """Most bytes of shared memory that a block may have (CUDA C++ Programming Guide, technical specifications)."""
    return _SHARED_KIB.get(compute_capability, _LEAST_SHARED_KIB) * 1024


_SHARED_KIB = {(8, 0): 163, (8, 7): 163, (9, 0): 227, (10, 0): 227, (10, 3): 227}
_LEAST_SHARED_KIB = 99

_NARROW = (1, 8, 2, 512)
"""Row warps, depth warps, row tiles and chunk: tiles of 32 rows, of which blocks get whole ones, but each tile reads
all of x."""
_WIDE = ((4, 2, 2, 256), (4, 2, 2, 128), (8, 1, 1, 128))
"""Tiles of 128 rows; the latter for less shared memory."""
_NARROW_TILES = 6
"""Up to so many narrow tiles for a multiprocessor, and 8 rows of x, reading x for each costs less than adding up
parts of wide tiles does. Measured on an H200; for 16 rows it is half as many, and so on."""
_LEAST_STAGES = 3
_SHARED_RESERVED = 3 * 1024
"""Of what a block may have, left alone. The rest is taken whole: a launch's blocks must not share a multiprocessor
while another idles, as they would when they start at the end of the launch in front."""


def tiling_for(n: int, m: int, sm_count: int, compute_capability: tuple[int, int]) -> Tiling:
    """The tiling for a product of m rows with a weight of n rows.

    Args:
        n: rows of the weight, the result's width.
        m: rows of x.
        sm_count: multiprocessors of the GPU.
        compute_capability: of the GPU; it limits the shared memory of a block.

    Raises:
        ValueError: m is not within 1 and ``MAX_ROWS``.
    """
    tiles = token_tiles(m)
    room = shared_limit(compute_capability) - _SHARED_RESERVED
    narrow = _tiling(tiles, _NARROW, room)
    if narrow.stages >= _LEAST_STAGES and n * tiles <= _NARROW_TILES * narrow.tile_rows * sm_count:
        return narrow
    wide = [_tiling(tiles, shape, room) for shape in _WIDE]
    return next(tiling for tiling in wide if tiling.stages >= _LEAST_STAGES)


def _tiling(tiles: int, shape: tuple[int, int, int, int], room: int) -> Tiling:
    """With as many stages as fit."""
    one, two = (Tiling(tiles, *shape, stages, 1).shared_bytes for stages in (1, 2))
    return Tiling(tiles, *shape, max(1, 1 + (room - one) // (two - one)), 1)


@dataclass(frozen=True, slots=True)
class WorkSplit:
    """How the chunks of a weight are split among blocks."""

    blocks: int
    run: int
    """Chunks of a block; the last block has the rest."""


def split_work(n: int, k: int, dtype: str, tiling: Tiling, sm_count: int) -> WorkSplit:
    """Split the chunks of a weight [n, k] among blocks that all run at once.

    The time is that of the longest run. Runs of whole tiles need nothing added up between blocks, which makes up
    for a run that is a little longer than the shortest possible.

    Args:
        n: rows of the weight.
        k: columns of the weight.
        dtype: float16 or int8.
        tiling: of the product.
        sm_count: multiprocessors of the GPU.
    """
    tiles = -(-n // tiling.tile_rows)
    chunks = -(-k * ITEM_BYTES[dtype] // tiling.chunk)
    capacity = sm_count * tiling.blocks_per_sm
    shortest = -(-tiles * chunks // capacity)
    whole = -(-tiles // capacity) * chunks
    run = whole if whole <= shortest * _WHOLE_TILES_WORTH else shortest
    return WorkSplit(-(-tiles * chunks // run), run)


_WHOLE_TILES_WORTH = 1.04


def parts_offset(sm_count: int) -> int:
    """Offset of the parts of tiles in the work space, behind a flag for each block of any launch; bytes."""
    flags = sm_count * MAX_BLOCKS_PER_SM * _FLAG_BYTES
    return -(-flags // _PART_ALIGNMENT) * _PART_ALIGNMENT


def workspace_bytes(tiling: Tiling, sm_count: int) -> int:
    """Bytes of work space of any launch with ``tiling``."""
    return parts_offset(sm_count) + sm_count * tiling.blocks_per_sm * tiling.part_bytes
