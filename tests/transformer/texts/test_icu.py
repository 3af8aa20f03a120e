"""Messages of ICU MessageFormat: the syntax stays, branches are translated, and plurals are those of the target."""

from __future__ import annotations

import dataclasses
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.messages import CacheStatus, OnError, TextFormat, TranslateRequest, Translation
from protocol.translation_spec import Language, TranslationSpec
from transformer.errors import TooManyParts, UnusableMarkup
from transformer.texts.bounds import TextBounds
from transformer.texts.documents import translation_of, work_items
from transformer.texts.icu_syntax import (
    MAX_DEPTH,
    IcuArgument,
    IcuChoice,
    IcuLiteral,
    IcuMessage,
    parse_icu,
    quoted_literal,
)
from transformer.texts.languages import Languages
from transformer.texts.plural_categories import plural_categories
from transformer.texts.segments import split_request
from transformer.texts.work_item import WorkResult

LANGUAGES = {
    "ru": "Cyrl",
    "ar": "Arab",
    "de": "Latn",
    "zh-Hant": "Hant",
    "pl": "Latn",
    "fr": "Latn",
    "tlh": "Latn",
}


@pytest.fixture(scope="module")
def polyglot(spec: TranslationSpec) -> TranslationSpec:
    """A release that translates English into languages with all sorts of plurals."""
    others = {tag: Language(tag, tag, script) for tag, script in LANGUAGES.items()}
    pairs = (*spec.pairs, *(("en", tag) for tag in LANGUAGES))
    return dataclasses.replace(spec, languages={**spec.languages, **others}, pairs=pairs)


def shouted(text: str) -> str:
    """A translation that keeps what stands in braces."""
    return re.sub(r"\{[^{}]*\}|([^{}]+)", lambda found: (found[1] or "").upper() or found[0], text)


def translated(
    source: str, spec: TranslationSpec, target: str = "zh", answers: dict[str, str] | None = None
) -> Translation:
    """The answer of a model that writes capitals, but for ``answers``."""
    request = TranslateRequest((source,), ("en",), (target,), text_format=TextFormat.ICU)
    (document,) = split_request(request, Languages(spec), TextBounds(1_000))
    found = {
        item: WorkResult((answers or {}).get(item.text, shouted(item.text)), 1.0)
        for item in work_items([document])
    }
    return translation_of(document, found)


ITEMS = "{count, plural, =0 {no items} one {# item} other {# items}}"
TRANSLATED = [
    (ITEMS, "zh", "{count, plural, =0 {NO ITEMS} other {# ITEMS}}"),
    (ITEMS, "de", "{count, plural, =0 {NO ITEMS} one {# ITEM} other {# ITEMS}}"),
    (ITEMS, "ru", "{count, plural, =0 {NO ITEMS} one {# ITEM} few {# ITEMS} many {# ITEMS} other {# ITEMS}}"),
    (
        "{n,plural,one{a day}other{# days}}",
        "ar",
        "{n,plural,one{A DAY}zero{# DAYS}two{# DAYS}few{# DAYS}many{# DAYS}other{# DAYS}}",
    ),
    (ITEMS, "tlh", "{count, plural, =0 {NO ITEMS} one {# ITEM} other {# ITEMS}}"),
    ("{n, selectordinal, one {#st place} other {#th place}}", "de", "{n, selectordinal, other {#TH PLACE}}"),
    (
        "{n, selectordinal, one {#st} two {#nd} few {#rd} other {#th}}",
        "fr",
        "{n, selectordinal, one {#ST} other {#TH}}",
    ),
    (
        "{who, select, female {her book} other {their book}}",
        "ru",
        "{who, select, female {HER BOOK} other {THEIR BOOK}}",
    ),
    (
        "{n, plural, offset:1 =1 {just you} one {you and # guest} other {you and # guests}}",
        "zh",
        "{n, plural, offset:1 =1 {JUST YOU} other {YOU AND # GUESTS}}",
    ),
    (
        "{n, plural,\n  one {# file of {name}}\n  other {# files of {name}}\n}",
        "pl",
        "{n, plural,\n  one {# FILE OF {name}}\n  few {# FILES OF {name}}\n  many {# FILES OF {name}}"
        "\n  other {# FILES OF {name}}\n}",
    ),
    (
        "Dear {name}, you have {n, plural, one {# letter} other {# letters}} of {who, select, f {her} other {them}}.",
        "zh",
        "DEAR {name}, YOU HAVE {n, plural, other {# LETTERS}} OF {who, select, f {HER} other {THEM}}.",
    ),
    (
        "{g, select, f {{n, plural, one {her cat} other {her # cats}}} other {# cats}}",
        "zh",
        "{g, select, f {{n, plural, other {HER # CATS}}} other {# CATS}}",
    ),
    (
        "Since {day, date, ::yyyyMMdd} at {time, time, short}",
        "zh",
        "SINCE {day, date, ::yyyyMMdd} AT {time, time, short}",
    ),
    ("It's {name}'s. Don''t use '{'braces'}'!", "zh", "IT''S {name}''S. DON''T USE '{'braces'}'!"),
    ("It's {name}'s", "zh", "IT'S {name}'S"),
    ("{n, plural, one {Item '#'#} other {Items '#'#}}", "zh", "{n, plural, other {ITEMS '#'#}}"),
    ("No arguments. None at all.", "zh", "NO ARGUMENTS. NONE AT ALL."),
    ("{a} of {b}", "zh", "{a} OF {b}"),
    (
        "{count} of {count, plural, one {# page} other {# pages}}",
        "zh",
        "{count} OF {count, plural, other {# PAGES}}",
    ),
    ("# is a sign", "zh", "# IS A SIGN"),
]


