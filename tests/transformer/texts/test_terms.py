from __future__ import annotations

import itertools
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.texts.terms import (
    Term,
    TermIndex,
    missing_terms,
    overlapping,
    replace_renderings,
    without_terms,
)


def found(text: str, *terms: str, exact: bool = False) -> list[str]:
    index = TermIndex(terms, exact=[exact] * len(terms))
    return [text[each.start : each.end] for each in index.find(text)]


@pytest.mark.parametrize(
    ("term", "text", "places"),
    [
        ("shirt", "A Shirt, a SHIRT and a shirt", ["Shirt", "SHIRT", "shirt"]),
        ("Apple", "Apple sells no apple", ["Apple"]),
        ("IT", "it is IT", ["IT"]),
        ("art", "start artist art art's", ["art", "art"]),
        ("shirt", "T-shirt shirt_one shirts", ["shirt", "shirt"]),
        ("iphone 1", "iPhone 15, iPhone 1", ["iPhone 1"]),
        ("t shirt", "a T \n shirt", ["T \n shirt"]),
        ("衬衫", "蓝衬衫衬衫裙", ["衬衫", "衬衫"]),
        ("Acme", "买Acme的鞋", ["Acme"]),
        ("애플", "애플은 애플", ["애플", "애플"]),
        ("straße", "STRASSE Straße", ["Straße"]),
        ("ก", "กิ ก", ["ก"]),
        ("cafe", "cafe\u0323 cafe", ["cafe"]),
        ("c++", "C++ and c+++", ["C++", "c++"]),
        ("λόγος", "ΛΌΓΟΣ λόγος", ["ΛΌΓΟΣ", "λόγος"]),
        ("[", "a [b]", ["["]),
        ("a", "İa a", ["a"]),
    ],
)
def test_where_a_term_stands(term: str, text: str, places: list[str]) -> None:
    assert found(text, term) == places


def test_the_longest_goes_first_and_nothing_overlaps() -> None:
    assert found("blue shirt, shirt", "shirt", "blue shirt", "blue") == ["blue shirt", "shirt"]
    assert found("red blue green", "red blue", "blue green") == ["red blue"]
    assert found("blue shirts", "blue shirt", "blue") == ["blue"]


def test_what_is_written_alike_goes_before_what_matches_in_any_case() -> None:
    index = TermIndex(["apple", "Apple"])
    assert [each.number for each in index.find("Apple apple APPLE")] == [1, 0, 0]


def test_exact_terms_match_as_they_are_written_only() -> None:
    assert found("acme Acme", "acme", exact=True) == ["acme"]


def test_no_term_is_found_nowhere() -> None:
    assert found("a shirt") == []


letters = st.text("aAbB -é衬", max_size=12).map(lambda text: unicodedata.normalize("NFC", text))
words = st.text("aAbB é衬", min_size=1, max_size=4).map(lambda text: " ".join(text.split())).filter(bool)


@given(text=letters, terms=st.lists(words, min_size=1, max_size=5, unique=True))
def test_places_are_in_order_and_hold_their_terms(text: str, terms: list[str]) -> None:
    places = list(TermIndex(terms).find(text))
    assert all(one.end <= other.start for one, other in itertools.pairwise(places))
    for place in places:
        stands = " ".join(text[place.start : place.end].split())
        assert stands.casefold() == terms[place.number].casefold()


@given(before=st.text("a衬 -", max_size=4), term=words, after=st.text("a衬 -", max_size=4))
def test_a_term_between_spaces_is_always_found(before: str, term: str, after: str) -> None:
    text = f"{before} {term} {after}"
    assert term in [" ".join(place.split()) for place in found(text, term)]


def kept(text: str) -> Term:
    return Term(0, len(text), text, None)


def translated(text: str, target: str) -> Term:
    return Term(0, len(text), text, target)


@pytest.mark.parametrize(
    ("terms", "answer", "lacks"),
    [
        ([translated("衬衫", "shirt")], "Shirt, blue", False),
        ([translated("衬衫", "shirt")], "shirts", True),
        ([translated("衬衫", "shirt")] * 2, "a shirt", True),
        ([translated("衬衫", "Oxford")], "oxford", True),
        ([kept("acme")], "Acme", True),
        ([kept("Acme")], "买Acme", False),
        ([kept("Acme")], "AcmeCorp", True),
        ([kept("Acme \n Pro")], "Acme Pro", False),
        ([translated("a", "衬衫"), translated("b", "蓝衬衫")], "蓝衬衫", True),
        ([translated("a", "衬衫"), translated("b", "蓝衬衫")], "衬衫和蓝衬衫", False),
        ([], "", False),
    ],
)
def test_what_an_answer_does_not_hold_is_missing(terms: list[Term], answer: str, lacks: bool) -> None:
    assert bool(missing_terms(terms, answer)) is lacks


