"""One case per kernel of attention and of the choice of tokens, against ``reference_kernels``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.runners.tensorrt.kernels.operands import KvCache, Product, Qkv, Rotary
from predictor.runners.tensorrt.kernels.shape import ROWS_PER_TILE
from tests.predictor.runners.tensorrt import reference_kernels as reference
from tests.predictor.runners.tensorrt.bench import EPSILON, PLAIN, STREAM, Bench, Variant

Array = npt.NDArray[Any]
LARGEST = 1.0
"""Of attended values, about."""


@dataclass(frozen=True, slots=True)
class Heads:
    """Random queries, keys and values as a product, and what they stand for."""

    qkv: Qkv
    rotary: Rotary
    turned: reference.Heads
    exact_values: bool
    """Whether there is but one way to round the values to float16."""


def make_heads(bench: Bench, positions: Array, variant: Variant) -> Heads:
    """Of rows at ``positions``."""
    shape = bench.shape
    width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    product, wide = bench.product(len(positions), width, variant)
    norms = (bench.weights(shape.head_dim), bench.weights(shape.head_dim)) if variant.normed else None
    q_norm, k_norm = (0, 0) if norms is None else (bench.place(norm) for norm in norms)
    cos, sin = reference.rotary_tables(shape.capacity, shape.head_dim)
    turned = reference.turned_heads(shape, wide, norms, EPSILON, cos[positions], sin[positions])
    rotary = Rotary(bench.place(cos), bench.place(sin))
    exact = not (variant.scaled and variant.biased)  # a GPU multiplies and adds with one rounding
    return Heads(Qkv(product, q_norm, k_norm), rotary, turned, exact)


def check_decode_attention(
    bench: Bench, positions: Sequence[int], *, padding: Sequence[int] = (), variant: Variant = PLAIN
) -> None:
    """A row per position, each in a slot of its own, in another order than rows; rows of ``padding`` are none."""
    shape, memory, kernels = bench.shape, bench.memory, bench.kernels
    rows = len(positions)
    slots = bench.random.permutation(rows).astype(np.int32)
    at = np.array(positions, np.int32)
    held = np.zeros(rows, int)
    held[slots] = at
    cache, heads = bench.cache(held.tolist()), make_heads(bench, at, variant)
    slots[list(padding)] = -1
    keys, values = memory.put(cache.keys), memory.put(cache.values)
    space = memory.put(np.zeros(kernels.decode_workspace_bytes, np.uint8))
    attended = bench.output(rows, shape.heads * shape.head_dim, variant, largest=LARGEST)
    start = kernels.decode_attention(
        qkv=heads.qkv,
        rotary=heads.rotary,
        cache=KvCache(keys.address, values.address),
        slots=bench.place(slots),
        positions=bench.place(at),
        attended=attended.operand,
        workspace=space.address,
    )
    before = reference.Cache(cache.keys.copy(), cache.values.copy())
    reference.write_kv(heads.turned, cache, slots, at)
    wanted = reference.attend_rows(shape, heads.turned, cache, slots, at)
    for _ in range(2):  # the counters must be ready for the next launch
        start(rows, STREAM)
        attended.check(memory.get(attended.buffer), wanted)
        check_cache(before, cache, memory.get(keys), memory.get(values), exact=heads.exact_values)
    assert not memory.get(attended.buffer)[list(padding)].any()
    counters = memory.get(space)[: 4 * rows * shape.kv_heads]
    assert not counters.any()


def check_cache(
    before: reference.Cache, wanted: reference.Cache, keys: Array, values: Array, *, exact: bool
) -> None:
    """New keys, and values unless they are ``exact``, to rounding; everything else as it was, bit for bit."""
    new = (before.keys.view(np.uint16) != wanted.keys.view(np.uint16)).any(-1)
    assert (keys.view(np.uint16) == before.keys.view(np.uint16))[~new].all()
    assert reference.relative_error(keys[new], wanted.keys[new]) < 5e-4
    same = (values.view(np.uint16) == wanted.values.view(np.uint16)).all(-1)
    assert same[~new].all()
    assert same.all() if exact else reference.relative_error(values[new], wanted.values[new]) < 5e-4


def check_prefill(
    bench: Bench, chunks: Sequence[tuple[int, int]], *, decodes: int = 0, variant: Variant = PLAIN
) -> None:
    """Chunks (start, count), each of another slot, behind ``decodes`` rows that nothing may touch."""
    shape, memory, kernels = bench.shape, bench.memory, bench.kernels
    order = bench.random.permutation(len(chunks)).tolist()
    held = [chunks[order.index(slot)][0] for slot in range(len(chunks))]
    cache = bench.cache(held)
    tiles, row_slots, at = lay_out(chunks, order, decodes)
    rows, heads = len(at), make_heads(bench, at, variant)
    keys, values = memory.put(cache.keys), memory.put(cache.values)
    attended = bench.output(rows, shape.heads * shape.head_dim, variant, largest=LARGEST)
    qkv, rotary, on_device = heads.qkv, heads.rotary, KvCache(keys.address, values.address)
    write = kernels.write_kv(
        qkv=qkv, rotary=rotary, cache=on_device, slots=bench.place(row_slots), positions=bench.place(at)
    )
    attend = kernels.prefill_attention(
        qkv=qkv, rotary=rotary, cache=on_device, tiles=bench.place(tiles), attended=attended.operand
    )
    before = reference.Cache(cache.keys.copy(), cache.values.copy())
    reference.write_kv(heads.turned, cache, row_slots, at)
    wanted = reference.attend_rows(shape, heads.turned, cache, row_slots, at)
    write(decodes, rows - decodes, STREAM)
    attend(len(tiles), STREAM)
    check_cache(before, cache, memory.get(keys), memory.get(values), exact=heads.exact_values)
    out = memory.get(attended.buffer)
    assert attended.untouched(out[:decodes])
    attended.check(out[decodes:], wanted[decodes:])


def lay_out(
    chunks: Sequence[tuple[int, int]], order: Sequence[int], decodes: int
) -> tuple[Array, Array, Array]:
    """Tiles [N + 1, 4], the last one of nothing, and slot and position of each row."""
    tiles, slots, positions = [], [-1] * decodes, [0] * decodes
    for slot, (start_at, count) in zip(order, chunks, strict=True):
        for first in range(0, count, ROWS_PER_TILE):
            tiles.append((slot, start_at + first, len(slots) + first, min(ROWS_PER_TILE, count - first)))
        slots += [slot] * count
        positions += range(start_at, start_at + count)
    tiles.append((-1, 0, 0, 0))
    return np.array(tiles, np.int32), np.array(slots, np.int32), np.array(positions, np.int32)


def check_choose_tokens(bench: Bench, rows: int) -> None:
    memory = bench.memory
    previous = bench.random.integers(0, 1000, (rows, bench.shape.candidates), np.int32)
    sources = bench.random.integers(-1, rows, rows, np.int32)
    host = bench.random.integers(1000, 2000, rows, np.int32)
    out = memory.put(np.full(rows, -7, np.int32))
    start = bench.kernels.choose_tokens(
        token_ids=out.address,
        previous_ids=memory.put(previous).address,
        sources=memory.put(sources).address,
        host_tokens=memory.put(host).address,
    )
    start(rows, STREAM)
    assert memory.get(out).tolist() == reference.choose_tokens(previous, sources, host).tolist()


def logits_of(kind: str, random: np.random.Generator, rows: int, vocabulary: int) -> Array:
    """Logits that a search could get wrong."""
    normal: Array = random.standard_normal((rows, vocabulary), np.float32) * np.float32(4)
    if kind == "ties":
        normal = np.round(normal)  # among them zeros of both signs
    if kind == "rising":
        return np.sort(normal, axis=-1)
    if kind == "falling":
        return -np.sort(normal, axis=-1)
    if kind == "masked":
        return np.where(random.random(normal.shape) < 0.999, np.float32(-np.inf), normal)
    if kind == "nan":
        normal[:, random.integers(0, vocabulary, 3)] = np.nan
    return normal


LOGITS = ("normal", "ties", "rising", "falling", "masked", "nan")


def check_candidates(bench: Bench, kind: str, rows: int, *, scaled: bool = False) -> None:
    """Logits in float16, or in float32 with a scale."""
    shape, memory = bench.shape, bench.memory
    logits = logits_of(kind, bench.random, rows, shape.vocabulary)
    if scaled:
        # Powers of two: the same numbers in the kernel and here.
        scale = np.exp2(bench.random.integers(-3, 3, shape.vocabulary)).astype(np.float32)
        operand = Product(bench.place(logits / scale), bench.place(scale))
    else:
        logits = logits.astype(np.float16).astype(np.float32)
        operand = Product(bench.place(logits.astype(np.float16)))
    ids = memory.put(np.full((rows, shape.candidates), -7, np.int32))
    logprobs = memory.put(np.full((rows, shape.candidates), 7, np.float32))
    start = bench.kernels.candidates(
        logits=operand,
        ids=ids.address,
        logprobs=logprobs.address,
        workspace=bench.place(np.zeros(bench.kernels.candidates_workspace_bytes, np.uint8)),
    )
    wanted_ids, wanted_logprobs = reference.candidates(logits, shape.candidates)
    for _ in range(2):
        start(rows, STREAM)
        assert (memory.get(ids) == wanted_ids).all()
        np.testing.assert_allclose(memory.get(logprobs), wanted_logprobs, rtol=1e-5, atol=2e-5)
