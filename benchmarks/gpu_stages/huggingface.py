"""Measures Hugging Face transformers: default `generate`, and with the static, compiled cache.

Run by an interpreter that has torch and transformers (`--python` of benchmarks/gpu.py), which need not have yiwen.
Prints one JSON object. 64 tokens in, 64 out, greedy, prefill included; the first call of each setting warms up.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

TOKENS = 64


def main() -> None:
    """Arguments: the sizes as JSON, rows for the default cache, rows for the static one, seconds to spend."""
    sizes, default_rows, static_rows = (json.loads(text) for text in sys.argv[1:4])
    deadline = time.monotonic() + float(sys.argv[4])
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    torch.set_default_dtype(torch.float16)
    with torch.device("cuda"):
        model = LlamaForCausalLM(LlamaConfig(**sizes))
    model.eval()  # type: ignore[no-untyped-call]
    model.generation_config.eos_token_id = None
    figures: dict[str, Any] = {"torch": torch.__version__, "transformers": transformers.__version__}
    for name, rows_list, settings in (
        ("default", default_rows, {}),
        ("static", static_rows, {"cache_implementation": "static"}),
    ):
        rates = figures[name] = {}
        for rows in rows_list:
            if time.monotonic() > deadline:
                break
            rates[rows] = tokens_per_s(model, rows, settings)
            print(name, rows, rates[rows], file=sys.stderr, flush=True)
    print(json.dumps(figures))


@torch.inference_mode()
def tokens_per_s(model: LlamaForCausalLM, rows: int, settings: Mapping[str, object]) -> float:
    """Generated tokens/s; the better of two runs after a warm-up."""
    prompt = torch.randint(0, model.config.vocab_size, (rows, TOKENS), device="cuda")
    seconds = []
    for _ in range(3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        answer = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=TOKENS,
            min_new_tokens=TOKENS,
            **settings,
        )
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
        assert answer.shape[1] == 2 * TOKENS
    return rows * TOKENS / min(seconds[1:])


if __name__ == "__main__":
    main()
