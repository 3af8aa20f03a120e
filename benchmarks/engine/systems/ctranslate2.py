"""CTranslate2's Generator on the same weights: float32 and int8, static batches.

The specification is filled in here rather than by its converter, which follows new versions of transformers late and
reads its rotary base from a field that transformers 5 no longer writes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.engine import static_batching
from benchmarks.engine.checkpoint import LlamaConfig, converted, read_config, read_weights
from benchmarks.engine.harness import Config, System, Unavailable, main
from benchmarks.engine.workloads import Request, Workload

if TYPE_CHECKING:
    from ctranslate2.specs.transformer_spec import TransformerDecoderLayerSpec, TransformerDecoderModelSpec


def token_names(ids: Sequence[int]) -> list[str]:
    """Placeholder vocabulary: the Generator takes token strings, but only ids matter here."""
    return [f"t{token}" for token in ids]


class CTranslate2(System):
    """`variant` is the compute type. CT2_USE_MKL, read by the library when it is imported, picks the backend."""

    def __init__(self, config: Config) -> None:
        try:
            import ctranslate2
        except ImportError as error:
            raise Unavailable(f"{error.name} is not installed") from error
        checkpoint = Path(config.checkpoint)
        path = converted(checkpoint, Path(config.cache), "ctranslate2")
        if not path.exists():
            convert(checkpoint, path)
        self._threads = config.threads
        self._load: Callable[[int], Any] = lambda workers: ctranslate2.Generator(
            str(path),
            compute_type=config.variant,
            inter_threads=workers,
            intra_threads=config.threads // workers,
        )
        self._generators: dict[int, Any] = {}

    def versions(self) -> dict[str, str]:
        return {"ctranslate2": version("ctranslate2")}

    def strategies(self, work: Workload) -> tuple[str, ...]:
        workers = static_batching.worker_names(work, self._threads)
        if work.uniform:
            return (*static_batching.held_names(work), *workers)
        # Other orders were tried with both kinds of batch, and were never the best.
        return (f"arrival-{work.slots}", f"arrival-{work.slots}-leave", *workers)

    def run(self, work: Workload, strategy: str) -> list[list[int]]:
        plan = static_batching.Strategy.parse(strategy)
        workers = self._threads if plan.workers else 1
        generator, batches = self._generator(workers), plan.batches(work)
        requests = [[work.requests[at] for at in batch] for batch in batches]
        with ThreadPoolExecutor(workers) as callers:
            results = callers.map(lambda batch: _generate(generator, batch, plan.leave), requests)
        rows: list[list[int]] = [[] for _ in work.requests]
        for batch, generated in zip(batches, results, strict=True):
            for at, row in zip(batch, generated, strict=True):
                rows[at] = row
        return rows

    def _generator(self, workers: int) -> Any:  # noqa: ANN401 - the library has no types
        """The Generator for this use of threads; the second one is loaded during a warm-up."""
        if workers not in self._generators:
            self._generators[workers] = self._load(workers)
        return self._generators[workers]

    def score(self, prompt: Sequence[int], tokens: Sequence[int]) -> list[float]:
        result = self._generator(1).score_batch([token_names([*prompt, *tokens])])[0]
        return list(result.log_probs[-len(tokens) :])


def _generate(generator: Any, requests: list[Request], leave: bool) -> list[list[int]]:  # noqa: ANN401 - as above
    length = static_batching.longest(requests)
    results = generator.generate_batch(
        [token_names(request.prompt) for request in requests],
        max_length=length,
        min_length=length,  # keeps the end token out
        include_prompt_in_result=False,  # prompts are forwarded at once, not token by token
        beam_size=1,
        sampling_topk=1,
        callback=_leave_at_own_end(requests) if leave else None,
    )
    rows = [list(result.sequences_ids[0]) for result in results]
    # Rows that ran to the end of the batch are longer than requested; a row that left early must be exact.
    return rows if leave else [row[: request.n_out] for row, request in zip(rows, requests, strict=True)]


def _leave_at_own_end(requests: list[Request]) -> Callable[[Any], bool]:
    """Stops each row at its own length, as an end token would; the library then drops the row from the batch."""
    # Steps are counted from the end of the shortest prompt: what longer prompts have left is fed step by step.
    shortest = min(len(request.prompt) for request in requests)
    last_step = [len(request.prompt) - shortest + request.n_out - 1 for request in requests]
    return lambda result: bool(result.step >= last_step[result.batch_id])


def convert(checkpoint: Path, path: Path) -> None:
    """Write `checkpoint` as a float32 CTranslate2 model; other types are converted when it is loaded."""
    config, weights = read_config(checkpoint), read_weights(checkpoint)
    spec = _specification(config, weights)
    spec.config.layer_norm_epsilon = config.rms_eps
    end = config.eos_ids[0] if config.eos_ids else 0
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = token_names([1, end, 0])
    spec.register_vocabulary(token_names(range(config.vocab)))
    spec.validate()
    spec.optimize()
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    spec.save(str(partial))
    os.replace(partial, path)


def _specification(config: LlamaConfig, weights: dict[str, np.ndarray]) -> TransformerDecoderModelSpec:
    from ctranslate2.specs import common_spec, transformer_spec

    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        config.layers,
        config.heads,
        activation=common_spec.Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,  # the whole head
        rotary_interleave=False,  # Hugging Face's order: halves, not pairs
        rotary_base=config.rope_theta,
        num_heads_kv=None if config.kv_heads == config.heads else config.kv_heads,
        head_dim=None if config.head_dim * config.heads == config.hidden else config.head_dim,
    )
    decoder = spec.decoder
    decoder.scale_embeddings = False
    embedding = weights["model.embed_tokens.weight"]
    decoder.embeddings.weight = embedding
    decoder.projection.weight = embedding if config.tied else weights["lm_head.weight"]
    decoder.layer_norm.gamma = weights["model.norm.weight"]
    for index, layer in enumerate(decoder.layer):
        _fill_layer(layer, weights, f"model.layers.{index}")
    return spec


def _fill_layer(layer: TransformerDecoderLayerSpec, weights: dict[str, np.ndarray], name: str) -> None:
    attention, feed_forward = layer.self_attention, layer.ffn
    attention.layer_norm.gamma = weights[f"{name}.input_layernorm.weight"]
    attention.linear[0].weight = np.concatenate(
        [weights[f"{name}.self_attn.{part}_proj.weight"] for part in "qkv"]
    )
    attention.linear[1].weight = weights[f"{name}.self_attn.o_proj.weight"]
    feed_forward.layer_norm.gamma = weights[f"{name}.post_attention_layernorm.weight"]
    feed_forward.linear_0.weight = weights[f"{name}.mlp.gate_proj.weight"]
    feed_forward.linear_0_noact.weight = weights[f"{name}.mlp.up_proj.weight"]
    feed_forward.linear_1.weight = weights[f"{name}.mlp.down_proj.weight"]


if __name__ == "__main__":
    raise SystemExit(main(CTranslate2))
