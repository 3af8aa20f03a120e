"""chrF++ and BLEU of answers by sacrebleu, with 95 % intervals and p-values of differences by bootstrap.

The intervals are those of bootstrap resampling over texts, the p-values those of paired bootstrap resampling (Koehn,
2004), both as sacrebleu computes them. Its signatures say how: tokenizer, number of resamples, seed and version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest

RESAMPLES = 1000
SIGNIFICANT = 0.05
"""A difference with a smaller p-value counts as real."""

_BLEU_TOKENIZERS = {"zh": "zh"} | dict.fromkeys(("ja", "ko", "th", "lo", "km", "my", "yue", "bo"), "char")
"""By target language; sacrebleu's own choices for Japanese and Korean need a dictionary that it does not bring."""


@dataclass(frozen=True, slots=True)
class MetricScore:
    """One metric over the texts of one language pair."""

    score: float
    mean: float
    """Of the resamples."""
    half_width: float
    """Of the 95 % interval around ``mean``."""
    p_value: float | None
    """Probability of so large a difference from the first release by chance; None for the first one."""


def score_answers(
    answers: Sequence[Sequence[str]], references: Sequence[Sequence[str]], target: str
) -> tuple[list[dict[str, MetricScore]], dict[str, str]]:
    """chrF++ and BLEU of each release's answers, and the metrics' signatures.

    Args:
        answers: of each release, one per text.
        references: at least one per text.
        target: language of the answers, for BLEU's tokenizer.
    """
    names = [str(index) for index in range(len(answers))]
    columns: list[Any] = [list(column) for column in zip_longest(*references)]  # None: the text has fewer
    metrics: dict[str, Any] = {"chrF++": CHRF(word_order=2), "BLEU": BLEU(tokenize=bleu_tokenizer(target))}
    test = PairedTest(
        list(zip(names, answers, strict=True)), metrics, columns, test_type="bs", n_samples=RESAMPLES
    )
    signatures, found = test()
    scores: list[dict[str, MetricScore]] = [{} for _ in answers]
    keys = {"chrF++": "chrF2++", "BLEU": "BLEU"}  # sacrebleu's names of the two
    for name, key in keys.items():
        for index, result in enumerate(found[key]):
            scores[index][name] = _metric_score(result, found[key][0], first=index == 0)
    return scores, {name: str(signatures[key]) for name, key in keys.items()}


def score_segments(values: Sequence[Sequence[float]]) -> list[MetricScore]:
    """The mean of a metric that scores each text alone, with the same intervals and p-values.

    Args:
        values: of each release, one per text.
    """
    arrays = np.asarray(values, np.float64)
    drawn = np.random.default_rng(0).integers(0, arrays.shape[1], (RESAMPLES, arrays.shape[1]))
    resampled = arrays[:, drawn].mean(axis=2)  # [releases, RESAMPLES]
    scores = []
    for index, means in enumerate(resampled):
        low, high = np.quantile(means, (0.025, 0.975))
        difference = abs(arrays[index].mean() - arrays[0].mean())
        differences = np.abs(means - resampled[0])
        exceeded = int((differences - differences.mean() > difference).sum())
        p_value = 1.0 if difference == 0 else (exceeded + 1) / (RESAMPLES + 1)
        scores.append(
            MetricScore(
                float(arrays[index].mean()),
                float(means.mean()),
                float(high - low) / 2,
                p_value if index else None,
            )
        )
    return scores


def bleu_tokenizer(target: str) -> str:
    """Sacrebleu's name of the tokenizer for a target language."""
    return _BLEU_TOKENIZERS.get(target.split("-")[0].lower(), "13a")


def is_real(scores: Mapping[str, MetricScore], metric: str) -> bool:
    """Whether a release differs from the first one in ``metric`` by more than chance explains."""
    p_value = scores[metric].p_value
    return p_value is not None and p_value < SIGNIFICANT


def _metric_score(result: Any, baseline: Any, *, first: bool) -> MetricScore:  # noqa: ANN401 - sacrebleu's Result
    # sacrebleu gives equal answers its smallest p-value: no resample differs more than they do.
    same = not first and result.score == baseline.score
    p_value = None if first else 1.0 if same else float(result.p_value)
    return MetricScore(float(result.score), float(result.mean), float(result.ci), p_value)
