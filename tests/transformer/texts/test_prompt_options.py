from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import InvalidRequest
from protocol.messages import CacheStatus, Formality, Glossary, OnError, TranslateRequest
from protocol.prompt_errors import ContextTooLong
from protocol.translation_spec import TranslationSpec, load_translation_spec
from tests.transformer.release import TRANSLATION
from transformer.generation.attempts import first_attempt, second_attempts
from transformer.generation.item_keys import key_of
from transformer.texts.bounds import TextBounds
from transformer.texts.documents import Document, translation_of, work_items
from transformer.texts.languages import Languages
from transformer.texts.segments import split_request
from transformer.texts.work_item import WorkItem, WorkResult

SECTIONS = (
    "{source}{#context}{context}: {/context}{#terms}{#term}{term}={translation};{/term}{/terms}"
    "{#formal}formal {/formal}{text}{target}"
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> TranslationSpec:
    """From English there is a place for everything but less formal texts; from Chinese for nothing."""
    path: Path = tmp_path_factory.mktemp("spec") / "translation.json"
    plain = {"template": TRANSLATION["template"], "sources": ["zh"]}
    path.write_text(json.dumps(TRANSLATION | {"template": SECTIONS, "templates": [plain]}))
    return load_translation_spec(path)


def split(spec: TranslationSpec, *texts: str, target: str = "zh", **more: Any) -> list[Document]:
    request = TranslateRequest(texts, (None,) * len(texts), (target,) * len(texts), **more)
    return split_request(request, Languages(spec), TextBounds(100, max_context_bytes=1_000))


def item_of(spec: TranslationSpec, text: str = "Red shoes", **more: Any) -> WorkItem:
    (item,) = work_items(split(spec, text, **more))
    return item


def key(spec: TranslationSpec, **more: Any) -> bytes:
    return key_of(item_of(spec, **more), "release")


def test_context_and_formality_are_part_of_the_key_where_the_prompt_has_them(spec: TranslationSpec) -> None:
    plain = key(spec)
    keys = [
        key(spec, contexts=("A shop",)),
        key(spec, contexts=("A shelf",)),
        key(spec, formality=Formality.MORE),
        key(spec, contexts=("A shop",), formality=Formality.MORE),
    ]
    assert len({plain, *keys}) == 5
    assert key(spec, formality=Formality.PREFER_MORE) == keys[2]
    same: list[dict[str, Any]] = [{"contexts": ("",)}, {"contexts": (" \n",)}, {"formality": Formality.LESS}]
    assert {key(spec, **each) for each in same} == {plain}
    assert key(spec, contexts=(" A shop\r\n",)) == keys[0]


def test_a_context_keeps_its_lines(spec: TranslationSpec) -> None:
    assert item_of(spec, contexts=("\nTwo lines:\r\ncafe\u0301  x\n",)).context == "Two lines:\ncaf\u00e9  x"


def flags(spec: TranslationSpec, text: str, **more: Any) -> tuple[str, ...]:
    (document,) = split(spec, text, **more)
    results = {item: WorkResult("answer", 1.0, CacheStatus.HIT) for item in work_items([document])}
    return translation_of(document, results).flags


@pytest.mark.parametrize(
    ("text", "target", "more", "expected"),
    [
        ("Red shoes", "zh", {"contexts": ("A shop",), "formality": Formality.MORE}, ()),
        ("Red shoes", "zh", {"formality": Formality.LESS}, ("formality",)),
        ("Red shoes", "zh", {"formality": Formality.PREFER_LESS}, ()),
        ("红鞋", "en", {"contexts": ("A shop",), "formality": Formality.MORE}, ("context", "formality")),
        ("红鞋", "en", {"contexts": ("  ",), "formality": Formality.PREFER_MORE}, ()),
        ("红鞋。绿鞋。", "en", {"contexts": ("A shop",)}, ("context",)),
        ("12", "en", {"contexts": ("A shop",)}, ()),
    ],
)
def test_what_there_is_no_place_for_is_a_flag(
    spec: TranslationSpec, text: str, target: str, more: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert flags(spec, text, target=target, **more) == expected


def test_each_text_has_its_own_context(spec: TranslationSpec) -> None:
    items = work_items(split(spec, "Open", "Open", "Open", contexts=("A door", "A shop", "A door")))
    assert [item.context for item in items] == ["A door", "A shop"]
    with pytest.raises(InvalidRequest, match="texts and contexts must have the same length"):
        split(spec, "Open", contexts=("A door", "A shop"))


def test_a_context_that_is_too_long_concerns_its_text(spec: TranslationSpec) -> None:
    contexts = ("A door", "x" * 1_001)
    with pytest.raises(ContextTooLong, match="text 1: its context has 1001 bytes"):
        split(spec, "Open", "Close", contexts=contexts)
    documents = split(spec, "Open", "Close", contexts=contexts, on_error=OnError.PER_TEXT)
    assert [document.error is None for document in documents] == [True, False]
    assert split(spec, "开", target="en", contexts=("x" * 1_001,))[0].error is None


def test_terms_are_told_to_the_model_until_they_are_masked(spec: TranslationSpec) -> None:
    glossary = Glossary(terms=(("shoes", "鞋子"),), keep=("Acme",))
    item = item_of(
        spec, "Red shoes by Acme, shoes <<x>>", glossary=glossary, placeholders=("<<x>>",), contexts=("A",)
    )
    prompt = first_attempt(item).prompt
    assert prompt.terms == (("shoes", "鞋子"), ("Acme", "Acme"))
    assert prompt.context == "A"
    attempts = second_attempts(item, WorkResult("红鞋", 1.0, flags=("glossary",)), is_limited=False)
    asked_alone = [each.prompt for each in attempts if each.rendering_of is not None]
    masked = [each.prompt for each in attempts if each.masked is not None]
    assert asked_alone
    assert all((each.terms, each.context) == ((), "") for each in asked_alone)
    assert masked
    assert all((each.terms, each.context) == ((), "A") for each in masked)
    assert first_attempt(replace(item, terms=())).prompt.terms == ()
