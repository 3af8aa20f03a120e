"""DeepL's API with its own Python client, and with deep-translator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import deepl
import httpx
import pytest
from deep_translator import DeeplTranslator
from deepl.api_data import MultilingualGlossaryDictionaryEntries
from deepl.util import convert_tsv_to_dict

from tests.e2e.conftest import Service
from tests.transformer.apis.conftest import LAMP, LAMP_ZH, SHIRT, SHIRT_ZH

UNKNOWN = "96ab91fd-e715-41a1-adeb-5d701f84a483"


@pytest.fixture(scope="module")
def client(demo: Service) -> Iterator[deepl.DeepLClient]:
    opened = deepl.DeepLClient("any-key", server_url=demo.url)
    yield opened
    opened.close()  # type: ignore[no-untyped-call]


def one(result: deepl.TextResult | list[deepl.TextResult]) -> deepl.TextResult:
    assert isinstance(result, deepl.TextResult)
    return result


def test_a_text_is_translated_with_its_source_detected(client: deepl.DeepLClient) -> None:
    result = one(client.translate_text(SHIRT, target_lang="ZH"))
    assert (result.text, result.detected_source_lang) == (SHIRT_ZH, "EN")
    assert result.billed_characters == len(SHIRT)


def test_texts_come_back_in_order(client: deepl.DeepLClient) -> None:
    results = client.translate_text([LAMP_ZH, "蓝色纯棉衬衫"], source_lang="ZH", target_lang="EN-US")
    assert isinstance(results, list)
    assert [each.text for each in results] == [LAMP, "Cotton Shirt, Blue"]


@pytest.mark.parametrize("code", ["ZH", "zh", "ZH-HANS", "zh-CN"])
def test_target_codes_have_variants_and_any_case(client: deepl.DeepLClient, code: str) -> None:
    assert one(client.translate_text(SHIRT, source_lang="EN", target_lang=code)).text == SHIRT_ZH


def test_html_is_kept(client: deepl.DeepLClient) -> None:
    text = f"<p>{SHIRT}</p>"
    result = one(client.translate_text(text, target_lang="ZH", tag_handling="html"))
    assert result.text == f"<p>{SHIRT_ZH}</p>"


@pytest.mark.parametrize(
    ("splitting", "wanted"),
    [
        (deepl.SplitSentences.NO_NEWLINES, SHIRT_ZH),
        (deepl.SplitSentences.ALL, "蓝色\n纯棉\n衬衫"),
    ],
)
def test_lines_that_were_broken_for_width_may_be_joined(
    client: deepl.DeepLClient, http: httpx.Client, splitting: deepl.SplitSentences, wanted: str
) -> None:
    text = SHIRT.replace(" ", "\n")
    result = one(client.translate_text(text, target_lang="ZH", split_sentences=splitting))
    lines = len(wanted.splitlines())
    assert len(result.text.splitlines()) == lines
    assert lines > 1 or result.text == wanted
    parameters = {"target": "zh", "join_lines": lines == 1}
    answer = http.post("/v2/models/demo/generate", json={"text_input": text, "parameters": parameters})
    assert answer.json()["usage"]["segments"] == lines


@pytest.mark.parametrize("off", ["0", 0, False])
def test_a_text_may_be_left_whole(http: httpx.Client, off: object) -> None:
    text = f"{SHIRT}. {SHIRT}."
    fields = {"text": [text], "target_lang": "ZH", "split_sentences": off}
    answer = http.post("/v2/translate", json=fields)
    assert answer.status_code == 200
    assert "x-yiwen-ignored" not in answer.headers
    parameters = {"target": "zh", "split_sentences": False}
    whole = http.post("/v2/models/demo/generate", json={"text_input": text, "parameters": parameters})
    assert whole.json()["usage"]["segments"] == 1
    assert whole.json()["text_output"] == answer.json()["translations"][0]["text"]


@pytest.mark.parametrize("handling", ["html", "xml"])
def test_what_is_in_an_ignored_tag_is_kept(client: deepl.DeepLClient, handling: str) -> None:
    text = f"<p>{SHIRT}</p><raw>{SHIRT}</raw><code>{SHIRT}</code>"
    result = one(
        client.translate_text(text, target_lang="ZH", tag_handling=handling, ignore_tags=["raw", "code"])
    )
    assert result.text == f"<p>{SHIRT_ZH}</p><raw>{SHIRT}</raw><code>{SHIRT}</code>"


def test_lists_of_tags_come_with_commas_too(http: httpx.Client) -> None:
    form = {"text": f"<raw>{SHIRT}</raw>", "target_lang": "ZH", "tag_handling": "xml", "ignore_tags": "x,raw"}
    response = http.post("/v2/translate", data=form)
    assert response.json()["translations"][0]["text"] == f"<raw>{SHIRT}</raw>"
    assert "x-yiwen-ignored" not in response.headers


def test_the_model_type_is_told(client: deepl.DeepLClient) -> None:
    result = one(client.translate_text(SHIRT, target_lang="ZH", model_type="prefer_quality_optimized"))
    assert result.model_type_used == "quality_optimized"


def test_a_language_that_is_not_served_is_refused(client: deepl.DeepLClient) -> None:
    with pytest.raises(deepl.DeepLException, match="Value for 'target_lang' not supported") as caught:
        client.translate_text(SHIRT, target_lang="DE")
    assert caught.value.http_status_code == 400


def test_languages_of_a_resource_are_listed_with_their_features(http: httpx.Client) -> None:
    def listed(resource: str) -> dict[str, Any]:
        answer = http.get("/v3/languages", params={"resource": resource})
        assert answer.status_code == 200
        return {each.pop("lang"): each for each in answer.json()}

    found = listed("translate_text")
    assert list(found) == ["en", "zh", "en-GB", "en-US", "zh-Hans"]
    stable = {"status": "stable"}
    both = {"glossary": stable, "tag_handling": stable, "auto_detection": stable}
    assert found["zh"] == {
        "name": "Chinese", "usable_as_source": True, "usable_as_target": True, "status": "stable", "features": both,
    }  # fmt: skip
    assert [found["en"]["usable_as_target"], found["en-GB"]["usable_as_source"]] == [False, False]
    assert listed("glossary") == found
    assert listed("write") == {}
    for params in ({}, {"resource": "coffee"}):
        assert http.get("/v3/languages", params=params).status_code == 400


def test_languages_are_listed(client: deepl.DeepLClient) -> None:
    assert [(each.code, each.name) for each in client.get_source_languages()] == [
        ("EN", "English"),
        ("ZH", "Chinese"),
    ]
    targets = client.get_target_languages()
    assert [each.code for each in targets] == ["EN-GB", "EN-US", "ZH", "ZH-HANS"]
    assert [each.supports_formality for each in targets] == [False] * 4


def test_usage_is_told(client: deepl.DeepLClient) -> None:
    usage = client.get_usage()
    assert usage.character.valid
    assert not usage.any_limit_reached


def test_a_glossary_is_created_used_listed_and_deleted(client: deepl.DeepLClient) -> None:
    entries = {"shirt": "T恤", "never there": "无"}
    glossary = client.create_glossary("shop", "EN", "ZH", entries)
    assert (glossary.name, glossary.source_lang, glossary.target_lang) == ("shop", "EN", "ZH")
    assert (glossary.entry_count, glossary.ready) == (2, True)
    assert client.get_glossary(glossary.glossary_id).creation_time == glossary.creation_time
    assert client.get_glossary_entries(glossary) == entries
    assert glossary.glossary_id in [each.glossary_id for each in client.list_glossaries()]
    result = one(client.translate_text(SHIRT, source_lang="EN", target_lang="ZH", glossary=glossary))
    assert "T恤" in result.text
    client.delete_glossary(glossary)
    with pytest.raises(deepl.GlossaryNotFoundException):
        client.get_glossary(glossary.glossary_id)
    with pytest.raises(deepl.DeepLException):
        client.translate_text(SHIRT, source_lang="EN", target_lang="ZH", glossary=glossary.glossary_id)


def test_a_glossary_from_csv_may_have_quotes_and_language_columns(client: deepl.DeepLClient) -> None:
    glossary = client.create_glossary_from_csv("csv", "EN", "ZH", 'lamp,灯,en,zh\n"a ""b""","甲,乙",en,zh')
    assert client.get_glossary_entries(glossary) == {"lamp": "灯", 'a "b"': "甲,乙"}
    client.delete_glossary(glossary)