@pytest.mark.parametrize(("source", "target", "wanted"), TRANSLATED)
def test_branches_are_translated_and_plurals_are_those_of_the_target(
    polyglot: TranslationSpec, source: str, target: str, wanted: str
) -> None:
    answer = translated(source, polyglot, target)
    assert (answer.text, answer.flags) == (wanted, ())
    parse_icu(answer.text)


@pytest.mark.parametrize("text", ["{name}", "{n, plural, one {#} other {#}}", "42 {n, number}", "", "  "])
def test_a_message_without_words_needs_no_model(polyglot: TranslationSpec, text: str) -> None:
    answer = translated(text, polyglot, "ru")
    assert (answer.text, answer.cache) == (text, CacheStatus.BYPASS)


def test_a_branch_that_lost_an_argument_keeps_its_source_and_is_flagged(polyglot: TranslationSpec) -> None:
    source = "{n, plural, one {# cat of {name}} other {# cats of {name}}} here"
    lost = {"{n} cats of {name}": "КОШКИ {n}"}
    answer = translated(source, polyglot, "ru", lost)
    assert answer.text == (
        "{n, plural, one {# CAT OF {name}} few {# cats of {name}} many {# cats of {name}}"
        " other {# cats of {name}}} HERE"
    )
    assert answer.flags == ("placeholder",)
    twice = {"{n} here": "{n} HERE {n}"}
    assert translated(source, polyglot, "ru", twice).text == source


def test_an_answer_may_put_arguments_in_another_order(polyglot: TranslationSpec) -> None:
    answer = translated("{a} of {b, number, integer}", polyglot, "zh", {"{a} of {b}": "{b}的{a}"})
    assert (answer.text, answer.flags) == ("{b, number, integer}的{a}", ())


def test_braces_that_the_model_invents_are_quoted(polyglot: TranslationSpec) -> None:
    answer = translated("A {name}", polyglot, "zh", {"A {name}": "l'{name} {x} '"})
    assert answer.text == "l''{name} '{'x'}' ''"
    assert [part.name for part in parse_icu(answer.text).parts if isinstance(part, IcuArgument)] == ["name"]


def test_apostrophes_beside_numbered_arguments_are_doubled_for_java(polyglot: TranslationSpec) -> None:
    assert translated("Hi {0}", polyglot, "fr", {"Hi {0}": "l'ami {0}"}).text == "l''ami {0}"


MALFORMED = [
    ("{", "line 1, column 1"),
    ("a\n b {n", "line 2, column 4"),
    ("}", "line 1, column 1"),
    ("{n, plural}", "line 1, column 11"),
    ("{n, plural, one {a}}", "no branch other"),
    ("{n, select, other {a}", "not closed"),
    ("{n, plural, other a}", "line 1, column 19"),
    ("{n, plural, other {a} other {b}}", "twice"),
    ("{ }", "line 1, column 3"),
    ("{a b}", "line 1, column 4"),
    ("{n, plural, other {a}}}", "line 1, column 23"),
    ("{n, plural, other {'}'}", "not closed"),
]


@pytest.mark.parametrize(("source", "where"), MALFORMED)
def test_a_malformed_message_is_refused_with_its_place(
    polyglot: TranslationSpec, source: str, where: str
) -> None:
    with pytest.raises(UnusableMarkup, match=where) as refused:
        translated(f"{source}", polyglot)
    assert refused.value.message.startswith("text 0: it is not well-formed icu: line ")


