"""LibreTranslate's API, as its own tests and its Python client use it."""

from __future__ import annotations

import urllib.error
from typing import Any

import httpx
import pytest
from libretranslatepy import LibreTranslateAPI

from tests.e2e.conftest import Service
from tests.metric_samples import sample_sum
from tests.transformer.apis.conftest import LAMP_ZH, SHIRT, SHIRT_ZH

UNSURE = "Whimsical gizmo for grandmas"
"""The demo model may write it in several ways."""


@pytest.fixture
def client(demo: Service) -> LibreTranslateAPI:
    return LibreTranslateAPI(demo.url)


def test_the_client_translates(client: LibreTranslateAPI) -> None:
    assert client.translate(SHIRT, "en", "zh") == SHIRT_ZH


def test_the_client_translates_with_the_source_detected(client: LibreTranslateAPI) -> None:
    assert client.translate(SHIRT, "auto", "zh") == SHIRT_ZH


def test_the_client_detects(client: LibreTranslateAPI) -> None:
    assert client.detect(LAMP_ZH) == [{"confidence": 100.0, "language": "zh"}]


def test_the_client_lists_languages(client: LibreTranslateAPI) -> None:
    assert client.languages() == [
        {"code": "en", "name": "English", "targets": ["zh"]},
        {"code": "zh", "name": "Chinese", "targets": ["en"]},
    ]


def test_the_client_gets_a_400_for_a_language_that_is_not_served(client: LibreTranslateAPI) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        client.translate(SHIRT, "en", "es")
    assert caught.value.code == 400
    assert caught.value.read() == b'{"error":"es is not supported"}'
    caught.value.close()


QUERY = {"q": SHIRT, "source": "en", "target": "zh"}


@pytest.mark.parametrize("how", ["json", "data", "params", "files"])
def test_fields_come_as_json_form_query_or_multipart(http: httpx.Client, how: str) -> None:
    fields: Any = {name: (None, value) for name, value in QUERY.items()} if how == "files" else QUERY
    response = http.post("/translate", **{how: fields})
    assert response.status_code == 200
    assert response.json() == {"translatedText": SHIRT_ZH}


def test_an_array_has_one_detected_language_for_each_text(http: httpx.Client) -> None:
    body = {"q": [SHIRT, LAMP_ZH, "12 + 7"], "source": "auto", "target": "zh", "format": "html"}
    assert http.post("/translate", json=body).json() == {
        "translatedText": [SHIRT_ZH, LAMP_ZH, "12 + 7"],
        "detectedLanguage": [
            {"confidence": 100.0, "language": "en"},
            {"confidence": 100.0, "language": "zh"},
            {"confidence": 0.0, "language": "en"},
        ],
    }


def test_an_array_of_one_is_answered_with_an_array(http: httpx.Client) -> None:
    body = {"q": [SHIRT], "source": "en", "target": "zh"}
    assert http.post("/translate", json=body).json() == {"translatedText": [SHIRT_ZH]}


def test_alternatives_are_other_translations(http: httpx.Client) -> None:
    body = {"q": UNSURE, "source": "en", "target": "zh", "alternatives": 9}
    answer = http.post("/translate", json=body).json()
    others = answer["alternatives"]
    assert 1 <= len(others) <= 3
    assert len({answer["translatedText"], *others}) == 1 + len(others)
    batch = http.post("/translate", json={**body, "q": [UNSURE, "12"], "alternatives": 1}).json()
    assert batch["alternatives"] == [others[:1], []]
    assert "alternatives" not in http.post("/translate", json={**body, "alternatives": 0}).json()


def test_more_alternatives_than_a_request_may_have_texts_are_refused(http: httpx.Client) -> None:
    body = {"q": ["a"] * 400, "source": "en", "target": "zh", "alternatives": 3}
    response = http.post("/translate", json=body)
    assert response.status_code == 400
    assert response.json()["error"].startswith("Invalid request: 400 texts with 3 alternatives each")