def test_glossaries_have_language_pairs(client: deepl.DeepLClient) -> None:
    pairs = [(pair.source_lang.upper(), pair.target_lang.upper()) for pair in client.get_glossary_languages()]
    assert pairs == [("EN", "ZH"), ("ZH", "EN")]


def test_a_glossary_for_a_pair_that_is_not_served_is_refused(client: deepl.DeepLClient) -> None:
    with pytest.raises(deepl.DeepLException):
        client.create_glossary("shop", "EN", "XX", {"shirt": "T恤"})


def test_glossaries_of_version_3_have_dictionaries(client: deepl.DeepLClient) -> None:
    def dictionary(
        source: str, target: str, entries: dict[str, str]
    ) -> MultilingualGlossaryDictionaryEntries:
        return MultilingualGlossaryDictionaryEntries(source, target, entries)

    first = dictionary("EN", "ZH", {"shirt": "衫"})
    second = dictionary("ZH", "EN", {"衫": "shirt"})
    glossary = client.create_multilingual_glossary("both", [first, second])
    assert [(each.source_lang, each.entry_count) for each in glossary.dictionaries] == [("EN", 1), ("ZH", 1)]
    changed = client.update_multilingual_glossary_dictionary(
        glossary, dictionary("EN", "ZH", {"shirt": "T恤", "lamp": "灯"})
    )
    assert [each.entry_count for each in changed.dictionaries] == [2, 1]
    assert client.update_multilingual_glossary_name(glossary, "renamed").name == "renamed"
    read = client.get_multilingual_glossary_entries(glossary, "EN", "ZH").dictionaries[0]
    assert convert_tsv_to_dict(str(read.entries)) == {"shirt": "T恤", "lamp": "灯"}
    client.replace_multilingual_glossary_dictionary(glossary, dictionary("EN", "ZH", {"desk": "桌"}))
    client.delete_multilingual_glossary_dictionary(glossary, source_lang="ZH", target_lang="EN")
    (left,) = client.get_multilingual_glossary(glossary.glossary_id).dictionaries
    assert (left.source_lang, left.entry_count) == ("EN", 1)
    assert glossary.glossary_id in [each.glossary_id for each in client.list_multilingual_glossaries()]
    client.delete_multilingual_glossary(glossary)
    with pytest.raises(deepl.GlossaryNotFoundException):
        client.get_multilingual_glossary(UNKNOWN)


