"""Hugging Face transformers, `generate`, float32: one request at a time, or static batches.

Also the reference: every other system is compared with its float32 tokens and log-probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from benchmarks.engine import static_batching
from benchmarks.engine.harness import Config, System, Unavailable, main
from benchmarks.engine.workloads import Request, Workload

# A server that takes one request at a time has the same speed for each of them.
SEQUENTIAL_REQUESTS = {"streams16": 4, "mixed": 8}


class HuggingFace(System):
    """`variant` is `sequential` or `static`."""

    def __init__(self, config: Config) -> None:
        try:
            import torch
            from transformers import AutoModelForCausalLM
        except ImportError as error:
            raise Unavailable(f"{error.name} is not installed") from error
        torch.set_num_threads(config.threads)
        self._torch = torch
        self._batched = config.variant == "static"
        self._model: Any = AutoModelForCausalLM.from_pretrained(config.checkpoint, dtype=torch.float32)
        # No end token: lengths are fixed. Padding is masked, so any id serves.
        self._model.generation_config.eos_token_id = None
        self._model.generation_config.pad_token_id = 0
        self._model.generation_config.do_sample = False

    def versions(self) -> dict[str, str]:
        return {"transformers": version("transformers"), "torch": version("torch")}

    def strategies(self, work: Workload) -> tuple[str, ...]:
        return static_batching.held_names(work) if self._batched else ("one-by-one",)

    def sample(self, work: Workload) -> Workload:
        wanted = SEQUENTIAL_REQUESTS.get(work.name, len(work.requests))
        if self._batched or len(work.requests) <= wanted:
            return work
        # Evenly spread over the output lengths, so that the sample has the mean of all.
        group = len(work.requests) // wanted
        by_length = sorted(work.requests, key=lambda request: request.n_out)
        return Workload(work.name, tuple(by_length[group // 2 :: group]), work.slots)

    def run(self, work: Workload, strategy: str) -> list[list[int]]:
        if not self._batched:
            return [self._generate([request])[0] for request in work.requests]
        rows: list[list[int]] = [[] for _ in work.requests]
        for batch in static_batching.Strategy.parse(strategy).batches(work):
            for at, row in zip(batch, self._generate([work.requests[i] for i in batch]), strict=True):
                rows[at] = row
        return rows

    def _generate(self, requests: list[Request]) -> list[list[int]]:
        torch, width = self._torch, max(len(request.prompt) for request in requests)
        # Padded on the left, so that every row's next token comes from the last position.
        ids = [[0] * (width - len(request.prompt)) + list(request.prompt) for request in requests]
        mask = [[0] * (width - len(request.prompt)) + [1] * len(request.prompt) for request in requests]
        output = self._model.generate(
            input_ids=torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            max_new_tokens=static_batching.longest(requests),
        )
        rows = output[:, width:].tolist()
        return [row[: request.n_out] for row, request in zip(rows, requests, strict=True)]

    def score(self, prompt: Sequence[int], tokens: Sequence[int]) -> list[float]:
        torch = self._torch
        with torch.inference_mode():
            logits = self._model(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
        log_probs = torch.log_softmax(logits.double(), dim=-1)
        return [float(log_probs[at, token]) for at, token in enumerate(tokens)]


if __name__ == "__main__":
    raise SystemExit(main(HuggingFace))
