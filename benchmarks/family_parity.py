"""`python -m benchmarks.family_parity`: every model family, runner and precision beside transformers, as Markdown.

Each family of the parity tests is a small random checkpoint. A release of it generates greedily. transformers, in
float32, then says at each position which token it would choose, and how likely the release's candidates are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from predictor.batch import Batch
from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from predictor.builder.verify.agreement import Continuation, Figures, mean_figures, measure_agreement
from predictor.builder.weights.decoder_matrices import PRECISIONS
from predictor.runners.base import Runner, execute
from predictor.runners.onnx_runtime import OnnxRuntimeRunner
from predictor.runners.reference import open_reference_runner
from protocol.release import load_release
from tests.parity.models import load_model, ragged_prompts, save_model
from tests.parity.test_families import CASES as FIRST_CASES
from tests.parity.test_more_families import CASES as MORE_CASES

CASES: Final[dict[str, tuple[str, dict[str, Any]]]] = {**FIRST_CASES, **MORE_CASES}
TOKENS: Final = 12
LENGTHS: Final = (9, 1, 40, 2, 17)
COLUMNS: Final = (
    "family",
    "case",
    "runner",
    "precision",
    "equal tokens",
    "largest difference",
    "mean difference",
    "mean KL, nats",
)
SUMMARY_COLUMNS: Final = (
    "runner",
    "precision",
    "cases",
    "equal tokens",
    "in the worst case",
    "largest difference",
    "mean difference",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    family: str
    case: str
    runner: str
    precision: str
    figures: Figures
    tokens: int

    def markdown(self) -> str:
        """The line."""
        found = self.figures
        cells = [
            self.family,
            self.case,
            self.runner,
            self.precision,
            f"{found['equal_tokens']} of {self.tokens}",
            f"{found['max_logprob_difference']:.1e}",
            f"{found['mean_logprob_difference']:.1e}",
            f"{found['kl_nats']:.1e}",
        ]
        return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.family_parity", description=__doc__)
    parser.add_argument("--only", metavar="TEXT", default="", help="cases whose name holds it")
    parser.add_argument("--precisions", default=",".join(PRECISIONS), help="of the weights (%(default)s)")
    options = parser.parse_args(arguments)
    chosen = [name for name in CASES if options.only in name]
    if not chosen:
        parser.error(f"no case has {options.only!r} in its name: {', '.join(CASES)}")
    packages = ("transformers", "torch", "onnxruntime", "numpy")
    print("Versions:", ", ".join(f"{name} {version(name)}" for name in packages), end="\n\n")
    print(f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", sep="\n", flush=True)
    rows = []
    for name in chosen:
        with TemporaryDirectory() as directory:
            for row in _measure(Path(directory), name, options.precisions.split(",")):
                print(row.markdown(), flush=True)
                rows.append(row)
    print("", *summary(rows), sep="\n")
    return 0


def summary(rows: Sequence[Row]) -> list[str]:
    """The rows of each runner and precision together, as Markdown."""
    lines = [f"| {' | '.join(SUMMARY_COLUMNS)} |", "|---" * len(SUMMARY_COLUMNS) + "|"]
    for runner, precision in dict.fromkeys((row.runner, row.precision) for row in rows):
        chosen = [row for row in rows if (row.runner, row.precision) == (runner, precision)]
        equal = [row.figures["equal_tokens"] for row in chosen]
        largest = max(row.figures["max_logprob_difference"] for row in chosen)
        mean = sum(row.figures["mean_logprob_difference"] for row in chosen) / len(chosen)
        tokens = f"{sum(equal)} of {sum(row.tokens for row in chosen)}"
        cells = [runner, precision, str(len(chosen)), tokens, f"{min(equal)} of {chosen[0].tokens}"]
        lines.append(f"| {' | '.join(cells)} | {largest:.1e} | {mean:.1e} |")
    return lines


def _measure(directory: Path, case: str, precisions: Sequence[str]) -> Iterator[Row]:
    family, config = CASES[case]
    checkpoint = save_model(directory / "model", family, **config)
    model, prompts = load_model(checkpoint), ragged_prompts(lengths=LENGTHS)
    for precision in precisions:
        release = directory / precision
        request = BuildRequest(checkpoint, release, precision=precision)
        built = build_release(request, built_at=datetime.now(timezone.utc), reporter=SilentReporter())
        for kind, runner in _runners(release):
            continuations = _generate(runner, prompts)
            runner.close()
            agreements = [
                measure_agreement(_logprobs(model, prompt, each), each)
                for prompt, each in zip(prompts, continuations, strict=True)
            ]
            yield Row(built.family, case, kind, precision, mean_figures(agreements), TOKENS * len(prompts))


def _runners(directory: Path) -> Iterator[tuple[str, Runner]]:
    release = load_release(directory)
    slots = len(LENGTHS)
    yield "ONNX Runtime", OnnxRuntimeRunner(directory, release, slots=slots, threads=1, spin=False)
    if "segments/segments.json" in release.files:
        yield "reference", open_reference_runner(directory, release, slots=slots, threads=1)


def _generate(runner: Runner, prompts: Sequence[npt.NDArray[np.int64]]) -> list[Continuation]:
    rows, lengths = len(prompts), np.array([len(prompt) for prompt in prompts])
    batch = Batch.of_prompts(range(rows), [tuple(prompt.tolist()) for prompt in prompts])
    steps = [execute(runner, batch)]
    for done in range(TOKENS - 1):
        newest = steps[-1].candidate_ids[:, 0]
        steps.append(execute(runner, Batch.of_tokens(np.arange(rows), newest, lengths + done)))
    ids = np.stack([step.candidate_ids for step in steps], axis=1)
    logprobs = np.stack([step.candidate_logprobs for step in steps], axis=1)
    return [
        Continuation(each[:, 0].astype(np.int64), each, values)
        for each, values in zip(ids, logprobs, strict=True)
    ]


def _logprobs(
    model: torch.nn.Module, prompt: npt.NDArray[np.int64], continuation: Continuation
) -> npt.NDArray[np.float64]:
    """[T, V], before each token of the continuation."""
    tokens = torch.from_numpy(np.concatenate((prompt, continuation.token_ids[:-1])))[None]
    with torch.no_grad():
        logits = model(tokens, use_cache=False).logits[0, -len(continuation.token_ids) :]
    values: npt.NDArray[np.float64] = torch.log_softmax(logits.double(), dim=-1).numpy()
    return values


if __name__ == "__main__":
    sys.exit(main())
