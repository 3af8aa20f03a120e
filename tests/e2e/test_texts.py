"""Long and structured texts through the whole service, with the demo model: its answers are right or wrong."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.e2e.conftest import Service


def ask(service: Service, texts: list[str], **parameters: object) -> httpx.Response:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    body = {"inputs": [tensor], "parameters": parameters}
    return httpx.post(f"{service.url}/v2/models/demo/infer", json=body, timeout=60)


def outputs(answer: httpx.Response) -> dict[str, list[str]]:
    assert answer.status_code == 200, answer.text
    return {tensor["name"]: tensor["data"] for tensor in answer.json()["outputs"]}


@pytest.mark.parametrize(
    "kept",
    [
        "{name}",
        "%s",
        "%(n)d",
        "{{ brand }}",
        "${y}",
        "https://shop.example.com/a?b=1",
        "ask@shop.example.com",
        "SKU-48213",
    ],
)
def test_placeholders_survive_byte_for_byte(demo: Service, kept: str) -> None:
    answer = outputs(ask(demo, [f"Where is my order {kept}?", f"Blue Ceramic Mug for {kept}"], target="zh"))
    assert answer["translation"] == [f"我的订单{kept}在哪里？", f"适用于 {kept} 的蓝色陶瓷马克杯"]
    assert "flags" not in answer


def test_sentences_are_translated_each_on_its_own(demo: Service) -> None:
    texts = ["Where is my order 12345678?\n\nPlease send me the invoice for order 751324626.  "]
    assert outputs(ask(demo, texts, target="zh"))["translation"] == [
        "我的订单12345678在哪里？\n\n请把订单751324626的发票发给我。  "
    ]


def test_a_text_far_above_the_models_limit_is_translated_whole(demo: Service) -> None:
    (translation,) = outputs(ask(demo, ["Where is my order 12345678? " * 100], target="zh"))["translation"]
    assert translation == "我的订单12345678在哪里？ " * 100


def test_html_keeps_its_tags_in_place(demo: Service) -> None:
    page = '<p class="Mug">Set of 4 Ceramic Bowls</p>\r\n<script>"<b>Mug</b>"</script>&nbsp;<b>{name}</b>'
    (translation,) = outputs(ask(demo, [page], target="zh", format="html"))["translation"]
    assert translation == page.replace("Set of 4 Ceramic Bowls", "陶瓷碗4件套")


@pytest.mark.parametrize(
    ("text", "text_format", "says"),
    [("<a>Mug", "xml", "mismatched tag"), ("Mug", "pdf", "known are text, html, xml")],
)
def test_what_cannot_be_read_is_refused(demo: Service, text: str, text_format: str, says: str) -> None:
    answer = ask(demo, [text], target="zh", format=text_format)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


@pytest.mark.parametrize("budget", [1, 2, 3, 5])
def test_an_answer_that_is_cut_ends_without_half_of_a_character(demo: Service, budget: int) -> None:
    text = "When will the beer mug be back in stock?"
    parameters = {"target": "zh", "max_new_tokens": budget}
    answer = outputs(ask(demo, [text], **parameters))
    assert "length" in answer["flags"][0].split(",")
    body = {"text_input": text, "parameters": parameters}
    whole = httpx.post(f"{demo.url}/v2/models/demo/generate", json=body, timeout=60).json()["text_output"]
    stream = httpx.post(f"{demo.url}/v2/models/demo/generate_stream", json=body, timeout=60).text
    events = [
        json.loads(line.removeprefix("data:")) for line in stream.splitlines() if line.startswith("data:")
    ]
    written = "".join(event["text_output"] for event in events)
    assert answer["translation"] == [whole] == [written]
    assert "\ufffd" not in whole


def test_a_placeholder_flood_is_refused_by_its_length(demo: Service) -> None:
    answer = ask(demo, ["Mug " + "{a}" * 5_000], target="zh")
    assert answer.status_code == 413
    assert "tokens" in answer.json()["error"]


def test_a_placeholder_that_is_lost_is_flagged_and_not_cached(demo: Service) -> None:
    text = "{a} and {b} and {c} and {d} {e}"
    for _ in range(2):
        answer = outputs(ask(demo, [text, "Set of 4 Ceramic Bowls"], target="zh"))
        assert answer["flags"] == ["ratio,placeholder,number", ""]
        assert answer["cache"][0] == "miss"


@pytest.mark.parametrize(
    ("text", "glossary", "translation"),
    [
        ("Blue Ceramic Mug", {"terms": {"mug": "缸子"}}, "蓝色陶瓷缸子"),
        ("Blue Ceramic Mug", {"keep": ["Mug"]}, "蓝色陶瓷Mug"),
        ("Blue Ceramic Mug", {"terms": {"cup": "缸子"}, "keep": ["Cup"]}, "蓝色陶瓷马克杯"),
        ("MUG!", {"terms": {"mug": "缸子"}}, "缸子!"),
    ],
)
def test_a_glossary_decides_about_its_terms(
    demo: Service, text: str, glossary: dict[str, object], translation: str
) -> None:
    answer = outputs(ask(demo, [text], target="zh", glossary=json.dumps(glossary)))
    assert answer["translation"] == [translation]
    assert "flags" not in answer
    again = outputs(ask(demo, [text], target="zh", glossary=json.dumps(glossary)))
    assert (again["translation"], again["cache"]) == ([translation], ["hit"])


def test_a_term_that_the_model_loses_is_flagged_and_not_cached(demo: Service) -> None:
    glossary = json.dumps({"terms": {"order": "单子"}})
    for _ in range(2):
        answer = outputs(ask(demo, ["Where is my order 12345678?"], target="zh", glossary=glossary))
        assert answer["translation"] == ["我的订单12345678在哪里？"]
        assert (answer["flags"], answer["cache"]) == (["glossary"], ["miss"])
