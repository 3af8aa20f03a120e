"""Evaluates releases on a test set: answers, scores by language pair, and whether two releases really differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from predictor.builder.errors import BrokenSet
from predictor.builder.evaluate.answers import Answer, translate_texts
from predictor.builder.evaluate.comet import CometModel, comet_scores
from predictor.builder.evaluate.parallel_texts import Pair, ParallelText
from predictor.builder.evaluate.scores import MetricScore, score_answers, score_segments
from predictor.builder.progress import Reporter
from protocol.release import Release, load_release


@dataclass(frozen=True, slots=True)
class ReleaseScores:
    """What one release reaches in one language pair."""

    scores: Mapping[str, MetricScore]
    """By metric."""
    empty: int
    """Number of empty answers."""
    unfinished: int
    """Number of answers that end at their budget of tokens."""


@dataclass(frozen=True, slots=True)
class PairEvaluation:
    """The results of one language pair."""

    pair: Pair
    texts: int
    refused: int
    """Texts that a release refuses, too long for instance; they are in no score."""
    releases: tuple[ReleaseScores, ...]
    signatures: Mapping[str, str]
    """How each metric was computed."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of one or two releases on a test set."""

    directories: tuple[Path, ...]
    releases: tuple[Release, ...]
    pairs: tuple[PairEvaluation, ...]
    skipped: Mapping[Pair, int]
    """Texts of pairs that the releases do not translate."""
    rows: tuple[tuple[ParallelText, tuple[Answer | None, ...]], ...]
    """Every text with each release's answer."""
    versions: Mapping[str, str]


def evaluate(
    directories: Sequence[Path],
    texts: Sequence[ParallelText],
    skipped: Mapping[Pair, int],
    *,
    batch: int,
    threads: int,
    comet: CometModel | None,
    reporter: Reporter,
) -> Evaluation:
    """Translate a set with each release, and score the answers.

    Args:
        directories: of one or two releases; the second is compared with the first.
        texts: in pairs of all of them.
        skipped: for the report.
        batch: texts at a time.
        threads: of ONNX Runtime.
        comet: model of COMET, or None for no such scores.
        reporter: of the progress.

    Raises:
        BuildError, ReleaseError: a release cannot be run, refuses all texts of a pair, or COMET fails.
    """
    answers = [
        translate_texts(directory, texts, batch=batch, threads=threads, reporter=reporter)
        for directory in directories
    ]
    rows = tuple(zip(texts, zip(*answers, strict=True), strict=True))
    pairs = list(dict.fromkeys(text.pair for text in texts))
    return Evaluation(
        tuple(directories),
        tuple(load_release(directory) for directory in directories),
        tuple(_evaluate_pair(pair, rows, comet) for pair in pairs),
        skipped,
        rows,
        {name: version(name) for name in ("onnxruntime", "sacrebleu")},
    )


def _evaluate_pair(
    pair: Pair, rows: Sequence[tuple[ParallelText, tuple[Answer | None, ...]]], comet: CometModel | None
) -> PairEvaluation:
    of_pair = [(text, answers) for text, answers in rows if text.pair == pair]
    scored = [(text, [each for each in answers if each]) for text, answers in of_pair if all(answers)]
    if not scored:
        raise BrokenSet(
            f"every text from {pair[0]} to {pair[1]} is refused by a release: they may be too long"
        )
    by_release = list(zip(*(answers for _, answers in scored), strict=True))
    lines = [[answer.text for answer in answers] for answers in by_release]
    scores, signatures = score_answers(lines, [text.references for text, _ in scored], pair[1])
    if comet is not None:
        values = comet_scores(
            comet, [text.text for text, _ in scored], [text.references[0] for text, _ in scored], lines
        )
        scores = [one | {"COMET": more} for one, more in zip(scores, score_segments(values), strict=True)]
        signatures = {**signatures, "COMET": comet.name}
    releases = tuple(
        ReleaseScores(
            one,
            empty=sum(not answer.text for answer in answers),
            unfinished=sum(not answer.finished for answer in answers),
        )
        for one, answers in zip(scores, by_release, strict=True)
    )
    return PairEvaluation(pair, len(scored), len(of_pair) - len(scored), releases, signatures)
