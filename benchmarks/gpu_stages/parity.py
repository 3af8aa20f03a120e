"""Compares the demo model on TensorRT with float32 on ONNX Runtime: 2,000 held-out titles, token by token."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
from tokenizers import Tokenizer

from benchmarks.gpu_stages import setting
from predictor.config import PlanPrecision, PredictorConfig
from protocol.messages import GenerateRequest, Generation
from protocol.release import TOKENIZER_DIR

PAIRS = 1000
"""Titles; each is translated both ways."""
NEW_TOKENS = 96
QUEUE_TOKENS = 10**7
"""Queue size; all titles are submitted at once."""
SEED = 20_260_000


def measure(release: Path, precisions: tuple[str, ...]) -> dict[str, Any]:
    """By precision: share of equal answers, and mean absolute difference of the answers' log-probabilities."""
    prompts = held_out_prompts(release)
    reference = generate(
        PredictorConfig(release=release, backend="onnxruntime", slots=32, queue_tokens=QUEUE_TOKENS), prompts
    )
    figures = {}
    for precision in precisions:
        config = PredictorConfig(
            release=release,
            backend="tensorrt",
            slots=128,
            plan_precision=cast(PlanPrecision, precision),  # checked by PredictorConfig
            prefill_tokens=2048,
            queue_tokens=QUEUE_TOKENS,
        )
        figures[precision] = compare(reference, generate(config, prompts))
    return {"titles": len(prompts), "precisions": figures}


def compare(reference: list[Generation], answers: list[Generation]) -> dict[str, float]:
    """Compare answers in the same order; log-probabilities are means over an answer's tokens."""
    same = [a.token_ids == b.token_ids for a, b in zip(reference, answers, strict=True)]
    differences = [
        abs(a.logprob - b.logprob) for a, b, equal in zip(reference, answers, same, strict=True) if equal
    ]
    return {"equal": float(np.mean(same)), "logprob_difference": float(np.mean(differences))}


def held_out_prompts(release: Path) -> list[tuple[int, ...]]:
    """Prompts of titles that are not in the training set, both ways."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "demo_model"))
    import grammar  # the demo's scripts are not a package

    tokenizer = Tokenizer.from_file(str(release / TOKENIZER_DIR / "tokenizer.json"))
    english, chinese = (tokenizer.encode(token).ids[0] for token in ("<|en|>", "<|zh|>"))
    prompts: list[tuple[int, ...]] = []
    for pair in grammar.held_out_pairs(PAIRS, SEED):
        for first, text, last in ((english, pair[0], chinese), (chinese, pair[1], english)):
            prompts.append((first, *tokenizer.encode(text, add_special_tokens=False).ids, last))
    return prompts


def generate(config: PredictorConfig, prompts: list[tuple[int, ...]]) -> list[Generation]:
    """Generate greedy answers with the engine."""
    with setting.open_engine(config) as engine:
        futures = [engine.submit(GenerateRequest((prompt,), (NEW_TOKENS,))) for prompt in prompts]
        return [future.result().generations[0] for future in futures]
