"""DeepL's codes for a release that has several variants of a language."""

from __future__ import annotations

from itertools import permutations

import pytest

from protocol.translation_spec import Language, TextLimits, TranslationSpec
from transformer.apis.deepl_glossaries import dictionary_for
from transformer.apis.deepl_languages import language_of, source_code, source_languages, target_languages
from transformer.apis.glossary_store import StoredGlossary
from transformer.apis.language_table import LanguageTable

SCRIPTS = {"en": "Latn", "pt-PT": "Latn", "pt-BR": "Latn", "zh-Hant": "Hant", "zh-Hans": "Hans"}


@pytest.fixture
def table() -> LanguageTable:
    return LanguageTable(
        TranslationSpec(
            template="{source}{text}{target}",
            languages={tag: Language(tag, f"<{tag}>", script) for tag, script in SCRIPTS.items()},
            pairs=tuple(permutations(SCRIPTS, 2)),
            stop_tokens=("<end>",),
            limits=TextLimits(90, 90, 2.0, 16),
        )
    )


def test_every_code_that_is_listed_is_accepted(table: LanguageTable) -> None:
    sources = [str(each["language"]) for each in source_languages(table)]
    assert sources == ["EN", "PT", "ZH"]
    assert [language_of(table, "source_lang", code) for code in sources] == ["en", "pt-PT", "zh-Hant"]
    targets = [str(each["language"]) for each in target_languages(table)]
    assert targets == ["EN-GB", "EN-US", "PT-PT", "PT-BR", "ZH-HANT", "ZH", "ZH-HANS"]
    found = [language_of(table, "target_lang", code.lower()) for code in targets]
    assert found == ["en", "en", "pt-PT", "pt-BR", "zh-Hant", "zh-Hans", "zh-Hans"]
    assert {source_code(tag) for tag in found} == set(sources)


def test_a_dictionary_is_for_all_variants_unless_one_has_its_own() -> None:
    one, other = {"a": "b"}, {"a": "c"}
    glossary = StoredGlossary("id", "", "name", "2026", {("en", "pt-PT"): one})
    assert dictionary_for(glossary, ("en", "pt-BR")) == one
    assert dictionary_for(glossary, ("pt-BR", "en")) is None
    both = StoredGlossary("id", "", "name", "2026", {("en", "pt-PT"): one, ("en", "pt-BR"): other})
    assert dictionary_for(both, ("en", "pt-BR")) == other