@pytest.mark.parametrize(
    ("terms", "answer", "renderings", "put"),
    [
        ([translated("mug", "缸子")], "蓝马克杯", {"mug": "马克杯"}, "蓝缸子"),
        ([translated("马克杯", "beaker")], "A Mug, blue", {"马克杯": "mug"}, "A beaker, blue"),
        ([translated("马克杯", "beaker")], "Mugs", {"马克杯": "Mug"}, None),
        ([kept("Mug")], "蓝马克杯", {"Mug": "马克杯"}, "蓝Mug"),
        ([translated("mug", "缸子")] * 2, "马克杯和马克杯", {"mug": "马克杯"}, "缸子和缸子"),
        ([translated("mug", "缸子")] * 2, "缸子和马克杯", {"mug": "马克杯"}, "缸子和缸子"),
        (
            [translated("mug", "高级马克杯")] * 2,
            "高级马克杯和马克杯",
            {"mug": "马克杯"},
            "高级马克杯和高级马克杯",
        ),
        ([translated("mug", "缸子")] * 2, "马克杯", {"mug": "马克杯"}, None),
        ([translated("mug", "缸子")], "马克杯和马克杯", {"mug": "马克杯"}, None),
        ([translated("mug", "缸子")], "蓝杯子", {"mug": "马克杯"}, None),
        ([translated("mug", "缸子")], "蓝杯子", {"mug": ""}, None),
        ([translated("mug", "缸子")], "蓝杯子", {}, None),
        ([translated("cup", "缸子")], "蓝杯", {"cup": "杯"}, None),
        (
            [translated("mug", "缸子"), translated("cup", "水杯")],
            "马克杯和茶杯",
            {"mug": "马克杯", "cup": "茶杯"},
            "缸子和水杯",
        ),
        (
            [translated("mug", "缸子"), translated("cup", "水杯")],
            "马克杯和水杯",
            {"mug": "马克杯", "cup": "茶杯"},
            "缸子和水杯",
        ),
        (
            [translated("mug", "缸子"), translated("cup", "水杯")],
            "杯子",
            {"mug": "杯子", "cup": "杯子"},
            None,
        ),
        (
            [translated("mug", "茶壶"), translated("teapot", "马克杯")],
            "马克杯和茶壶",
            {"mug": "马克杯", "teapot": "茶壶"},
            "马克杯和茶壶",
        ),
    ],
)
def test_a_term_takes_the_place_of_the_models_own_rendering(
    terms: list[Term], answer: str, renderings: dict[str, str], put: str | None
) -> None:
    assert replace_renderings(terms, answer, renderings) == put


RENDERINGS = {"a": "xx", "b": "xx yy", "c": "马克杯", "d": "杯子"}
TARGETS = {"a": "one", "b": "two three", "c": "茶壶", "d": "高级杯子"}


@given(st.lists(st.sampled_from(["0", *RENDERINGS]), max_size=8))
def test_every_missing_term_is_put_in_its_place(places: list[str]) -> None:
    terms = [translated(place, TARGETS[place]) for place in places if place in TARGETS]
    answer = ", ".join(RENDERINGS.get(place, place) for place in places)
    wanted = ", ".join(TARGETS.get(place, place) for place in places)
    assert replace_renderings(terms, answer, RENDERINGS) == wanted
    assert not missing_terms(terms, wanted)


def test_what_is_left_without_the_terms() -> None:
    assert without_terms([translated("a", "Acme Pro"), kept("x")], "买 Acme  Pro 的x") == "买  的"


def test_terms_that_touch_a_range() -> None:
    terms = [Term(start, start + 3, "abc", None) for start in (0, 5, 10)]
    assert [term.start for term in overlapping(terms, 3, 5)] == []
    assert [term.start for term in overlapping(terms, 2, 6)] == [0, 5]
    assert [term.start for term in overlapping(terms, 6, 11)] == [5, 10]
    assert overlapping([], 0, 9) == []


def test_many_terms_in_a_long_text_take_no_time() -> None:
    index = TermIndex([f"term {number}" for number in range(1000)])
    text = "a term 77 and another term 1001 " * 3000
    started = time.thread_time()
    assert sum(1 for _ in index.find(text)) == 3000
    assert time.thread_time() - started < 5
