"""``python -m benchmarks.precision CHECKPOINT TEXTS``: what each form of the weights costs and gains, as Markdown.

The float32 release answers the texts greedily. Each release follows these answers: how often it chooses the same next
token, and how far its distribution is from float32's, is measured as by ``release build --measure``. Speed is that of
the runner in this process, reading of the prompts included.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

import numpy as np

from predictor.batch import Batch
from predictor.builder.int8.greedy import generate_greedily
from predictor.builder.int8.prompts import Prompt, encode_prompt, read_texts
from predictor.builder.int8.quantize import CalibrationConfig
from predictor.builder.progress import SilentReporter
from predictor.builder.quantized.build import MeasuredRequest, build_measured
from predictor.builder.quantized.precision_report import PrecisionReport, measure_precision
from predictor.builder.release.build import BuildRequest, build_release
from predictor.builder.verify.agreement import Continuation
from predictor.builder.verify.following import Answers, Prompts, follow_answers
from predictor.config import usable_cores
from predictor.runners.base import Runner, execute
from predictor.runners.onnx_runtime import OnnxRuntimeRunner
from protocol.prompt_encoder import PromptEncoder
from protocol.release import WEIGHTS_FILE, load_release

ANSWER_TOKENS = 24
REPEATS = 3
STREAMS = (1, 16)
FLOAT, COMPENSATED = "float", "compensated"
CALIBRATION_TOKENS = 4096
VARIANTS = (
    "float32", "int8:128", "int8:64", "int8:32", "int8:16", "int8:32:float", "int4:32", "int4:16", "int4:32:float",
    "int4:32:compensated",
)  # fmt: skip
"""Precision, block size, and whether activations stay float32 or errors are compensated."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One row of the table."""

    variant: str
    megabytes: float
    """Of ``weights.bin``."""
    report: PrecisionReport
    speeds: tuple[float, ...]
    """Tokens per second, by :data:`STREAMS`."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the release in float32 answered."""

    prompts: Prompts
    answers: Answers
    continuations: list[Continuation]


