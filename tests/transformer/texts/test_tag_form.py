"""Tags in the form that a release's model was trained on: read from its answer, or placed as in any other release."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.messages import TextFormat, TranslateRequest, Translation
from protocol.translation_spec import TagForm, TranslationSpec
from tests.transformer.texts.test_tag_placement import chinese
from transformer.generation.item_keys import key_of
from transformer.texts.bounds import TextBounds
from transformer.texts.documents import MOST_FOLLOW_UPS, follow_up_items, translation_of, work_items
from transformer.texts.languages import Languages
from transformer.texts.segments import split_request
from transformer.texts.work_item import WorkItem, WorkResult

PLAIN = TagForm("<sn>", "</sn>", "<target>", "</target>")
NUMBERED = TagForm("<t{number}>", "</t{number}>")


def asked_and_answered(
    source: str,
    spec: TranslationSpec,
    form: TagForm,
    answers: dict[str, str] | None = None,
    flagged: frozenset[str] = frozenset(),
    text_format: TextFormat = TextFormat.HTML,
) -> tuple[list[str], Translation]:
    """What a model is asked, and the answer if it translates word by word but for ``answers``."""
    request = TranslateRequest((source,), ("en",), ("zh",), text_format=text_format)
    languages = Languages(dataclasses.replace(spec, tags=form))
    documents = split_request(request, languages, TextBounds(1_000), fits=lambda text: len(text) < 200)
    found: dict[WorkItem, WorkResult] = {}
    items = work_items(documents)
    for _ in range(MOST_FOLLOW_UPS + 1):
        for item in items:
            words = "".join(
                piece if piece.startswith("<") else chinese(piece)
                for piece in re.split(r"(</?[a-z]+\d*>)", item.text)
            )
            answer = (answers or {}).get(item.text, words)
            found[item] = WorkResult(answer, 1.0, flags=("placeholder",) if item.text in flagged else ())
        items = follow_up_items(documents, found)
    assert not items
    return [item.text for item in found], translation_of(documents[0], found)


READ = [
    (PLAIN, "Red <b>cotton</b> shirt", "Red <sn>cotton</sn> shirt", "红色<b>纯棉</b>衬衫"),
    (
        PLAIN,
        "<b>Red</b> and <b>blue</b> shirt",
        "<sn>Red</sn> and <sn>blue</sn> shirt",
        "<b>红色</b>和<b>蓝色</b>衬衫",
    ),
    (
        NUMBERED,
        "Red <a href=x><i>cotton</i></a> <b>shirt</b>",
        "Red <t1><t2>cotton</t2></t1> <t3>shirt</t3>",
        "红色<a href=x><i>纯棉</i></a><b>衬衫</b>",
    ),
]


@pytest.mark.parametrize(("form", "source", "asked", "wanted"), READ)
def test_tags_of_an_answer_are_taken_as_they_are(
    spec: TranslationSpec, form: TagForm, source: str, asked: str, wanted: str
) -> None:
    texts, answer = asked_and_answered(source, spec, form)
    assert (answer.text, answer.flags) == (wanted, ())
    assert texts == [re.sub("<[^>]*>", "", source), asked]  # nothing else had to be asked


def test_numbered_tags_may_come_in_another_order(spec: TranslationSpec) -> None:
    source = "Red <b>cotton</b> <i>shirt</i>"
    answers = {"Red <t1>cotton</t1> <t2>shirt</t2>": "<t2>衬衫</t2>红色<t1>纯棉</t1>"}
    assert asked_and_answered(source, spec, NUMBERED, answers)[1].text == "<i>衬衫</i>红色<b>纯棉</b>"


BROKEN = [
    "红色纯棉衬衫", "红色<sn>纯棉衬衫", "红色纯棉</sn>衬衫", "红色<sn>纯棉</sn><sn>衬衫</sn>", "</sn>红色<sn>",
    "红色<sn></sn>衬衫", "",
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_an_answer_without_the_tags_is_not_used(spec: TranslationSpec, broken: str) -> None:
    asked, answer = asked_and_answered(
        "Red <b>cotton</b> shirt", spec, PLAIN, {"Red <sn>cotton</sn> shirt": broken}
    )
    assert (answer.text, answer.flags) == ("红色<b>纯棉</b>衬衫", ())
    assert asked[2:] == ["cotton"]


def test_a_flagged_answer_is_not_used_and_flags_nothing(spec: TranslationSpec) -> None:
    tagged = "Red <sn>cotton</sn> shirt"
    flagged = frozenset([tagged])
    answer = asked_and_answered(
        "Red <b>cotton</b> shirt", spec, PLAIN, {tagged: "天空<sn>纯棉</sn>"}, flagged
    )[1]
    assert (answer.text, answer.flags) == ("红色<b>纯棉</b>衬衫", ())


@pytest.mark.parametrize(
    ("form", "source"),
    [
        (PLAIN, "<b>Red</b> and <i>blue</i> shirt"),  # which is which could not be told
        (PLAIN, "Red <br/>cotton <img src=a>shirt"),
        (PLAIN, "Red &lt;sn&gt; <b>cotton</b> shirt"),
        (NUMBERED, "Red &lt;t7&gt; <b>cotton</b> shirt"),
        (PLAIN, "<b>Red cotton shirt</b>"),
        (PLAIN, "Red " * 60 + "<b>cotton</b>"),  # too long with its tags
        (NUMBERED, "Red <b>shirt. Blue</b> cotton"),
    ],
)
def test_what_the_form_cannot_say_is_placed(spec: TranslationSpec, form: TagForm, source: str) -> None:
    asked, answer = asked_and_answered(source, spec, form)
    assert not any("sn>" in text.replace("<sn> ", "") or "<t1>" in text for text in asked)
    assert re.findall("<[^>]*>", answer.text) == re.findall("<[^>]*>", source)


@given(st.text("红<sn>/t12 ", max_size=20))
def test_any_answer_leaves_each_tag_once(spec: TranslationSpec, answer: str) -> None:
    for form, asked in ((PLAIN, "Red <sn>cotton</sn> shirt"), (NUMBERED, "Red <t1>cotton</t1> shirt")):
        text = asked_and_answered("Red <b>cotton</b> shirt", spec, form, {asked: answer})[1].text
        assert re.findall("</?b>", text) == ["<b>", "</b>"]


def test_a_tagged_sentence_has_a_key_of_its_own(spec: TranslationSpec) -> None:
    item = WorkItem("Red <sn>cotton</sn>", "en", "zh")
    tagged = dataclasses.replace(item, is_tagged=True)
    assert key_of(item, "a") != key_of(tagged, "a")