@pytest.mark.parametrize("notation", ["dictionaries[{}].{}", "dictionaries[{}][{}]"])
def test_dictionaries_are_read_from_forms(http: httpx.Client, notation: str) -> None:
    sent = [("en", "zh", "shirt,T恤", "csv"), ("zh", "en", "灯\tlight", "tsv")]

    def form(number: int, dictionary: tuple[str, ...]) -> dict[str, str]:
        names = ("source_lang", "target_lang", "entries", "entries_format")
        return {notation.format(number, name): value for name, value in zip(names, dictionary, strict=True)}

    glossary = http.post(
        "/v3/glossaries", data={"name": "both", **form(0, sent[0]), **form(1, sent[1])}
    ).json()
    counts = [(each["source_lang"], each["entry_count"]) for each in glossary["dictionaries"]]
    assert counts == [("en", 1), ("zh", 1)]
    path = f"/v3/glossaries/{glossary['glossary_id']}"
    changed = http.patch(path, data=form(0, sent[1])).json()
    assert changed["dictionaries"] == glossary["dictionaries"]
    entries = http.get(f"{path}/entries", params={"source_lang": "zh", "target_lang": "en"}).json()
    assert entries["dictionaries"][0]["entries"] == "灯\tlight"
    assert http.delete(path).status_code == 204


