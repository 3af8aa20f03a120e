from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidRequest
from protocol.glossary import ReleaseGlossary, normalize_term
from protocol.messages import FinishReason, Glossary
from protocol.release_documents import ReleaseError
from transformer.generation.attempts import (
    MAX_RENDERINGS,
    second_attempts,
    translation_by_glossary,
)
from transformer.generation.item_keys import terms_digest
from transformer.texts.glossary import (
    NO_GLOSSARY,
    GlossaryConflictError,
    GlossaryIndex,
    GlossaryMatcher,
)
from transformer.texts.placeholders import masked_forms, protected_spans, unmask
from transformer.texts.preservation import changed_kinds
from transformer.texts.terms import Term, missing_terms
from transformer.texts.work_item import WorkItem, WorkResult

SECRET = "Mandrake"


def item(text: str, terms: Sequence[Term] = ()) -> WorkItem:
    return WorkItem(text, "en", "zh", tuple(terms))


def of(terms: dict[str, str] | None = None, keep: Sequence[str] = ()) -> Glossary:
    return Glossary(tuple((terms or {}).items()), tuple(keep))


def targets(glossaries: GlossaryMatcher, text: str, source: str = "en", target: str = "zh") -> list[str]:
    return [f"{term.text}={term.required_text}" for term in glossaries.terms(text, source, target)]


@pytest.mark.parametrize(
    ("glossary", "places"),
    [
        (Glossary((("a", "b"), ("c", "d"), ("a", "e"))), ("terms[0]", "terms[2]")),
        (of({"x": "y", SECRET: "曼德拉草"}, ["z", SECRET]), ("terms[1]", "keep[1]")),
        (of({f"{SECRET} shirt": "衬衫"}, [SECRET]), ("terms[0]", "keep[0]")),
        (of({f"{SECRET} shirt": "衬衫"}, [SECRET.lower()]), ("terms[0]", "keep[0]")),
        (of({f"买{SECRET}": "buy it"}, [SECRET]), ("terms[0]", "keep[0]")),
    ],
)
def test_entries_that_cannot_both_hold_are_named_by_their_places(
    glossary: Glossary, places: tuple[str, str]
) -> None:
    with pytest.raises(InvalidRequest, match="contradicts itself") as failure:
        NO_GLOSSARY.with_request(glossary)
    assert all(place in failure.value.message for place in places)
    assert SECRET.lower() not in failure.value.message.lower()


@pytest.mark.parametrize(
    "glossary",
    [
        Glossary((("a", "b"), ("a", "b")), ("c", "c")),
        of({"apple": "苹果", "Apple": "苹果公司"}),
        of({"apple": "苹果"}, ["Apple"]),
        of({"shirt": "衬衫", "T-shirt": "T恤"}, ["Acme Shirt"]),
        of({"Acme shirt": "Acme衬衫", "Acme": "Acme"}, ["Acme"]),
        of({"red blue": "红蓝", "blue green": "蓝绿"}),
    ],
)
def test_entries_that_may_both_hold_do(glossary: Glossary) -> None:
    assert GlossaryIndex.of(glossary).targets


def test_a_releases_that_contradicts_itself_is_refused_when_it_is_loaded() -> None:
    release = ReleaseGlossary({("en", "zh"): Glossary((("a", "b"), ("a", "c")))})
    with pytest.raises(ReleaseError, match=r"glossary.json, en to zh: terms\[0\] and terms\[1\]"):
        GlossaryMatcher.of_release(release)


def test_the_longest_entry_goes_first_and_a_kept_one_stays() -> None:
    glossaries = NO_GLOSSARY.with_request(of({"shirt": "衬衫", "blue shirt": "蓝衬衫"}, ["AcmeCorp"]))
    assert targets(glossaries, "A Blue shirt and a shirt of AcmeCorp") == [
        "Blue shirt=蓝衬衫",
        "shirt=衬衫",
        "AcmeCorp=AcmeCorp",
    ]


def test_a_releases_glossary_serves_its_pair_alone() -> None:
    glossaries = GlossaryMatcher.of_release(ReleaseGlossary({("en", "zh"): of({"shirt": "衬衫"})}))
    assert targets(glossaries, "a shirt") == ["shirt=衬衫"]
    assert targets(glossaries, "a shirt", "fr") == []


