"""Trains the demo model from scratch: one command, one seed, a few minutes on a data-centre GPU.

    python examples/demo_model/train.py --seed 0 --out DIR [--steps N] [--minutes M] [--device cuda|cpu]

Trains the tokenizer, makes the training set from the grammar, trains a Llama-family decoder on it, rounds the
weights to bfloat16, measures the rounded weights in float32 on the held-out titles and writes the checkpoint.
The same seed, steps and software on the same kind of machine give the same data and order of training; a run
that --minutes cuts short decays its learning rate early and cannot be repeated to the bit. What this does not
do: resume, or train on anything but the grammar's titles.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter

import numpy as np
import tokenizers
import torch
import transformers
from data import Buckets, make_buckets
from evaluate import HERE, exact_match, read_rows
from tokenizer import END, PAD, save_tokenizer, token_id, train_tokenizer
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

PEAK_RATE, FINAL_RATE, WARM_UP_STEPS = 2.5e-3, 1e-5, 400
WEIGHT_DECAY, CLIP = 0.05, 1.0


def build_model(tokenizer: Tokenizer) -> LlamaForCausalLM:
    """A fresh model of about 3.5 million parameters (7 MB in bfloat16)."""
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=7,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=token_id(tokenizer, END),
        pad_token_id=token_id(tokenizer, PAD),
    )
    return LlamaForCausalLM(config)


def rate_at(progress: float, step: int) -> float:
    """Learning rate: linear warm-up, then a cosine from PEAK_RATE to FINAL_RATE as progress goes from 0 to 1."""
    cosine = FINAL_RATE + (PEAK_RATE - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * cosine


def batches(buckets: Buckets, tokens: int, seed: int, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of about ``tokens`` tokens: sequences (rows, width) and answer starts (rows,).

    The data lie on the device. Each epoch goes through all rows once in a new order; a batch has one width.
    """
    stored = {
        width: (torch.from_numpy(rows).to(device), torch.from_numpy(starts).to(device))
        for width, (rows, starts) in buckets.items()
        if len(rows)
    }
    generator = np.random.default_rng(seed)
    while True:
        plan: list[tuple[int, Tensor]] = []
        for width, (rows, _) in stored.items():
            size = min(max(tokens // width, 1), len(rows))
            order = torch.from_numpy(generator.permutation(len(rows))).to(device)
            plan.extend((width, part) for part in torch.split(order, size) if len(part) == size)
        for index in generator.permutation(len(plan)):
            width, part = plan[index]
            yield stored[width][0][part].long(), stored[width][1][part].long()


def answer_loss(
    model: LlamaForCausalLM, decoder: torch.nn.Module, rows: Tensor, starts: Tensor, pad: int
) -> Tensor:
    """Mean cross-entropy over answer tokens, the end token included.

    Padding is on the right, so causal attention never sees it and no mask is needed.
    """
    hidden = decoder(input_ids=rows, use_cache=False).last_hidden_state[:, :-1]
    labels = rows[:, 1:]
    positions = torch.arange(1, rows.shape[1], device=rows.device)
    wanted = (positions >= starts[:, None]) & (labels != pad)
    return functional.cross_entropy(model.lm_head(hidden[wanted]).float(), labels[wanted])


def train(
    model: LlamaForCausalLM, buckets: Buckets, arguments: argparse.Namespace, pad: int
) -> tuple[int, float]:
    """Trains in place; returns the number of steps taken and the mean loss of the last stretch."""
    device = arguments.device
    cuda = device.startswith("cuda")
    decoder: torch.nn.Module = model.model
    if cuda and not arguments.eager:
        torch._dynamo.config.suppress_errors = True
        decoder = torch.compile(decoder, dynamic=False)  # type: ignore[assignment]
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    gains = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": gains, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        fused=cuda,
    )
    started, losses = perf_counter(), []
    mean = math.nan
    step = 0
    for step, (rows, starts) in enumerate(batches(buckets, arguments.batch_tokens, arguments.seed, device)):
        if cuda and step % 10 == 0:
            torch.cuda.synchronize()  # or the clock would run ahead of the queue
        used = (perf_counter() - started) / 60 / arguments.minutes
        progress = max(step / arguments.steps, used)
        if progress >= 1.0:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress, step)
        with torch.autocast("cuda" if cuda else "cpu", dtype=torch.bfloat16, enabled=cuda):
            loss = answer_loss(model, decoder, rows, starts, pad)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.detach())
        if len(losses) == arguments.report:
            mean = float(torch.stack(losses).mean())
            losses.clear()
            print(f"step {step + 1}  loss {mean:.5f}  {perf_counter() - started:.0f} s", flush=True)
    return step, mean


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains the demo model from scratch.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="directory of the checkpoint")
    parser.add_argument("--steps", type=int, default=5_600)
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="ends training early; the checkpoint is kept"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--pairs", type=int, default=3_500_000, help="distinct draws; each gives two sequences"
    )
    parser.add_argument("--batch-tokens", type=int, default=131_072)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--report", type=int, default=200, help="steps between two lines of progress")
    parser.add_argument(
        "--errors", type=int, default=15, help="wrong answers to print per direction at the end"
    )
    parser.add_argument("--eager", action="store_true", help="do not compile the model")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(arguments.seed)
    started = perf_counter()
    tokenizer = train_tokenizer(arguments.seed)
    save_tokenizer(tokenizer, arguments.out)
    buckets = make_buckets(tokenizer, arguments.seed, arguments.pairs, arguments.processes)
    rows_by_width = {width: len(rows) for width, (rows, _) in buckets.items()}
    prepared = perf_counter() - started
    print(
        f"vocabulary {tokenizer.get_vocab_size()}, rows by width {rows_by_width}, {prepared:.0f} s",
        flush=True,
    )

    model = build_model(tokenizer).to(arguments.device)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters} parameters", flush=True)
    training_started = perf_counter()
    steps, loss = train(model, buckets, arguments, token_id(tokenizer, PAD))
    seconds = perf_counter() - training_started

    model.eval().to(torch.bfloat16)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False, eos_token_id=model.config.eos_token_id, pad_token_id=model.config.pad_token_id
    )
    model.save_pretrained(arguments.out)
    model.to(torch.float32)  # the rounded weights, computed without further rounding
    rows = read_rows(HERE / "heldout.tsv")
    shares = exact_match(model, tokenizer, rows, arguments.device, arguments.errors)
    for direction, share in shares.items():
        print(f"{direction}: {share:.1%} exact of {len(rows)}")

    cuda = arguments.device.startswith("cuda")
    report = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "seed": arguments.seed,
        "steps": steps,
        "pairs": arguments.pairs,
        "batch_tokens": arguments.batch_tokens,
        "parameters": parameters,
        "dtype": "bfloat16",
        "loss": round(loss, 5),
        "held_out_rows": len(rows),
        "exact_match": shares,
        "training_seconds": round(seconds),
        "hardware": torch.cuda.get_device_name() if cuda else platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
    }
    (arguments.out / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
