"""Mixtures of experts and latent attention: precisions, which experts are read, and what is cached."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from predictor.builder.errors import UnsupportedModel
from predictor.builder.verify.compare import GeneratedTokens, ReleaseGenerator
from predictor.builder.weights.block_quantize import QuantFormat, dequantize_rows, quantize_rows
from predictor.builder.weights.decoder_matrices import PRECISIONS
from predictor.errors import StartupError
from predictor.segment_index import SegmentIndex, read_segment_index
from protocol.release import load_release
from tests.parity.models import load_model, ragged_prompts, save_model
from tests.parity.test_families import assert_equal_to_hugging_face, build, compared
from tests.parity.test_more_families import CASES
from tests.parity.test_quantized import multiply_in_float32

FAMILIES = ("qwen3-moe", "deepseek3")
COMPUTES_FOUR_BITS = tuple(map(int, ort.__version__.split(".")[:2])) >= (1, 24)
"""ONNX Runtime 1.23, Python 3.10's last, computes them wrong, and refuses the graph."""


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers that float16 holds exactly, and a factor of the experts that leaves them so when it is folded in."""
    family, config = CASES[request.param]
    if family == "DeepseekV3":
        config = {**config, "routed_scaling_factor": 2.0}
    directory = tmp_path_factory.mktemp(request.param) / "model"
    return save_model(directory, family, dtype=torch.float16, **config)


def dequantized(checkpoint: Path, precision: str) -> torch.nn.Module:
    """The Hugging Face model with every quantized matrix replaced by what its codes and scales stand for."""
    linear = PRECISIONS[precision].linear
    assert linear is not None
    model = load_model(checkpoint)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if values.ndim < 2 or name.endswith(("mlp.gate.weight", "kv_b_proj.weight")):
                continue
            vocabulary, expert = "embed" in name or "lm_head" in name, ".experts." in name
            form = QuantFormat(8, 64) if vocabulary else QuantFormat(linear.bits, 16) if expert else linear
            rows = values.reshape(-1, values.shape[-1]).numpy()
            kept = dequantize_rows(*quantize_rows(rows, form), form, rows.shape[1])
            values.copy_(torch.from_numpy(kept).reshape(values.shape))
    return model


def differences(generated: GeneratedTokens, model: torch.nn.Module, prompts: list[np.ndarray]) -> list[float]:
    """Of log-probabilities of the first candidates, given the tokens that were generated."""
    found: list[float] = []
    for prompt, ids, logprobs in zip(prompts, generated.ids, generated.logprobs, strict=True):
        tokens = torch.from_numpy(np.concatenate((prompt, ids[:-1, 0].astype(np.int64))))[None]
        with torch.no_grad():
            logits = model(tokens, use_cache=False).logits[0, -len(ids) :]
        wanted = torch.log_softmax(logits.double(), dim=-1).numpy()
        found.extend(np.abs(logprobs - np.take_along_axis(wanted, ids.astype(np.int64), axis=1))[:, :4].flat)
    return found


def test_float16_weights_of_a_float16_checkpoint_are_exact(checkpoint: Path) -> None:
    assert_equal_to_hugging_face(compared(checkpoint, "float16"))


def test_int4_experts_are_exactly_their_codes_and_scales(checkpoint: Path) -> None:
    release, prompts = build(checkpoint, "int4"), ragged_prompts(lengths=(9, 1, 17))
    if not COMPUTES_FOUR_BITS:
        with pytest.raises(StartupError, match="QMoE"):
            ReleaseGenerator(release).generate(prompts, 1)
        return
    multiply_in_float32(release)
    generated = ReleaseGenerator(release).generate(prompts, 4)
    assert max(differences(generated, dequantized(checkpoint, "int4"), prompts)) < 1e-3


def test_int8_experts_stay_close_to_the_dequantized_model(checkpoint: Path) -> None:
    release, prompts = build(checkpoint, "int8"), ragged_prompts(lengths=(9, 1, 17))
    generated = ReleaseGenerator(release).generate(prompts, 4)
    # Rounded activations may tip a token over to another expert, which changes it much.
    assert np.median(differences(generated, dequantized(checkpoint, "int8"), prompts)) < 0.1


def test_experts_that_no_token_chooses_are_not_read(tmp_path: Path) -> None:
    family, config = CASES["hy-v3-shared"]
    checkpoint = save_model(tmp_path / "model", family, never=(2, 5), **config)
    release, prompts = build(checkpoint), ragged_prompts(lengths=(9, 17))
    before = ReleaseGenerator(release).generate(prompts, 3)
    index = read_segment_index(release)
    poison(release, index, experts=(2, 5))
    after = ReleaseGenerator(release).generate(prompts, 3)
    np.testing.assert_array_equal(after.ids, before.ids)
    np.testing.assert_array_equal(after.logprobs, before.logprobs)
    poison(release, index, experts=(0, 1, 3, 4, 6, 7))
    assert not np.isfinite(ReleaseGenerator(release).generate(prompts, 1).logprobs).any(), "nothing was read"


def poison(release: Path, index: SegmentIndex, *, experts: tuple[int, ...]) -> None:
    """Write NaN over all matrices of some experts."""
    assert index.traits.mixture is not None
    count = index.traits.mixture.experts
    for name, stored in index.tensors.items():
        if ".experts." in name:
            values = np.memmap(release / "weights.bin", stored.dtype, "r+", stored.offset, stored.shape)
            for expert in experts:
                values.reshape(count, -1)[expert] = np.nan
            values.flush()


def test_latent_attention_caches_one_vector_for_keys_and_values(checkpoint: Path) -> None:
    release = load_release(build(checkpoint))
    shape = release.decoder
    latent = CASES["deepseek3"][1]
    if release.family == "DeepseekV3ForCausalLM":
        cached = latent["kv_lora_rank"] + latent["qk_rope_head_dim"]
        assert (shape.kv_heads, shape.head_dim, shape.shared_kv) == (1, cached, True)
        assert shape.kv_values_per_token == shape.layers * cached
        assert release.to_json()["decoder"]["shared_kv"]
    else:
        assert "shared_kv" not in release.to_json()["decoder"], "earlier versions refuse unknown fields"
        separate = dataclasses.replace(shape, shared_kv=True).kv_values_per_token
        assert shape.kv_values_per_token == 2 * separate


def test_experts_whose_rows_have_no_equal_blocks_are_refused(tmp_path: Path) -> None:
    family, config = CASES["qwen3-moe"]
    checkpoint = save_model(tmp_path / "model", family, **{**config, "moe_intermediate_size": 40})
    with pytest.raises(UnsupportedModel, match=r"64 and 40 values of an expert .* --precision float16"):
        build(checkpoint, "int8")