def test_a_requests_own_entries_go_before_the_releases_however_long() -> None:
    release = ReleaseGlossary(
        {("en", "zh"): of({"shirt": "衬衫", "blue acme shirt": "蓝衬衫", "Shoes": "鞋"})}
    )
    both = GlossaryMatcher.of_release(release).with_request(of({"Shirt": "衬衣", "shoes": "鞋子"}, ["acme"]))
    assert targets(both, "Shirt, shirt, blue acme shirt, Shoes") == [
        "Shirt=衬衣",
        "shirt=衬衫",
        "acme=acme",
        "shirt=衬衫",
        "Shoes=鞋子",
    ]
    assert targets(GlossaryMatcher.of_release(release), "blue acme shirt") == ["blue acme shirt=蓝衬衫"]


@pytest.mark.parametrize(
    ("text", "found", "placeholders"),
    [
        ("see https://acme.com/shirt", [], ["https://acme.com/shirt"]),
        ("mail shirt@acme.com", [], ["shirt@acme.com"]),
        ("a {shirt} of ${shirt}", [], ["{shirt}", "${shirt}"]),
        ("5 ml of KJ54 Pro", ["ml=毫升", "KJ54 Pro=KJ54 Pro"], ["5"]),
        ("12 ml", ["12 ml=一打毫升"], []),
        ("KJ54 and KJ54 Pro", ["KJ54 Pro=KJ54 Pro"], ["KJ54"]),
        ("SKU-48213", ["SKU-48213=货号"], []),
        ("48213 SKU", [], []),
    ],
)
def test_terms_and_placeholders_share_no_character(
    text: str, found: list[str], placeholders: list[str]
) -> None:
    entries = of(
        {"shirt": "衬衫", "acme": "顶点", "ml": "毫升", "12 ml": "一打毫升", "SKU-48213": "货号"},
        ["KJ54 Pro", "SKU-4"],
    )
    glossaries = NO_GLOSSARY.with_request(entries)
    terms = glossaries.terms(text, "en", "zh")
    assert targets(glossaries, text) == found
    assert [each.required_text for each in protected_spans(text, terms)] == placeholders


def test_masks_stand_for_placeholders_and_translations_together() -> None:
    text = "a shirt for {user} by AcmeCorp"
    terms = NO_GLOSSARY.with_request(of({"shirt": "衬衫"}, ["AcmeCorp"])).terms(text, "en", "zh")
    first = masked_forms(text, terms)[0]
    assert first.text == "a QX10 for QX11 by QX12"
    assert unmask("QX12给QX11的QX10", first) == "AcmeCorp给{user}的衬衫"
    assert not changed_kinds(text, "AcmeCorp给{user}的衬衫", terms)
    assert not missing_terms(terms, "AcmeCorp给{user}的衬衫")


def test_a_lost_term_asks_for_its_rendering_and_for_masks() -> None:
    terms = (Term(2, 7, "shirt", "衬衫"),)
    first = WorkResult("一件衬衣", 0.5, flags=("glossary",))
    rendering, *masked = second_attempts(item("a shirt", terms), first, is_limited=True)
    assert (rendering.text, rendering.rendering_of) == ("shirt", "shirt")
    assert [attempt.text for attempt in masked] == ["a QX10", "a 73910010"]
    assert masked[0].unmask("一件QX10") == "一件衬衫"
    assert masked[0].unmask("一件") is None


def test_renderings_are_asked_for_of_missing_terms_alone_and_of_few() -> None:
    def renderings(answer: str, count: int) -> list[str | None]:
        text = " ".join(f"t{number}" for number in range(count))
        entries = of({f"t{number}": f"译{number}。" for number in range(count)})
        terms = NO_GLOSSARY.with_request(entries).terms(text, "en", "zh")
        first = WorkResult(answer, 0.5, flags=("glossary",))
        attempts = second_attempts(item(text, terms), first, is_limited=False)
        return [each.rendering_of for each in attempts if each.rendering_of is not None]

    assert renderings("译1。", 3) == ["t0", "t2"]
    assert len(renderings("", MAX_RENDERINGS)) == MAX_RENDERINGS
    assert renderings("", MAX_RENDERINGS + 1) == []