def test_a_glossary_may_have_no_dictionary(http: httpx.Client) -> None:
    created = http.post("/v3/glossaries", data={"name": "empty"})
    assert (created.status_code, created.json()["dictionaries"]) == (201, [])
    glossary_id = created.json()["glossary_id"]
    assert http.get(f"/v2/glossaries/{glossary_id}").json()["entry_count"] == 0
    assert http.get(f"/v2/glossaries/{glossary_id}/entries").text == ""
    fields = {"text": SHIRT, "source_lang": "EN", "target_lang": "ZH", "glossary_id": glossary_id}
    assert http.post("/v2/translate", data=fields).status_code == 400
    assert http.delete(f"/v3/glossaries/{glossary_id}").status_code == 204


def test_forms_of_other_clients_are_read(http: httpx.Client) -> None:
    form = {"text": [SHIRT, LAMP_ZH], "target_lang": "ZH", "preserve_formatting": "1"}
    answer = http.post("/v2/translate", data=form).json()
    assert [each["text"] for each in answer["translations"]] == [SHIRT_ZH, LAMP_ZH]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"target_lang": "ZH"}, "Parameter 'text' not specified."),
        ({"text": ["a"]}, "Parameter 'target_lang' not specified."),
        ({"text": ["a"], "target_lang": "ZH", "source_lang": "XX"}, "Value for 'source_lang' not supported."),
        (
            {"text": ["a"], "target_lang": "ZH", "tag_handling": "rtf"},
            "Value for 'tag_handling' not supported.",
        ),
        ({"text": ["a"], "target_lang": "ZH", "model_type": "best"}, "Value for 'model_type' not supported."),
        (
            {"text": ["a"], "target_lang": "ZH", "glossary_id": UNKNOWN},
            "Use of a glossary requires the source_lang parameter to be specified.",
        ),
        (
            {"text": ["a"], "target_lang": "ZH", "style_id": "x"},
            "Parameter 'style_id' is not supported by this server.",
        ),
    ],
)
def test_wrong_requests_get_400_and_a_message(http: httpx.Client, fields: dict[str, Any], words: str) -> None:
    response = http.post("/v2/translate", json=fields)
    assert (response.status_code, response.json()) == (400, {"message": words})


def test_parameters_without_effect_are_named_in_a_header(http: httpx.Client) -> None:
    body = {
        "text": [SHIRT],
        "target_lang": "ZH",
        "custom_instructions": ["be brief"],
        "debug": "1",
        "x y": "1",
    }
    response = http.post("/v2/translate", json=body)
    assert response.headers["x-yiwen-ignored"] == "custom_instructions, debug"


def test_an_unknown_path_is_404(http: httpx.Client) -> None:
    assert http.get("/v2/write/rephrase").status_code == 404
    assert http.get(f"/v2/glossaries/{UNKNOWN}").json() == {"message": "No glossary found for the given id."}


@pytest.fixture
def translator(demo: Service) -> DeeplTranslator:
    made = DeeplTranslator(source="en", target="chinese", api_key="any-key")
    made._base_url = f"{demo.url}/v2/"
    return made


def test_deep_translator_asks_with_get_and_a_query(translator: DeeplTranslator) -> None:
    assert translator.translate(SHIRT) == SHIRT_ZH
    assert translator.translate_batch([SHIRT, SHIRT]) == [SHIRT_ZH, SHIRT_ZH]
