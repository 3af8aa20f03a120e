"""Small random Hugging Face models, saved as checkpoints that can be built, and what they answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers

from tests.releases import TRANSLATION, byte_tokenizer

VOCAB = 320
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 3,  # <|end|> of the byte tokenizer
}


def save_model(
    directory: Path,
    family: str,
    *,
    dtype: torch.dtype = torch.float32,
    shard: str = "1GB",
    never: Sequence[int] = (),
    **config: object,
) -> Path:
    """A random ``family`` (Llama, Gemma3, ...) with numbers large enough that every part of it decides tokens.

    Args:
        directory: to save it in.
        family: beginning of transformers' class names.
        dtype: of the saved tensors.
        shard: largest size of a file.
        never: experts that a bias keeps from being chosen.
        config: fields of its configuration.
    """
    kind = "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config"
    settings = getattr(transformers, kind)(**{**SIZES, **config})
    model = getattr(transformers, f"{family}ForCausalLM")(settings)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, values in model.named_parameters():
            noise = torch.randn(values.shape, generator=generator)
            values.copy_(1 + 0.3 * noise if "norm" in name else 0.25 * noise)
        for name, values in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                values.copy_(0.25 * torch.randn(values.shape, generator=generator))
                values[list(never)] = -100.0
    model.to(dtype).save_pretrained(directory, max_shard_size=shard)
    (directory / "translation.json").write_text(json.dumps(TRANSLATION))
    byte_tokenizer().save(str(directory / "tokenizer.json"))
    return directory


def rewrite_config(directory: Path, **changes: object) -> None:
    """Set fields of a saved ``config.json``; None removes one."""
    path = directory / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def load_model(directory: Path) -> torch.nn.Module:
    model: torch.nn.Module = transformers.AutoModelForCausalLM.from_pretrained(
        str(directory), dtype=torch.float32
    )
    return model.eval()


def logprobs_after(model: torch.nn.Module, tokens: Sequence[int]) -> np.ndarray:
    """float64 [V] after ``tokens``, computed without any cache."""
    with torch.no_grad():
        logits = model(torch.tensor([list(tokens)]), use_cache=False).logits[0, -1]
    return torch.log_softmax(logits.double(), dim=-1).numpy()


def ragged_prompts(seed: int = 0, lengths: Sequence[int] = (9, 1, 40, 2, 17)) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCAB, length) for length in lengths]
