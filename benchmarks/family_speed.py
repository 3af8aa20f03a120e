"""`python -m benchmarks.family_speed`: tokens per second of mixtures and latent attention, beside transformers.

The checkpoints are random and of small shapes, with 64 tokens in and 64 out. transformers runs ``generate`` in
float32 on one batch; the release runs in its ONNX Runtime runner, as it is served. Both have the same threads.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
import transformers

from predictor.batch import Batch
from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from predictor.runners.base import execute
from predictor.runners.onnx_runtime import OnnxRuntimeRunner
from protocol.release import load_release
from tests.releases import TRANSLATION, byte_tokenizer

TOKENS_IN: Final = 64
TOKENS_OUT: Final = 64
ROWS: Final = (1, 16)
PRECISIONS: Final = ("float32", "int8")
SIZES: Final[dict[str, Any]] = {
    "vocab_size": 8192,
    "hidden_size": 768,
    "intermediate_size": 1536,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 256,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": None,
}
LATENT: Final[dict[str, Any]] = {
    "n_routed_experts": 32,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 12,
    "q_lora_rank": None,
    "kv_lora_rank": 256,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "n_group": 1,
    "topk_group": 1,
}
MODELS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "Qwen3Moe, 32 experts": (
        "Qwen3Moe",
        {"num_experts": 32, "num_key_value_heads": 4, "head_dim": 64, "norm_topk_prob": True},
    ),
    "DeepSeek V3, 32 experts, latent 256 + 32": ("DeepseekV3", LATENT),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.family_speed", description=__doc__)
    parser.add_argument("--only", metavar="TEXT", default="", help="models whose name holds it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="of which the median is reported")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    packages = ("transformers", "torch", "onnxruntime")
    print("Versions:", ", ".join(f"{name} {version(name)}" for name in packages), end="\n\n")
    print("| model | system | tokens/s, 1 at a time | tokens/s, 16 at once |", "|---|---|---|---|", sep="\n")
    for name in (name for name in MODELS if options.only in name):
        with TemporaryDirectory() as directory:
            for system, rates in _measure(Path(directory), name, options.threads, options.repeats).items():
                print(f"| {name} | {system} | {' | '.join(f'{rate:.0f}' for rate in rates)} |", flush=True)
    return 0


def _measure(directory: Path, name: str, threads: int, repeats: int) -> dict[str, list[float]]:
    checkpoint = _save(directory / "model", *MODELS[name])
    systems: dict[str, Callable[[np.ndarray], object]] = {"transformers float32": _transformers(checkpoint)}
    for precision in PRECISIONS:
        out = directory / precision
        request = BuildRequest(checkpoint, out, precision=precision)
        build_release(request, built_at=datetime.now(timezone.utc), reporter=SilentReporter())
        systems[f"Yiwen {precision}"] = _release(out, threads)
    rates: dict[str, list[float]] = {system: [] for system in systems}
    for rows in ROWS:
        prompts = np.random.default_rng(0).integers(0, SIZES["vocab_size"], (rows, TOKENS_IN))
        seconds: dict[str, list[float]] = {system: [] for system in systems}
        for _ in range(repeats + 1):  # the first one warms up
            for system, generate in systems.items():
                begin = time.perf_counter()
                generate(prompts)
                seconds[system].append(time.perf_counter() - begin)
        for system, measured in seconds.items():
            rates[system].append(rows * TOKENS_OUT / median(measured[1:]))
    return rates


def _save(directory: Path, family: str, config: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    settings = getattr(transformers, f"{family}Config")(**{**SIZES, **config})
    getattr(transformers, f"{family}ForCausalLM")(settings).save_pretrained(directory)
    (directory / "translation.json").write_text(json.dumps(TRANSLATION))
    byte_tokenizer().save(str(directory / "tokenizer.json"))
    return directory


def _transformers(checkpoint: Path) -> Callable[[np.ndarray], object]:
    library: Any = transformers  # its functions carry no types
    model = library.AutoModelForCausalLM.from_pretrained(str(checkpoint), dtype=torch.float32).eval()

    def generate(prompts: np.ndarray) -> object:
        with torch.no_grad():
            return model.generate(
                torch.from_numpy(prompts), max_new_tokens=TOKENS_OUT, do_sample=False, pad_token_id=0
            )

    return generate


def _release(directory: Path, threads: int) -> Callable[[np.ndarray], object]:
    release = load_release(directory)
    runner = OnnxRuntimeRunner(directory, release, slots=max(ROWS), threads=threads, spin=True)

    def generate(prompts: np.ndarray) -> object:
        rows = len(prompts)
        output = execute(runner, Batch.of_prompts(range(rows), [tuple(row.tolist()) for row in prompts]))
        for done in range(TOKENS_OUT - 1):
            lengths = np.full(rows, TOKENS_IN + done)
            output = execute(runner, Batch.of_tokens(np.arange(rows), output.candidate_ids[:, 0], lengths))
        # The rows of the last step are freed by the next one's prompts.
        return output

    return generate


if __name__ == "__main__":
    sys.exit(main())
