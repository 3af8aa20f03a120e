"""One case per fused kernel, on fresh random inputs and poisoned outputs, against ``numpy_kernels``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from predictor.runners import numpy_kernels
from predictor.runners.tensorrt.kernels.operands import Activation, Product
from tests.predictor.runners.tensorrt import reference_kernels as reference
from tests.predictor.runners.tensorrt.bench import EPSILON, NO_CODE, PLAIN, STREAM, Bench, Variant

LARGEST = 4.0
"""Of normed values, about."""
SLACK = 0.01
"""Of outputs in int8, in codes beyond the half that rounding costs: all before it is float32."""


def check_embed_norm(bench: Bench, rows: int, variant: Variant) -> None:
    memory, hidden = bench.memory, bench.shape.hidden
    ids = bench.random.permutation(2 * rows)[:rows].astype(np.int32)
    embedding, weight = bench.halves(2 * rows, hidden), bench.weights(hidden)
    residual = bench.poison(rows, hidden, dtype=np.float32)
    output = bench.output(rows, hidden, variant, largest=LARGEST)
    start = bench.fused.embed_norm(
        token_ids=bench.place(ids),
        embedding=bench.place(embedding),
        weight=bench.place(weight),
        residual=residual.address,
        activation=output.operand,
    )
    start(rows, STREAM)
    wanted = embedding[ids].astype(np.float32)
    assert (memory.get(residual) == wanted).all()
    output.check(memory.get(output.buffer), numpy_kernels.rms_norm(wanted, weight, EPSILON), slack=SLACK)


def check_add_norm(bench: Bench, rows: int, variant: Variant) -> None:
    """The last row stays out of the launch."""
    memory, hidden = bench.memory, bench.shape.hidden
    product, added = bench.product(rows + 1, hidden, variant)
    before, weight = 3 * bench.floats(rows + 1, hidden), bench.weights(hidden)
    residual = memory.put(before)
    output = bench.output(rows + 1, hidden, variant, largest=LARGEST)
    start = bench.fused.add_norm(
        product=product, weight=bench.place(weight), residual=residual.address, activation=output.operand
    )
    start(rows, STREAM)
    wanted = before + added
    np.testing.assert_allclose(memory.get(residual)[:rows], wanted[:rows], rtol=1e-6, atol=1e-5)
    assert (memory.get(residual)[rows] == before[rows]).all()
    out = memory.get(output.buffer)
    output.check(out[:rows], numpy_kernels.rms_norm(wanted, weight, EPSILON)[:rows], slack=SLACK)
    assert output.untouched(out[rows])


def check_silu_mul(bench: Bench, rows: int, width: int, variant: Variant) -> None:
    """The last row stays out of the launch."""
    product, gate_up = bench.product(rows + 1, 2 * width, variant)
    output = bench.output(rows + 1, width, variant, largest=LARGEST)
    bench.fused.silu_mul(product=product, activation=output.operand, width=width)(rows, STREAM)
    out = bench.memory.get(output.buffer)
    output.check(out[:rows], numpy_kernels.silu_mul(gate_up)[:rows], slack=SLACK)
    assert output.untouched(out[rows])


def check_silu_of_extremes(bench: Bench) -> None:
    """Gates whose exponential is infinite, zero, or neither."""
    gates = np.array([-65504, -1000, -88, -20, -0.0, 20, 1000, 65504], np.float16)
    output = bench.output(1, 8, PLAIN, largest=LARGEST)
    product = Product(bench.place(np.concatenate([gates, np.ones(8, np.float16)])))
    bench.fused.silu_mul(product=product, activation=output.operand, width=8)(1, STREAM)
    wanted = np.array([0, 0, 0, -20 / (1 + np.exp(20)), 0, 20, 1000, 65504])
    np.testing.assert_allclose(bench.memory.get(output.buffer)[0], wanted, rtol=1e-3, atol=1e-7)


def check_ties(bench: Bench) -> None:
    """Int8 values are rounded half to even and held within 127."""
    gates = np.full(8, 32, np.float16)  # so large that silu(gate) is the gate
    ups = np.array([0.5, 1.5, -0.5, -2.5, 126.5, 127.5, 32000, -32000], np.float16) / 32
    out = bench.memory.put(np.full((1, 8), NO_CODE, np.int8))
    bench.fused.silu_mul(
        product=Product(bench.place(np.concatenate([gates, ups.astype(np.float16)]))),
        activation=Activation(out.address, bench.place(np.ones(8, np.float32))),
        width=8,
    )(1, STREAM)
    assert bench.memory.get(out)[0].tolist() == [0, 2, 0, -2, 126, 127, 127, -127]


def check_gather_rows(bench: Bench, rows: Sequence[int], tokens: int, *, int8: bool) -> None:
    memory, width = bench.memory, bench.shape.heads * bench.shape.head_dim
    attended = bench.halves(tokens, width)
    if int8:
        attended = attended.view(np.int8)[:, :width]
    residual, named = bench.floats(tokens, bench.shape.hidden), np.array(rows, np.int32)
    outputs = [memory.put(np.full((len(rows), one.shape[1]), 77, one.dtype)) for one in (attended, residual)]
    start = bench.fused.gather_rows(
        rows=bench.place(named),
        attended=bench.place(attended),
        attended_out=outputs[0].address,
        attended_bytes=width * attended.itemsize,
        residual=bench.place(residual),
        residual_out=outputs[1].address,
    )
    start(len(rows), STREAM)
    assert (memory.get(outputs[0]) == reference.gather_rows(named, attended)).all()
    assert (memory.get(outputs[1]) == reference.gather_rows(named, residual)).all()
