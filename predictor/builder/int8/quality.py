"""The quality gate: answers of a quantized plan compared with answers of the release in float16.

Both answer the same texts greedily, which gives chrF (Popović, 2015) and exact matches of whole answers. Then the
quantized one scores float16's answers token by token, which shows errors that are too small to change a word. Each
uses any runner: the plan on a GPU, or the CPU reference (:func:`reference_opener`). They run one after the other, so
that both need not fit into a GPU's memory.

The figures and the file: :mod:`predictor.builder.int8.quality_report`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from predictor.builder.errors import QualityTooLow, VerifyFailed
from predictor.builder.int8.greedy import GreedyOutput, generate_greedily, score_outputs
from predictor.builder.int8.prompts import Pair, Prompt, PromptSplit
from predictor.builder.int8.quality_report import PairQuality, QualityGate, QualityReport, bootstrap
from predictor.builder.plans.source import PlanSource
from predictor.runners.base import Runner
from predictor.runners.reference import open_reference_runner
from predictor.segment_index import input_scale, output_scale
from protocol.prompt_encoder import PromptEncoder
from protocol.release import load_release

SLOTS = 32
"""Slots of the CPU reference."""

OpenRunner = Callable[[], Runner]


@dataclass(frozen=True, slots=True)
class EvaluatedRunner:
    """A runner to be measured, not opened yet."""

    open: OpenRunner
    kind: str
    """For the report, e.g. ``tensorrt``."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Answers of the release in float16 to the gate's prompts."""

    answers: tuple[GreedyOutput, ...]
    kind: str


def reference_opener(
    directory: Path, *, threads: int, slots: int = SLOTS, source: PlanSource | None = None
) -> OpenRunner:
    """A function that opens the CPU reference on a release.

    Args:
        directory: of the release.
        threads: of ONNX Runtime.
        slots: number of texts at a time.
        source: of a quantized plan, whose graphs and tensors replace the release's; None is float16.
    """

    def open_it() -> Runner:
        release = load_release(directory)
        if source is None:
            return open_reference_runner(directory, release, slots=slots, threads=threads)
        parts = {part for name in source.quantized for part in (name, input_scale(name), output_scale(name))}
        quantized = {
            spec.name: np.concatenate(list(source.blocks(spec))).reshape(spec.shape)
            for spec in source.tensors
            if spec.name in parts
        }
        return open_reference_runner(
            directory, release, slots=slots, threads=threads, graphs=source.graphs, tensors=quantized
        )

    return open_it


def measure_quality(
    directory: Path,
    split: PromptSplit,
    baseline: Baseline,
    candidate: EvaluatedRunner,
    *,
    precision: str,
    gate: QualityGate,
    measured_at: datetime,
    seed: int = 0,
) -> QualityReport:
    """Answer the gate's prompts with the candidate and compare with the baseline.

    Args:
        directory: of the release.
        split: the release's prompts, of which those for the gate are used.
        baseline: the answers of float16 to them.
        candidate: opened and closed here.
        precision: of the candidate.
        gate: the bounds.
        measured_at: for the report.
        seed: of the bootstrap.

    Raises:
        RunnerError, StartupError: the candidate cannot be run.
        VerifyFailed: sacrebleu is not installed.
    """
    release = load_release(directory)
    chrf = _chrf()
    runner = candidate.open()
    try:
        answers = generate_greedily(runner, split.gate, release.stop_token_ids)
        scores = score_outputs(runner, split.gate, [answer.token_ids for answer in baseline.answers])
    finally:
        runner.close()
    encoder = PromptEncoder.load(directory)
    rows: dict[Pair, list[_Row]] = {}
    for prompt, wanted, found, scored in zip(split.gate, baseline.answers, answers, scores, strict=True):
        rows.setdefault(prompt.pair, []).append(_compare(encoder, wanted, found, scored, chrf))
    return QualityReport(
        release=release.id,
        precision=precision,
        gate=gate,
        pairs=tuple(_pair(pair, each, seed) for pair, each in rows.items()),
        without_texts=split.without_texts,
        measured_at=measured_at.isoformat(timespec="seconds"),
        versions=_versions(),
        runners={"float16": baseline.kind, precision: candidate.kind},
    )


def measure_baseline(runner: Runner, kind: str, prompts: Sequence[Prompt], stops: Sequence[int]) -> Baseline:
    """The answers of float16.

    Args:
        runner: of float16, with nothing in flight.
        kind: of the runner, for the report.
        prompts: to answer.
        stops: tokens that end an answer.

    Raises:
        RunnerError: a step failed.
    """
    return Baseline(tuple(generate_greedily(runner, prompts, stops)), kind)


def check_quality(report: QualityReport) -> None:
    """Check that a report passes its gate.

    Raises:
        QualityTooLow: it does not; the message names every pair and figure that fails.
    """
    if report.failures:
        raise QualityTooLow(
            f"{report.precision} is too far from float16: {'; '.join(report.failures)}. Calibrate with your own "
            "texts (--calibration FILE), keep more matrices in float16 (a lower --int8-error), or lower the bounds "
            "(--gate-chrf, --gate-logprob)"
        )


@dataclass(frozen=True, slots=True)
class _Row:
    """The comparison of one text."""

    chrf: float
    exact: float
    logprob_errors: tuple[float, ...]


def _compare(
    encoder: PromptEncoder,
    wanted: GreedyOutput,
    found: GreedyOutput,
    scored: Sequence[float],
    chrf: Callable[[str, str], float],
) -> _Row:
    texts = [encoder.decode(answer.token_ids) for answer in (found, wanted)]
    same = found.token_ids == wanted.token_ids
    errors = tuple(abs(one - other) for one, other in zip(scored, wanted.logprobs, strict=True))
    # Equal answers may be empty, for which chrF would be 0.
    return _Row(100.0 if same else chrf(*texts), float(same), errors)


def _pair(pair: Pair, rows: Sequence[_Row], seed: int) -> PairQuality:
    source, target = pair
    return PairQuality(
        source=source,
        target=target,
        texts=len(rows),
        tokens=sum(len(row.logprob_errors) for row in rows),
        chrf=bootstrap([row.chrf for row in rows], seed=seed),
        exact_match=bootstrap([row.exact for row in rows], seed=seed),
        logprob_error=bootstrap([float(np.mean(row.logprob_errors)) for row in rows], seed=seed),
    )


def _chrf() -> Callable[[str, str], float]:
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise VerifyFailed(
            "sacrebleu, which the quality gate scores with, is not installed: "
            "pip install '.[cpu]' in a checkout of Yiwen"
        ) from error
    metric = CHRF()
    return lambda found, wanted: float(metric.sentence_score(found, [wanted]).score)


def _versions() -> Mapping[str, str]:
    found = {}
    for name in ("numpy", "onnxruntime", "sacrebleu", "tensorrt"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
