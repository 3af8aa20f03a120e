"""llama.cpp through llama-cpp-python on the same weights, written as GGUF: F32, Q8_0 and Q4_0.

The binding's high-level class decodes one sequence. llama.cpp itself batches sequences, and its server admits new
ones as others finish, so the low-level calls are used here as in the server.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.engine.checkpoint import LlamaConfig, converted, read_config, read_weights
from benchmarks.engine.harness import Config, System, Unavailable, main
from benchmarks.engine.workloads import Request, Workload

if TYPE_CHECKING:
    from gguf import GGUFWriter

Context = Any  # an opaque pointer

BATCH_TOKENS = 2048
ROW_STEP = 256  # llama.cpp pads a sequence's cells to this many
MATRICES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass
class Running:
    """A request that holds a sequence id."""

    at: int
    request: Request
    tokens: list[int] = field(default_factory=list)

    @property
    def position(self) -> int:
        return len(self.request.prompt) + len(self.tokens)


class LlamaCpp(System):
    """`variant` is the GGUF type: F32, Q8_0 or Q4_0."""

    def __init__(self, config: Config) -> None:
        try:
            import gguf  # noqa: F401 - to fail early if it is missing
            import llama_cpp
        except ImportError as error:
            raise Unavailable(f"{error.name} is not installed") from error
        self._api = llama_cpp
        self._variant = config.variant
        self._threads = config.threads
        checkpoint = Path(config.checkpoint)
        path = converted(checkpoint, Path(config.cache), f"llamacpp-{config.variant}").with_suffix(".gguf")
        if not path.exists():
            convert(checkpoint, path, config.variant)
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_load_from_file(
            str(path).encode(), llama_cpp.llama_model_default_params()
        )
        if not model:
            raise RuntimeError(f"llama.cpp could not load {path.name}")
        self._model: Any = model
        self._vocab_size: int = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        self._batch: Any = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._contexts: dict[tuple[int, int, bool], Context] = {}

    def versions(self) -> dict[str, str]:
        system = " ".join(self._api.llama_print_system_info().decode().split())
        return {"llama-cpp-python": version("llama-cpp-python"), "gguf": version("gguf"), "llama.cpp": system}

    def strategies(self, work: Workload) -> tuple[str, ...]:
        return ("one-sequence",) if work.slots == 1 else ("split-kv", "unified-kv")

    def run(self, work: Workload, strategy: str) -> list[list[int]]:
        context = self._context(work, unified=strategy == "unified-kv")
        memory = self._api.llama_get_memory(context)
        self._api.llama_memory_clear(memory, False)
        waiting = deque(Running(at, request) for at, request in enumerate(work.requests))
        running: dict[int, Running] = {}
        rows: list[list[int]] = [[] for _ in work.requests]
        while waiting or running:
            outputs = self._fill(running, waiting, work.slots)
            for row, sequence in self._decode(context, outputs):
                current = running[sequence]
                current.tokens.append(int(row.argmax()))
                if len(current.tokens) == current.request.n_out:
                    rows[current.at] = running.pop(sequence).tokens
                    self._api.llama_memory_seq_rm(memory, sequence, -1, -1)
        return rows

    def _fill(
        self, running: dict[int, Running], waiting: deque[Running], slots: int
    ) -> list[tuple[int, int]]:
        """One token of every running sequence, then as many prompts as fit. Returns (batch row, sequence) to read."""
        self._batch.n_tokens = 0
        outputs = [
            (self._add(current.tokens[-1], current.position - 1, sequence, output=True), sequence)
            # In order: a split cache takes only neighboring sequences in one call.
            for sequence, current in sorted(running.items(), key=lambda item: item[0])
        ]
        free = [sequence for sequence in range(slots) if sequence not in running]
        while waiting and free and self._batch.n_tokens + len(waiting[0].request.prompt) <= BATCH_TOKENS:
            sequence, admitted = free.pop(0), waiting.popleft()
            running[sequence] = admitted
            outputs.append((self._add_prompt(admitted.request.prompt, sequence), sequence))
        return outputs

    def _add_prompt(self, prompt: Sequence[int], sequence: int) -> int:
        last = len(prompt) - 1
        for position, token in enumerate(prompt):
            row = self._add(token, position, sequence, output=position == last)
        return row

    def _add(self, token: int, position: int, sequence: int, *, output: bool) -> int:
        batch, row = self._batch, int(self._batch.n_tokens)
        batch.token[row], batch.pos[row] = token, position
        batch.n_seq_id[row], batch.seq_id[row][0] = 1, sequence
        batch.logits[row] = output
        batch.n_tokens = row + 1
        return row

    def _decode(self, context: Context, outputs: list[tuple[int, int]]) -> Iterator[tuple[np.ndarray, int]]:
        status = self._api.llama_decode(context, self._batch)
        if status != 0:
            raise RuntimeError(f"llama_decode answered {status}")
        for row, sequence in outputs:
            logits = self._api.llama_get_logits_ith(context, row)
            yield np.ctypeslib.as_array(logits, shape=(self._vocab_size,)), sequence

    def _context(self, work: Workload, *, unified: bool) -> Context:
        longest = max(len(request.prompt) + request.n_out for request in work.requests)
        cells = -(-longest // ROW_STEP) * ROW_STEP
        key = (work.slots, cells, unified)
        if key not in self._contexts:
            params = self._api.llama_context_default_params()
            params.n_ctx, params.n_seq_max, params.kv_unified = work.slots * cells, work.slots, unified
            params.n_batch = BATCH_TOKENS
            params.n_threads = params.n_threads_batch = self._threads
            params.no_perf = True
            if self._variant == "F32":
                # As exact as the other float32 systems; the other types keep the default, half precision.
                params.type_k = params.type_v = self._api.GGML_TYPE_F32
            self._contexts[key] = self._api.llama_init_from_model(self._model, params)
            if not self._contexts[key]:
                raise RuntimeError("llama.cpp could not make a context")
        return self._contexts[key]

    def score(self, prompt: Sequence[int], tokens: Sequence[int]) -> list[float]:
        context = self._context(Workload("score", (Request(tuple(prompt), len(tokens)),), 1), unified=False)
        self._api.llama_memory_clear(self._api.llama_get_memory(context), False)
        self._batch.n_tokens = 0
        first = len(prompt) - 1
        for position, token in enumerate((*prompt, *tokens[:-1])):
            self._add(token, position, 0, output=position >= first)
        outputs = [(first + at, 0) for at in range(len(tokens))]
        decoded = self._decode(context, outputs)
        return [_log_prob(row, token) for (row, _), token in zip(decoded, tokens, strict=True)]


def _log_prob(logits: np.ndarray, token: int) -> float:
    exact = logits.astype(np.float64)
    top = exact.max()
    return float(exact[token] - top - np.log(np.exp(exact - top).sum()))


def convert(checkpoint: Path, path: Path, kind: str) -> None:
    """Write `checkpoint` as GGUF with its matrices of type `kind`."""
    import gguf

    config, weights = read_config(checkpoint), read_weights(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, "llama")
    _add_metadata(writer, config)
    matrix, norm = gguf.GGMLQuantizationType[kind], gguf.GGMLQuantizationType.F32
    # llama.cpp's own quantizer keeps a tied vocabulary at 8 bit in a 4-bit file.
    vocabulary = gguf.GGMLQuantizationType.Q8_0 if kind == "Q4_0" else matrix
    for name, values in _tensors(config, weights):
        type_ = (
            norm
            if values.ndim == 1
            else vocabulary
            if name in ("token_embd.weight", "output.weight")
            else matrix
        )
        writer.add_tensor(name, gguf.quants.quantize(values, type_), raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, path)


def _add_metadata(writer: GGUFWriter, config: LlamaConfig) -> None:
    writer.add_context_length(config.positions)
    writer.add_embedding_length(config.hidden)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.inner)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_eps)
    writer.add_vocab_size(config.vocab)
    writer.add_tokenizer_model("none")  # ids in, ids out


def _tensors(config: LlamaConfig, weights: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    yield "token_embd.weight", weights["model.embed_tokens.weight"]
    if not config.tied:
        yield "output.weight", weights["lm_head.weight"]
    yield "output_norm.weight", weights["model.norm.weight"]
    for layer in range(config.layers):
        ours, theirs = f"blk.{layer}", f"model.layers.{layer}"
        yield f"{ours}.attn_norm.weight", weights[f"{theirs}.input_layernorm.weight"]
        yield f"{ours}.ffn_norm.weight", weights[f"{theirs}.post_attention_layernorm.weight"]
        for name, source in MATRICES.items():
            values = weights[f"{theirs}.{source}.weight"]
            heads = {"attn_q": config.heads, "attn_k": config.kv_heads}.get(name)
            yield f"{ours}.{name}.weight", values if heads is None else _pairs_from_halves(values, heads)


def _pairs_from_halves(values: np.ndarray, heads: int) -> np.ndarray:
    """GGUF's llama rotates neighboring rows, Hugging Face rotates a head's halves: reorder each head's rows."""
    rows, columns = values.shape
    halves = values.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows, columns)


if __name__ == "__main__":
    raise SystemExit(main(LlamaCpp))
