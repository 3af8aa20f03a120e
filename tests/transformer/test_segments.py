from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidRequest
from protocol.messages import TranslateRequest
from protocol.release import TranslationSpec
from transformer.errors import TooManyTexts, UnusableText
from transformer.languages import Languages
from transformer.segments import jobs_of, split_request, with_outer_space_of

SPACE = st.text(" \t\n\u3000\u00a0\u2003", max_size=4)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(str.strip)


@given(SPACE, WORDS.filter(bool), SPACE, WORDS)
def test_outer_white_space_is_put_back_exactly(lead: str, words: str, tail: str, translation: str) -> None:
    assert with_outer_space_of(lead + words + tail, translation) == lead + translation + tail


@given(SPACE, WORDS)
def test_white_space_alone_stays_as_it_is(space: str, translation: str) -> None:
    assert with_outer_space_of(space, translation) == space


def asking(*texts: str, source: str | None = "en", target: str = "zh") -> TranslateRequest:
    return TranslateRequest(texts, (source,) * len(texts), (target,) * len(texts))


def test_equal_texts_are_one_job_and_different_directions_are_two(spec: TranslationSpec) -> None:
    request = TranslateRequest(
        ("red shoes", " red shoes\n", "手机", "red shoes", "12"), (None,) * 5, ("zh", "zh", "en", "zh", "zh")
    )
    jobs = jobs_of(split_request(request, Languages(spec), 10))
    assert [[segment.index for segment in job.segments] for job in jobs] == [[0, 1, 3], [2]]


def test_a_jobs_key_depends_on_release_and_bound(spec: TranslationSpec) -> None:
    (job,) = jobs_of(split_request(asking("red shoes"), Languages(spec), 10))
    keys = {job.key("a", None), job.key("b", None), job.key("a", 16), job.key("a", 17)}
    assert len(keys) == 4
    assert job.key("a", 16) == job.key("a", 16)


def test_requests_that_cannot_be_taken_are_refused(spec: TranslationSpec) -> None:
    languages = Languages(spec)
    with pytest.raises(TooManyTexts, match="3 texts, at most 2"):
        split_request(asking("a", "b", "c"), languages, 2)
    with pytest.raises(UnusableText, match=r"text 1: .*surrogate"):
        split_request(asking("a", "b\ud800"), languages, 2)
    with pytest.raises(InvalidRequest, match="same length"):
        split_request(TranslateRequest(("a",), (None, None), ("zh",)), languages, 2)
