"""An evaluation as a table, as JSON, and as lines of texts and answers."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from predictor.builder.evaluate.evaluation import Evaluation, PairEvaluation
from predictor.builder.evaluate.scores import SIGNIFICANT, MetricScore, is_real

EVALUATION_SCHEMA = 1
PIPE_WIDTH = 200
"""Columns of the table where it goes into a pipe; rich would take 80."""
FEW_TEXTS = 100
"""Below, the intervals themselves are uncertain."""


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """The JSON document of an evaluation."""
    return {
        "schema": EVALUATION_SCHEMA,
        "releases": [
            {
                "directory": str(directory),
                "id": release.id,
                "name": release.name,
                "precision": release.precision,
            }
            for directory, release in zip(evaluation.directories, evaluation.releases, strict=True)
        ],
        "pairs": [_pair_json(pair) for pair in evaluation.pairs],
        "skipped": [
            {"source": source, "target": target, "texts": count}
            for (source, target), count in evaluation.skipped.items()
        ],
        "versions": dict(evaluation.versions),
    }


def answer_lines(evaluation: Evaluation) -> str:
    """A JSON object per text: languages, text, references, and each release's answer (null: refused)."""
    lines = []
    for text, answers in evaluation.rows:
        row = {
            "source": text.pair[0],
            "target": text.pair[1],
            "text": text.text,
            "references": list(text.references),
            "answers": [None if answer is None else answer.text for answer in answers],
        }
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(lines)


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print scores by pair, differences between two releases, and what was left out."""
    table = Table(box=None, pad_edge=False)
    for name in ("pair", "texts", "release", *_metrics(evaluation), "empty", "unfinished"):
        table.add_column(name)
    for pair in evaluation.pairs:
        for release, result in zip(evaluation.releases, pair.releases, strict=True):
            figures = [_figure(result.scores[metric]) for metric in _metrics(evaluation)]
            label = f"{release.name} {release.id} {release.precision}"
            counts = (str(result.empty), str(result.unfinished))
            table.add_row(" to ".join(pair.pair), str(pair.texts), label, *figures, *counts)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table, highlight=False)
    for line in (*_differences(evaluation), *_notes(evaluation)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _metrics(evaluation: Evaluation) -> list[str]:
    return list(evaluation.pairs[0].releases[0].scores)


def _figure(score: MetricScore) -> str:
    digits = 1 if abs(score.score) > 1.5 else 3  # COMET is about 0 to 1, the others 0 to 100
    return f"{score.score:.{digits}f} ± {score.half_width:.{digits}f}"


def _differences(evaluation: Evaluation) -> list[str]:
    if len(evaluation.releases) < 2:
        return []
    lines = [f"second release against the first (real: p < {SIGNIFICANT:g}, paired bootstrap):"]
    for pair in evaluation.pairs:
        first, second = pair.releases
        parts = []
        for metric, score in second.scores.items():
            difference = score.score - first.scores[metric].score
            verdict = "real" if is_real(second.scores, metric) else "may be chance"
            parts.append(f"{metric} {difference:+.3g}, p = {score.p_value:.3f}, {verdict}")
        lines.append(f"  {' to '.join(pair.pair)}: {'; '.join(parts)}")
    return lines


def _notes(evaluation: Evaluation) -> list[str]:
    notes = [
        f"{' to '.join(pair.pair)}: {pair.refused} texts are refused by a release and in no score"
        for pair in evaluation.pairs
        if pair.refused
    ]
    few = [" to ".join(pair.pair) for pair in evaluation.pairs if pair.texts < FEW_TEXTS]
    if few:
        notes.append(f"fewer than {FEW_TEXTS} texts, so the intervals are rough: {', '.join(few)}")
    if evaluation.skipped:
        left_out = ", ".join(f"{' to '.join(pair)} ({count})" for pair, count in evaluation.skipped.items())
        notes.append(f"left out, not translated here: {left_out}")
    return notes


def _pair_json(pair: PairEvaluation) -> dict[str, Any]:
    first = pair.releases[0].scores
    results = []
    for index, release in enumerate(pair.releases):
        metrics = {name: dataclasses.asdict(score) for name, score in release.scores.items()}
        if index:
            for name, score in release.scores.items():
                metrics[name]["difference"] = score.score - first[name].score
                metrics[name]["real"] = is_real(release.scores, name)
        results.append({"scores": metrics, "empty": release.empty, "unfinished": release.unfinished})
    return {
        "source": pair.pair[0],
        "target": pair.pair[1],
        "texts": pair.texts,
        "refused": pair.refused,
        "releases": results,
        "signatures": dict(pair.signatures),
    }
