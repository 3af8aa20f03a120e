from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from predictor.builder.verify.compare import ReleaseGenerator
from predictor.builder.weights.block_quantize import QuantFormat, dequantize_rows, quantize_rows
from predictor.builder.weights.decoder_matrices import PRECISIONS
from tests.parity.models import load_model, logprobs_after, ragged_prompts, save_model
from tests.parity.test_families import build


def dequantized(checkpoint: Path, precision: str) -> torch.nn.Module:
    """The Hugging Face model with every matrix replaced by what its codes and scales stand for."""
    form = PRECISIONS[precision]
    assert form.linear is not None
    assert form.vocabulary is not None
    model = load_model(checkpoint)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if values.ndim != 2:
                continue
            width = values.shape[1]
            vocabulary = "embed" in name or "lm_head" in name
            chosen = QuantFormat(8, 64) if vocabulary else form.linear
            codes, scales = quantize_rows(values.numpy(), chosen)
            values.copy_(torch.from_numpy(dequantize_rows(codes, scales, chosen, width)))
    return model


def multiply_in_float32(release: Path) -> None:
    """Let MatMulNBits multiply in float32, so that only the weights are quantized."""
    path = release / "decoder.onnx"
    model = onnx.load(str(path), load_external_data=False)
    levels = [a for node in model.graph.node for a in node.attribute if a.name == "accuracy_level"]
    assert levels
    for level in levels:
        level.i = 1
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_quantized_weights_are_exactly_their_codes_and_scales(
    tmp_path: Path, precision: str, tied: bool
) -> None:
    checkpoint = save_model(
        tmp_path / "model", "Qwen2", num_key_value_heads=2, tie_word_embeddings=tied, intermediate_size=104
    )
    reference, prompts = dequantized(checkpoint, precision), ragged_prompts()
    release = build(checkpoint, precision)
    multiply_in_float32(release)

    generated = ReleaseGenerator(release).generate(prompts, 8)

    for prompt, ids, logprobs in zip(prompts, generated.ids, generated.logprobs, strict=True):
        tokens = prompt.tolist()
        for candidates, values in zip(ids, logprobs, strict=True):
            wanted = logprobs_after(reference, tokens)
            assert candidates[0] == wanted.argmax()
            np.testing.assert_allclose(values, wanted[candidates], atol=1e-3)
            tokens.append(int(candidates[0]))


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_multiplying_in_int8_stays_close_to_the_dequantized_model(tmp_path: Path, precision: str) -> None:
    checkpoint = save_model(tmp_path / "model", "Llama", num_key_value_heads=2, tie_word_embeddings=True)
    reference, prompts = dequantized(checkpoint, precision), ragged_prompts()

    generated = ReleaseGenerator(build(checkpoint, precision)).generate(prompts, 8)

    differences = []
    for prompt, ids, logprobs in zip(prompts, generated.ids, generated.logprobs, strict=True):
        answer = ids[:, 0].tolist()
        for position, (candidates, values) in enumerate(zip(ids, logprobs, strict=True)):
            wanted = logprobs_after(reference, [*prompt.tolist(), *answer[:position]])
            differences.append(np.abs(values - wanted[candidates]))
    assert np.mean(differences) < 0.2  # log-probabilities of this model spread over more than 20
