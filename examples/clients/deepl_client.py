"""DeepL's Python client against Yiwen: python deepl_client.py http://127.0.0.1:8080."""

from __future__ import annotations

import sys

import deepl


def listed(results: deepl.TextResult | list[deepl.TextResult]) -> list[deepl.TextResult]:
    """The results as a list, also of one text."""
    return results if isinstance(results, list) else [results]


def main(url: str) -> None:
    """Translate, list languages, use a glossary."""
    client = deepl.DeepLClient("any-key", server_url=url)
    (one,) = listed(client.translate_text("Blue cotton shirt", target_lang="ZH"))
    assert one.text == "蓝色纯棉衬衫", one.text
    assert one.detected_source_lang == "EN"
    assert one.billed_characters == 17
    two = client.translate_text(["Blue cotton shirt", "Desk lamp"], source_lang="EN", target_lang="ZH-HANS")
    assert [each.text for each in listed(two)] == ["蓝色纯棉衬衫", "台灯"]
    (html,) = listed(client.translate_text("<p>Blue cotton shirt</p>", target_lang="ZH", tag_handling="html"))
    assert html.text == "<p>蓝色纯棉衬衫</p>"
    assert {"EN", "ZH"} == {language.code for language in client.get_source_languages()}
    assert {"EN-GB", "EN-US", "ZH"} <= {language.code for language in client.get_target_languages()}
    assert client.get_usage().character.valid
    glossary = client.create_glossary("example", "EN", "ZH", {"shirt": "T恤"})
    (with_glossary,) = listed(client.translate_text_with_glossary("Blue cotton shirt", glossary))
    assert "T恤" in with_glossary.text
    assert client.get_glossary_entries(glossary) == {"shirt": "T恤"}
    client.delete_glossary(glossary)
    try:
        client.translate_text("Blue cotton shirt", target_lang="DE")
    except deepl.DeepLException as error:
        assert "target_lang" in str(error)
    else:
        raise AssertionError("German is not served")


if __name__ == "__main__":
    main(sys.argv[1])
