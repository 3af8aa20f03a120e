from __future__ import annotations

from typing import NamedTuple

import pytest

from protocol.template_marks import faults_of_slots, filled_template, literal_parts, unknown_marks
from protocol.template_sections import present_sets, section_names, shown


class Named(NamedTuple):
    name: str
    prompt: str

    def name_in(self, language: str) -> str:
        return f"{self.name} in {language}"


ENGLISH, CHINESE = ("en", Named("English", "<en>")), ("zh", Named("Chinese", "<zh>"))
WHOLE = (
    "{#terms}Terms of {source_name}:\n{#term}{term} = {translation} ({target_code})\n{/term}\n{/terms}"
    "{#context}About: {context}\n{/context}{^context}Alone. {/context}"
    "{#formality}Style: {#formal}formal{/formal}{#informal}informal{/informal}.\n{/formality}"
    "Into {target}: {text}."
)


@pytest.mark.parametrize(
    ("present", "prompt"),
    [
        ((), "Alone. Into {target}: {text}."),
        (("context",), "About: {context}\nInto {target}: {text}."),
        (("formality", "informal"), "Alone. Style: informal.\nInto {target}: {text}."),
        (("terms",), "Terms of {source_name}:\n{terms}\nAlone. Into {target}: {text}."),
    ],
)
def test_sections_vanish_with_their_own_text(present: tuple[str, ...], prompt: str) -> None:
    assert shown(WHOLE, present) == prompt
    assert list(faults_of_slots(WHOLE)) == []


def test_every_choice_of_sections_is_listed_once() -> None:
    sets = list(present_sets(WHOLE))
    assert len(sets) == len(set(sets)) == 2 * 2 * 3
    assert list(present_sets("{text}")) == [frozenset()]
    assert list(present_sets("{#formal}x{/formal}{text}")) == [frozenset(), {"formality", "formal"}]


def test_names_are_filled_and_slots_are_kept_apart() -> None:
    filled = filled_template(WHOLE, ENGLISH, CHINESE, ("terms", "context"))
    assert filled.slots == ("terms", "context", "text")
    assert filled.literals == ("Terms of English:\n", "\nAbout: ", "\nInto <zh>: ", ".")
    lines = filled.term_lines([("{translation}", "{term}"), ("b", "c")])
    assert lines == "{translation} = {term} (zh)\nb = c (zh)\n"


def test_marks_of_sections_are_no_text_of_the_template() -> None:
    assert "{#context}" not in "".join(literal_parts(WHOLE))
    assert unknown_marks(WHOLE) == []
    assert unknown_marks("{terms} {text}") == ["terms"]
    assert section_names(WHOLE) == {"terms", "term", "context", "formality", "formal", "informal"}


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{#contex}{context}{/contex}{text}", r"unknown section \{#contex\}, did you mean context\?"),
        ("{#context}{context}{text}", r"has \{#context\} without its end, \{/context\}"),
        ("{text}{/context}", r"has \{/context\} without its beginning"),
        ("{#context}{#terms}{context}{/context}{/terms}{text}", "without its beginning: sections end in rev"),
        ("{#context}about it{/context}{text}", r"must hold \{context\} once within \{#context\}"),
        ("{context}{text}", r"must hold \{context\} once within \{#context\}, and nowhere else"),
        ("{#context}{context}{context}{/context}{text}", r"must hold \{context\} once"),
        ("{#terms}some{/terms}{text}", r"must hold \{#term\} once within \{#terms\}"),
        ("{#term}{term}{translation}{/term}{text}", r"\{#term\} outside of \{#terms\}"),
        ("{#terms}{^term}{term}{translation}{/term}{/terms}{text}", r"\{#term\} outside of \{#terms\}"),
        ("{#terms}{#term}{term}{/term}{/terms}{text}", r"lacks \{term\} or \{translation\}"),
        ("{#terms}{#term}{term}{translation}{#formal}x{/formal}{/term}{/terms}{text}", "a section within"),
        ("{term} {text}", r"must hold \{term\} and \{translation\} within \{#term\} alone"),
        ("{#formality}x{/formality}{text}", r"neither \{#formal\} nor \{#informal\}"),
        ("{#context}{context}{text}{/context}", r"must hold \{text\} exactly once, whatever sections"),
        ("{#context}{context}{text}{/context}{text}", r"must hold \{text\} exactly once"),
    ],
)
def test_a_template_whose_sections_do_not_fit_is_refused(template: str, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        raise AssertionError("; ".join(faults_of_slots(template)) or "no fault")