def test_a_placeholder_that_is_lost_as_well_is_brought_back_by_masks_alone() -> None:
    terms = (Term(2, 7, "shirt", "衬衫"),)
    first = WorkResult("", 0.5, flags=("placeholder", "glossary"))
    attempts = second_attempts(item("a shirt {x}", terms), first, is_limited=False)
    assert [attempt.text for attempt in attempts] == ["a QX10 QX11", "a 73910010 73910011"]


def test_a_text_that_is_one_term_needs_no_model() -> None:
    entries = NO_GLOSSARY.with_request(of({"shirt": "衬衫"}, ["AcmeCorp"]))
    made = translation_by_glossary(item("Shirt!", entries.terms("Shirt!", "en", "zh")))
    assert made is not None
    assert (made.text, made.confidence, made.finish_reason, made.flags) == (
        "衬衫!",
        1.0,
        FinishReason.STOP,
        (),
    )
    for text in ("a shirt", "AcmeCorp shirt", "blouse"):
        assert translation_by_glossary(item(text, entries.terms(text, "en", "zh"))) is None


def test_a_digest_tells_apart_what_must_stand_and_where() -> None:
    lists = [
        [Term(0, 1, "a", "b")],
        [Term(0, 1, "a", "c")],
        [Term(0, 2, "a", "b")],
        [Term(1, 2, "a", "b")],
        [Term(0, 1, "b", None)],
        [Term(0, 1, "a", "b"), Term(2, 3, "a", "b")],
        [Term(0, 1, "a", "b 2 3 0 1 b")],
    ]
    digests = {terms_digest(terms) for terms in lists}
    assert len(digests) == len(lists)
    assert terms_digest(lists[0]) == terms_digest([Term(0, 1, "a", "b")])


words = st.text("abAB 衬", min_size=1, max_size=4).map(normalize_term).filter(bool)
glossaries = st.builds(
    Glossary,
    terms=st.lists(st.tuples(words, words), max_size=4).map(tuple),
    keep=st.lists(words, max_size=3).map(tuple),
)


@given(glossary=glossaries)
def test_a_contradiction_is_found_wherever_it_stands(glossary: Glossary) -> None:
    """One that is taken has one translation for each term, and none that loses what it keeps."""
    by_term: dict[str, set[str]] = {}
    for source, target in glossary.terms:
        by_term.setdefault(source, set()).add(target)
    two_targets = any(len(found) > 1 for found in by_term.values())
    loses = any(
        word == source and word not in target for word in glossary.keep for source, target in glossary.terms
    )
    try:
        GlossaryIndex.of(glossary)
    except GlossaryConflictError:
        return
    assert not two_targets
    assert not loses


@given(own=glossaries, text=st.lists(words | st.sampled_from(["{a}", "12 ml", "SKU-4821"]), max_size=6))
def test_what_holds_all_that_must_stand_passes(own: Glossary, text: list[str]) -> None:
    joined = normalize_term(" ".join(text))
    try:
        entries = NO_GLOSSARY.with_request(own)
    except InvalidRequest:
        return
    terms = entries.terms(joined, "en", "zh")
    assert [term.start for term in terms] == sorted(term.start for term in terms)
    assert all(joined[term.start : term.end] == term.text for term in terms)
    for masked in masked_forms(joined, terms):
        put = unmask(masked.text, masked)
        assert put is not None
        assert not changed_kinds(joined, put, terms)


def test_a_flood_of_placeholders_and_terms_takes_no_time() -> None:
    text = "{a} shirt 12 ml " * 5000
    entries = NO_GLOSSARY.with_request(of({"shirt": "衬衫", "ml": "毫升"}))
    started = time.thread_time()
    terms = entries.terms(text, "en", "zh")
    assert len(terms) == 10_000
    assert changed_kinds(text, "", terms)
    assert missing_terms(terms, "")
    assert masked_forms(text, terms) == []
    assert time.thread_time() - started < 5