def test_suggestions_are_off_unless_they_are_turned_on(http: httpx.Client) -> None:
    body = {"q": SHIRT, "s": SHIRT_ZH, "source": "en", "target": "zh"}
    response = http.post("/suggest", json=body)
    assert response.status_code == 403
    assert response.json() == {"error": "Suggestions are disabled on this server."}
    assert http.get("/frontend/settings").json()["suggestions"] is False


def test_markup_is_kept_in_html(http: httpx.Client) -> None:
    body = {"q": f"<p>{SHIRT}</p>", "source": "en", "target": "zh", "format": "html"}
    assert http.post("/translate", json=body).json() == {"translatedText": f"<p>{SHIRT_ZH}</p>"}


def test_lines_that_were_broken_for_width_may_be_joined(http: httpx.Client) -> None:
    fields = {"q": SHIRT.replace(" ", "\n"), "source": "en", "target": "zh", "join_lines": True}
    assert http.post("/translate", json=fields).json()["translatedText"] == SHIRT_ZH


def test_line_ends_of_forms_become_those_of_unix(http: httpx.Client) -> None:
    fields = {"q": f"{SHIRT}\r\n{SHIRT}", "source": "en", "target": "zh"}
    assert http.post("/translate", data=fields).json() == {"translatedText": f"{SHIRT_ZH}\n{SHIRT_ZH}"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"source": "en", "target": "zh"}, "Invalid request: missing q parameter"),
        ({"q": "", "source": "en", "target": "zh"}, "Invalid request: missing q parameter"),
        ({"q": [], "source": "en", "target": "zh"}, "Invalid request: missing q parameter"),
        ({"q": "a", "target": "zh"}, "Invalid request: missing source parameter"),
        ({"q": "a", "source": "en"}, "Invalid request: missing target parameter"),
        ({"q": "a", "source": "en", "target": "zz"}, "zz is not supported"),
        ({"q": "a", "source": "zz", "target": "en"}, "zz is not supported"),
        ({"q": "a", "source": "en", "target": "zh", "format": "pdf"}, "pdf format is not supported"),
        (
            {"q": "a", "source": "en", "target": "zh", "alternatives": "many"},
            "Invalid request: alternatives parameter is not a number",
        ),
    ],
)
def test_errors_have_its_words(http: httpx.Client, fields: dict[str, Any], words: str) -> None:
    response = http.post("/translate", json=fields)
    assert response.status_code == 400
    assert response.json() == {"error": words}


def test_a_body_that_is_no_object_is_refused(http: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    for body in ("[]", "{", '"text"'):
        response = http.post("/translate", content=body, headers=headers)
        assert response.status_code == 400
        assert response.json()["error"].startswith("Invalid JSON format")


def test_another_method_is_refused_with_405(http: httpx.Client) -> None:
    for method, path in (("POST", "/languages"), ("GET", "/detect"), ("POST", "/health"), ("POST", "/spec")):
        response = http.request(method, path)
        assert response.status_code == 405
        assert set(response.json()) == {"error"}


def test_pages_of_every_origin_may_call(http: httpx.Client) -> None:
    asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    preflight = http.options("/translate", headers=asked)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "*")
    assert http.get("/languages").headers["access-control-allow-origin"] == "*"


def test_health_settings_and_spec(http: httpx.Client) -> None:
    assert http.get("/health").json() == {"status": "ok"}
    settings = http.get("/frontend/settings").json()
    assert settings["language"]["source"] == {"code": "auto", "name": "Auto Detect"}
    assert set(settings) == {
        "charLimit", "frontendTimeout", "apiKeys", "keyRequired", "suggestions", "filesTranslation",
        "supportedFilesFormat", "language",
    }  # fmt: skip
    assert "/translate" in http.get("/spec").json()["paths"]


def test_requests_are_counted_by_api(http: httpx.Client) -> None:
    selector = 'yiwen_requests_total{api="libretranslate",endpoint="/languages",status="200",code="ok"}'

    def count() -> float:
        return sample_sum(http.get("/metrics").text, selector)

    before = count()
    http.get("/languages")
    assert count() == before + 1