def test_one_malformed_message_leaves_the_others_alone(polyglot: TranslationSpec) -> None:
    request = TranslateRequest(
        ("{n", "a cat"), ("en",) * 2, ("zh",) * 2, text_format=TextFormat.ICU, on_error=OnError.PER_TEXT
    )
    first, second = split_request(request, Languages(polyglot), TextBounds(10))
    assert first.error is not None
    assert second.error is None
    assert [item.text for item in work_items([second])] == ["a cat"]


def test_deep_messages_are_refused_and_wide_ones_are_bounded(polyglot: TranslationSpec) -> None:
    deep = "{n, plural, other {word " * (MAX_DEPTH + 1) + "}}" * (MAX_DEPTH + 1)
    with pytest.raises(UnusableMarkup, match="nested"):
        translated(deep, polyglot)
    nested = "{n, plural, other {word " * MAX_DEPTH + "}}" * MAX_DEPTH
    started = time.process_time()
    with pytest.raises(TooManyParts):
        translated(nested * 20, polyglot, "ar")
    assert time.process_time() - started < 5


NAMES = st.sampled_from(["n", "name", "0", "用户", "user.id"])
LITERALS = st.text("abc '{}#.é字", max_size=8)


@st.composite
def messages(draw: st.DrawFn, depth: int = 2, in_plural: bool = False) -> str:
    """A well-formed message."""
    parts: list[str] = []
    for _ in range(draw(st.integers(0, 3))):
        literal = draw(LITERALS)
        parts.append(quoted_literal(literal, in_plural=in_plural, doubles=draw(st.booleans())))
        kind = draw(
            st.sampled_from(["simple", "styled", "plural", "select", "selectordinal"][: 5 if depth else 2])
        )
        name = draw(NAMES)
        if kind in ("simple", "styled"):
            parts.append(f"{{{name}}}" if kind == "simple" else f"{{ {name} , number, '{{'#0.0}}")
            continue
        counts = kind != "select"
        selectors = ["=0", "one", "few", "other"] if counts else ["f", "other"]
        branches = [
            f" {each} {{{draw(messages(depth=depth - 1, in_plural=counts or in_plural))}}}"
            for each in selectors
        ]
        parts.append(f"{{{name}, {kind},{''.join(branches)}}}")
    return "".join(parts)


def arguments(message: IcuMessage) -> set[str]:
    """Names and kinds of all arguments, at any depth."""
    found: set[str] = set()
    for part in message.parts:
        if isinstance(part, IcuArgument):
            found.add(part.name)
        elif isinstance(part, IcuChoice):
            found.add(f"{part.name} {part.kind}")
            found |= {each for branch in part.branches for each in arguments(branch.message)}
    return found


def selectors(message: IcuMessage) -> set[tuple[str, ...]]:
    """The selectors of all plurals, at any depth."""
    return {
        each
        for part in message.parts
        if isinstance(part, IcuChoice)
        for branch in part.branches
        for each in [
            *([tuple(each.selector for each in part.branches)] if part.kind == "plural" else []),
            *selectors(branch.message),
        ]
    }


@given(messages(), st.sampled_from(["zh", "ru", "de"]))
def test_any_message_keeps_its_arguments(polyglot: TranslationSpec, source: str, target: str) -> None:
    answer = translated(source, polyglot, target)
    wanted, found = parse_icu(source), parse_icu(answer.text)
    assert arguments(found) <= arguments(wanted)
    if answer.cache is CacheStatus.BYPASS:  # no branch of the target has words
        return
    assert not answer.flags
    for each in selectors(found):
        assert each in {("=0", "other"), ("=0", "one", "few", "many", "other"), ("=0", "one", "other")}
        assert set(each) - {"=0"} == set(plural_categories(target) or ())


@given(st.text("a'{}# é", max_size=8), st.booleans(), st.booleans())
def test_quoted_text_is_read_as_it_was(text: str, in_plural: bool, doubles: bool) -> None:
    written = quoted_literal(text, in_plural=in_plural, doubles=doubles)
    message = parse_icu(f"{{n, plural, other {{{written}{{x}}}}}}" if in_plural else f"{written}{{x}}")
    if in_plural:
        (choice,) = message.parts
        assert isinstance(choice, IcuChoice)
        message = choice.branches[0].message
    *literals, argument = message.parts
    assert isinstance(argument, IcuArgument)
    assert "".join(each.text for each in literals if isinstance(each, IcuLiteral)) == text


@given(st.text("{}'#, plural=0other", max_size=40))
def test_any_text_is_a_message_or_refused(text: str) -> None:
    try:
        message = parse_icu(text)
    except ValueError:
        return
    assert "".join(text[part.start : part.end] for part in message.parts) == text
