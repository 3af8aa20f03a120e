from __future__ import annotations

import dataclasses

import pytest

from predictor.errors import StartupError
from predictor.plan import PlanBlob, PlanTensor, TensorRTPlan
from predictor.runners.tensorrt.step.weights import place_weights
from tests.predictor.test_plan import make_plan

BASE = 7 << 20
MATRICES = ("attention.qkv", "attention.output", "mlp.gate_up", "mlp.down")


def make_decoder_plan(
    *, layers: int = 2, int8: tuple[str, ...] = (), extra: tuple[str, ...] = ()
) -> TensorRTPlan:
    """A plan of tensors 4096 bytes apart; the vocabulary is tied to the embedding."""
    names = ["embedding", "norm", "rotary.cos", "rotary.sin", *extra]
    for layer in range(layers):
        names += [f"layers.{layer}.{part}" for part in (*MATRICES, "attention.norm", "mlp.norm")]
    for name in int8:
        names += [f"{name}.input_scale", f"{name}.output_scale"]
    matrices = {"embedding", *(name for name in names if name.endswith(MATRICES))}
    tensors = {
        name: PlanTensor(
            8192 + 4096 * number,
            (6, 4) if name in matrices else (4,),
            "int8" if name in int8 else "float16" if name in matrices else "float32",
        )
        for number, name in enumerate(names)
    }
    roles = ("qkv", "attention_output", "gate_up", "down", "vocabulary")
    engines = {f"{role}.{dtype}": PlanBlob(0, 1) for role in roles for dtype in ("float16", "int8")}
    return dataclasses.replace(
        make_plan(),
        tensors=tensors,
        engines=engines,
        weights={**{name: name for name in names}, "vocabulary": "embedding"},
        tensors_offset=8192,
    )


def test_addresses_are_the_files_offsets_from_where_the_tensors_begin() -> None:
    plan = make_decoder_plan()
    weights = place_weights(plan, 2, BASE)
    assert weights.embedding == BASE
    assert weights.final_norm == BASE + 4096
    assert weights.sines == BASE + 3 * 4096
    down = weights.linear(1, "down")
    assert down.weight == BASE + plan.tensors["layers.1.mlp.down"].offset - 8192
    assert (down.engine, down.columns) == ("down.float16", 4)
    assert (down.bias, down.input_scale, down.output_scale) == (0, 0, 0)
    assert weights.layers[0].q_norm == weights.layers[0].k_norm == 0


def test_a_tied_vocabulary_is_the_embedding() -> None:
    weights = place_weights(make_decoder_plan(), 2, BASE)
    assert weights.linear(2, "vocabulary").weight == weights.embedding
    assert weights.vocabulary.engine == "vocabulary.float16"


def test_precisions_may_differ_from_matrix_to_matrix() -> None:
    name = "layers.1.mlp.gate_up"
    plan = make_decoder_plan(int8=(name,), extra=(f"{name}.bias",))
    weights = place_weights(plan, 2, BASE)
    one = weights.linear(1, "gate_up")
    assert one.engine == "gate_up.int8"
    for part, address in (
        ("bias", one.bias),
        ("input_scale", one.input_scale),
        ("output_scale", one.output_scale),
    ):
        assert address == BASE + plan.tensors[f"{name}.{part}"].offset - 8192
    assert weights.linear(0, "gate_up").engine == "gate_up.float16"


@pytest.mark.parametrize("missing", ["layers.1.attention.qkv", "norm", "embedding"])
def test_a_plan_without_a_weight_is_refused(missing: str) -> None:
    plan = make_decoder_plan()
    rest = {name: key for name, key in plan.weights.items() if name != missing}
    with pytest.raises(StartupError, match=f"no tensor {missing}.*yiwen release plan"):
        place_weights(dataclasses.replace(plan, weights=rest), 2, BASE)


def test_a_plan_without_an_engine_is_refused() -> None:
    plan = make_decoder_plan()
    engines = {name: blob for name, blob in plan.engines.items() if name != "down.float16"}
    with pytest.raises(StartupError, match=r"no engine down\.float16"):
        place_weights(dataclasses.replace(plan, engines=engines), 2, BASE)
