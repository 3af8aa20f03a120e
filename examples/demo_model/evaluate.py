"""Measures the demo model: exact matches on heldout.tsv in both directions, decoded greedily in float32.

    python examples/demo_model/evaluate.py [--checkpoint DIR] [--device cpu] [--errors 20]

A title counts only when every character is right. What this does not do: measure quality on general text.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import torch
from tokenizer import END, MAX_TOKENS, PROMPTS, token_id
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

HERE = Path(__file__).resolve().parent
DIRECTIONS = (("en", "zh"), ("zh", "en"))


def read_rows(path: Path) -> list[tuple[str, str]]:
    """Reads (english, chinese) rows after the header line."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [(english, chinese) for english, chinese in (line.split("\t") for line in lines)]


@torch.inference_mode()
def greedy(model: LlamaForCausalLM, prompts: list[list[int]], end: int, device: str) -> list[list[int]]:
    """Greedy answers without the end token. Prompts of one length go together, so nothing is padded."""
    answers: list[list[int]] = [[] for _ in prompts]
    by_length: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(index)
    for indices in by_length.values():
        tokens = torch.tensor([prompts[index] for index in indices], device=device)
        cache, live = None, set(indices)
        for _ in range(MAX_TOKENS):
            output = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache, tokens = output.past_key_values, output.logits[:, -1].argmax(-1, keepdim=True)
            for index, token in zip(indices, tokens[:, 0].tolist(), strict=True):
                if token == end:
                    live.discard(index)
                elif index in live:
                    answers[index].append(token)
            if not live:
                break
    return answers


def translate(
    model: LlamaForCausalLM, tokenizer: Tokenizer, texts: list[str], source: str, target: str, device: str
) -> list[str]:
    """Translates texts from language ``source`` to ``target`` ("en" or "zh")."""
    first, last = token_id(tokenizer, PROMPTS[source]), token_id(tokenizer, PROMPTS[target])
    prompts = [[first, *tokenizer.encode(text, add_special_tokens=False).ids, last] for text in texts]
    answers = greedy(model, prompts, token_id(tokenizer, END), device)
    return [tokenizer.decode(answer, skip_special_tokens=False) for answer in answers]


def exact_match(
    model: LlamaForCausalLM, tokenizer: Tokenizer, rows: list[tuple[str, str]], device: str, errors: int = 0
) -> dict[str, float]:
    """Share of exactly right answers per direction ("en-zh", "zh-en"); prints up to ``errors`` wrong ones each."""
    shares = {}
    for source, target in DIRECTIONS:
        column = 0 if source == "en" else 1
        answers = translate(model, tokenizer, [row[column] for row in rows], source, target, device)
        wrong = [
            (row[column], row[1 - column], answer)
            for row, answer in zip(rows, answers, strict=True)
            if answer != row[1 - column]
        ]
        shares[f"{source}-{target}"] = 1 - len(wrong) / len(rows)
        for text, expected, answer in wrong[:errors]:
            print(f"  {text}\n    expected {expected}\n    answered {answer}")
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description="Exact matches of a checkpoint on the held-out titles.")
    parser.add_argument("--checkpoint", type=Path, default=HERE / "checkpoint")
    parser.add_argument("--rows", type=Path, default=HERE / "heldout.tsv")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--errors", type=int, default=0, help="print up to this many wrong answers per direction"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--text", help="translate one text instead, into the language named by --to")
    parser.add_argument("--to", choices=("en", "zh"), default="zh")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tokenizer = Tokenizer.from_file(str(arguments.checkpoint / "tokenizer.json"))
    model = LlamaForCausalLM.from_pretrained(arguments.checkpoint, dtype=torch.float32)
    model.to(arguments.device).eval()
    if arguments.text is not None:
        source = "en" if arguments.to == "zh" else "zh"
        print(translate(model, tokenizer, [arguments.text], source, arguments.to, arguments.device)[0])
        return
    started = perf_counter()
    shares = exact_match(model, tokenizer, read_rows(arguments.rows), arguments.device, arguments.errors)
    for direction, share in shares.items():
        print(f"{direction}: {share:.1%} exact")
    print(f"{perf_counter() - started:.1f} s on {arguments.device}")


if __name__ == "__main__":
    main()
