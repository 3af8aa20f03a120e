"""Google's v2, DeepLX and Immersive Translate's custom API, and paths that several APIs share."""

from __future__ import annotations

import httpx
import pytest

from tests.transformer.apis.conftest import LAMP_ZH, SHIRT, SHIRT_ZH

GOOGLE = "/language/translate/v2"


def test_google_translates_as_many_texts_as_there_are(http: httpx.Client) -> None:
    body = {"q": [SHIRT, LAMP_ZH], "target": "zh", "format": "text"}
    assert http.post(GOOGLE, json=body).json() == {
        "data": {
            "translations": [
                {"translatedText": SHIRT_ZH, "detectedSourceLanguage": "en"},
                {"translatedText": LAMP_ZH, "detectedSourceLanguage": "zh"},
            ]
        }
    }


def test_googles_format_is_html_unless_told(http: httpx.Client) -> None:
    query = {"q": f"<b>{SHIRT}</b>", "target": "zh-CN", "source": "en", "key": "any"}
    answer = http.get(GOOGLE, params=query).json()
    assert answer == {"data": {"translations": [{"translatedText": f"<b>{SHIRT_ZH}</b>"}]}}


def test_google_lists_languages_and_detects(http: httpx.Client) -> None:
    assert http.get(f"{GOOGLE}/languages").json() == {
        "data": {"languages": [{"language": "en"}, {"language": "zh"}]}
    }
    named = http.get(f"{GOOGLE}/languages", params={"target": "en"}).json()
    assert named["data"]["languages"][0] == {"language": "en", "name": "English"}
    found = http.post(f"{GOOGLE}/detect", json={"q": [SHIRT, LAMP_ZH]}).json()["data"]["detections"]
    assert [(each["language"], each["isReliable"]) for (each,) in found] == [("en", True), ("zh", True)]


def test_googles_errors_have_its_form(http: httpx.Client) -> None:
    response = http.post(GOOGLE, json={"q": SHIRT, "target": "de"})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["status"], error["message"]) == (
        400,
        "INVALID_ARGUMENT",
        "Invalid Value: target",
    )


@pytest.mark.parametrize("path", ["/translate", "/deeplx/translate"])
def test_deeplx_translates_one_text(http: httpx.Client, path: str) -> None:
    body = {"text": SHIRT, "source_lang": "auto", "target_lang": "ZH"}
    answer = http.post(path, json=body).json()
    assert (answer["code"], answer["data"]) == (200, SHIRT_ZH)
    assert (answer["source_lang"], answer["target_lang"], answer["alternatives"]) == ("EN", "ZH", [])


def test_deeplxs_errors_have_its_form(http: httpx.Client) -> None:
    response = http.post("/translate", json={"text": "", "target_lang": "ZH"})
    assert (response.status_code, response.json()) == (400, {"code": 400, "message": "No text to translate"})


@pytest.mark.parametrize("path", ["/translate", "/immersive", "/immersive/translate"])
def test_immersive_translate_sends_a_list(http: httpx.Client, path: str) -> None:
    body = {"source_lang": "auto", "target_lang": "zh-CN", "text_list": [SHIRT, LAMP_ZH]}
    assert http.post(path, json=body).json() == {
        "translations": [
            {"detected_source_lang": "en", "text": SHIRT_ZH},
            {"detected_source_lang": "zh", "text": LAMP_ZH},
        ]
    }


def test_immersive_translates_placeholders_survive(http: httpx.Client) -> None:
    body = {
        "source_lang": "en",
        "target_lang": "zh",
        "text_list": [f"<b0>{SHIRT}</b0>", "Where is my order {0}?"],
    }
    first, second = http.post("/immersive", json=body).json()["translations"]
    assert first["text"] == f"<b0>{SHIRT_ZH}</b0>"
    assert second["text"] == "我的订单{0}在哪里？"


def test_immersives_errors_have_a_message(http: httpx.Client) -> None:
    response = http.post("/immersive", json={"target_lang": "xx", "text_list": ["a"]})
    assert response.status_code == 400
    assert response.json() == {"error": "target_lang is missing, or not a language of this server"}


def test_a_shared_path_with_no_known_fields_is_libretranslates(http: httpx.Client) -> None:
    assert http.post("/translate", json={"a": 1}).json() == {"error": "Invalid request: missing q parameter"}


def test_the_v2_protocol_is_as_before(http: httpx.Client) -> None:
    assert http.get("/v2/models/demo").json()["name"] == "demo"
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [SHIRT]}
    body = {"inputs": [tensor], "parameters": {"target": "zh"}}
    outputs = http.post("/v2/models/demo/infer", json=body).json()["outputs"]
    assert next(each["data"] for each in outputs if each["name"] == "translation") == [SHIRT_ZH]


def test_the_openapi_page_has_the_paths_of_all_apis(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    wanted = (
        "/translate",
        "/v2/translate",
        "/v1/chat/completions",
        GOOGLE,
        "/immersive",
        "/v2/glossaries/{id}",
    )
    assert set(wanted) <= set(paths)


def test_the_openapi_page_has_the_statuses_of_each_apis_errors(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]

    def statuses(path: str, method: str = "post") -> set[str]:
        return set(paths[path][method]["responses"])

    assert {"200", "403", "456", "503"} <= statuses("/v2/translate")
    assert "401" not in statuses("/v2/translate")
    assert {"200", "401", "404", "504"} <= statuses("/v1/chat/completions")
    assert {"201", "204"} <= statuses("/v2/glossaries") | statuses("/v2/glossaries/{id}", "delete")
    assert {"200", "401", "403", "500"} <= statuses("/translate")  # of three APIs
    (parameter,) = paths["/v2/glossaries/{id}"]["get"]["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("id", "path", True)