def main() -> None:
    """Measure the variants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("texts", type=Path, help="one per line, or source TAB target TAB text")
    parser.add_argument("--translation", type=Path, help="translation.json (the checkpoint's)")
    parser.add_argument("--calibration", type=Path, help="texts for compensated variants (built-in ones)")
    parser.add_argument("--calibration-tokens", type=int, default=CALIBRATION_TOKENS)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--limit", type=int, default=50, help="texts")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="of a timing; 0 times nothing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.checkpoint.parent) as directory:
        out = Path(directory, "release")
        request = BuildRequest(arguments.checkpoint, out, translation=arguments.translation, force=True)
        build(request)
        baseline = answer(out, arguments.texts, arguments.limit)
        print(HEAD, flush=True)
        for variant in arguments.variants.split(","):
            build_variant(request, variant, arguments.calibration, arguments.calibration_tokens)
            print(row(measure(out, variant, baseline, arguments.repeats)), flush=True)


def build_variant(request: BuildRequest, variant: str, texts: Path | None, tokens: int) -> None:
    """Build a variant such as ``int8:32:float``.

    Args:
        request: of the release in float32.
        variant: as in :data:`VARIANTS`.
        texts: to calibrate with; None: the built-in ones.
        tokens: most tokens to calibrate with.
    """
    precision, block, form = (*variant.split(":"), "", "")[:3]
    chosen = replace(
        request,
        precision=precision,
        block_size=int(block) if block else None,
        float_activations=form == FLOAT,
    )
    if form == COMPENSATED:
        calibration = CalibrationConfig(tokens=tokens, threads=usable_cores())
        measured = MeasuredRequest(chosen, compensate=True, texts=texts, calibration=calibration)
        build_measured(measured, built_at=datetime.now(timezone.utc), reporter=SilentReporter())
    else:
        build(chosen)


def build(request: BuildRequest) -> None:
    """Build a release."""
    build_release(request, built_at=datetime.now(timezone.utc), reporter=SilentReporter())


def answer(directory: Path, texts: Path, limit: int) -> Baseline:
    """Answer texts with the release in float32.

    Args:
        directory: of the release.
        texts: a file.
        limit: most texts.
    """
    encoder, release = PromptEncoder.load(directory), load_release(directory)
    rows = read_texts(texts, encoder.spec)[:limit]
    prompts = [prompt for pair, text in rows if (prompt := encode_prompt(encoder, pair, text))]
    runner = open_runner(directory, slots=max(STREAMS))
    outputs = generate_greedily(runner, prompts, release.stop_token_ids, max_tokens=ANSWER_TOKENS)
    asked, answers = [_ids(prompt) for prompt in prompts], [np.array(each.token_ids) for each in outputs]
    continuations = follow_answers(runner, asked, answers)
    runner.close()
    return Baseline(asked, answers, continuations)


def measure(directory: Path, variant: str, baseline: Baseline, repeats: int) -> Measured:
    """Compare a release with the baseline, and time it.

    Args:
        directory: of the release.
        variant: its name.
        baseline: of float32.
        repeats: of a timing.
    """
    runner = open_runner(directory, slots=max(STREAMS))
    found = follow_answers(runner, baseline.prompts, baseline.answers)
    runner.close()
    now = datetime.now(timezone.utc)
    return Measured(
        variant=variant,
        megabytes=(directory / WEIGHTS_FILE).stat().st_size / 1e6,
        report=measure_precision(load_release(directory), baseline.continuations, found, measured_at=now),
        speeds=tuple(tokens_per_second(directory, baseline.prompts, each, repeats) for each in STREAMS),
    )


HEAD = """\
| weights | MB | next token as float32 | KL, nats | nats per token | tokens/s alone | 16 at once |
| --- | --- | --- | --- | --- | --- | --- |"""


def row(measured: Measured) -> str:
    """A row of the table."""
    report = measured.report
    figures = f"{measured.megabytes:.0f} | {report.next_token_agreement:.1%} | {report.kl_nats:.4f}"
    more = report.nats_per_token - report.reference_nats_per_token
    speeds = " | ".join(f"{speed:.0f}" for speed in measured.speeds)
    return f"| {measured.variant} | {figures} | {more:+.3f} | {speeds} |"


def open_runner(directory: Path, *, slots: int) -> Runner:
    """The runner of a release, as it serves."""
    release = load_release(directory)
    return OnnxRuntimeRunner(directory, release, slots=slots, threads=usable_cores(), spin=False)


def tokens_per_second(directory: Path, prompts: Prompts, streams: int, repeats: int) -> float:
    """Generated tokens per second, the median, with ``streams`` prompts at once.

    Args:
        directory: of the release.
        prompts: the first ones are taken, again and again where there are too few.
        streams: at once.
        repeats: after one that does not count; 0 gives NaN.
    """
    if not repeats:
        return float("nan")
    chosen = [tuple(prompts[index % len(prompts)].tolist()) for index in range(streams)]
    runner = open_runner(directory, slots=streams)
    times = [_timed(runner, chosen) for _ in range(1 + repeats)][1:]
    runner.close()
    return streams * ANSWER_TOKENS / median(times)


def _timed(runner: Runner, prompts: Sequence[tuple[int, ...]]) -> float:
    """Seconds of one reading of the prompts, and of the steps behind it."""
    started, slots = time.perf_counter(), np.arange(len(prompts))
    lengths = np.array([len(prompt) for prompt in prompts])
    output = execute(runner, Batch.of_prompts(range(len(prompts)), prompts))
    for step in range(ANSWER_TOKENS - 1):
        output = execute(runner, Batch.of_tokens(slots, output.candidate_ids[:, 0], lengths + step))
    return time.perf_counter() - started


def _ids(prompt: Prompt) -> np.ndarray:
    return np.array(prompt.token_ids, np.int64)


if __name__ == "__main__":
    main()
