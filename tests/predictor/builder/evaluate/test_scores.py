from __future__ import annotations

import pytest
import sacrebleu

from predictor.builder.evaluate.scores import bleu_tokenizer, is_real, score_answers, score_segments

REFERENCES = [(f"the quick brown fox number {number} jumps over the lazy dog",) for number in range(60)]
GOOD = [reference for (reference,) in REFERENCES]
WORSE = [line.replace("quick", "slow") if number % 3 else line[:-9] for number, line in enumerate(GOOD)]


def test_scores_are_those_of_sacrebleu() -> None:
    (scores,), signatures = score_answers([WORSE], REFERENCES, "en")
    assert scores["chrF++"].score == sacrebleu.corpus_chrf(WORSE, [GOOD], word_order=2).score
    assert scores["BLEU"].score == sacrebleu.corpus_bleu(WORSE, [GOOD]).score
    assert all(score.p_value is None and score.half_width > 0 for score in scores.values())
    assert "tok:13a" in signatures["BLEU"]
    assert "nw:2" in signatures["chrF++"]


def test_a_worse_release_differs_for_real_and_an_equal_one_does_not() -> None:
    (_, worse), _ = score_answers([GOOD, WORSE], REFERENCES, "en")
    assert all(is_real(worse, metric) for metric in ("chrF++", "BLEU"))
    (_, same), _ = score_answers([WORSE, WORSE], REFERENCES, "en")
    assert [score.p_value for score in same.values()] == [1.0, 1.0]


def test_one_changed_text_of_many_may_be_chance() -> None:
    changed = [WORSE[0], *GOOD[1:]]
    mixed = [GOOD[0], WORSE[1], *GOOD[2:]]
    (_, other), _ = score_answers([changed, mixed], REFERENCES, "en")
    assert not is_real(other, "chrF++")


def test_texts_may_have_different_numbers_of_references() -> None:
    references = [(*each, WORSE[index]) if index % 2 else each for index, each in enumerate(REFERENCES)]
    (scores,), _ = score_answers([[WORSE[i] if i % 2 else GOOD[i] for i in range(60)]], references, "en")
    assert scores["chrF++"].score == 100


def test_chinese_and_japanese_are_cut_into_characters() -> None:
    assert [bleu_tokenizer(tag) for tag in ("zh-Hant", "ja", "th", "fr")] == ["zh", "char", "char", "13a"]


def test_scores_of_single_texts_are_averaged() -> None:
    first, worse, same = score_segments([[0.8, 0.9] * 40, [0.7, 0.8] * 40, [0.8, 0.9] * 40])
    assert first.score == pytest.approx(0.85)
    assert first.p_value is None
    assert 0.005 < first.half_width < 0.02
    assert worse.p_value is not None
    assert worse.p_value < 0.05
    assert same.p_value == 1.0
