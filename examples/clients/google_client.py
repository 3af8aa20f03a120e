"""Google's client of the Translation API v2 against Yiwen: python google_client.py http://127.0.0.1:8080."""

from __future__ import annotations

import sys

from google.api_core.exceptions import BadRequest
from google.auth.credentials import AnonymousCredentials
from google.cloud import translate_v2


def main(url: str) -> None:
    """Translate, detect, list languages."""
    client = translate_v2.Client(client_options={"api_endpoint": url}, credentials=AnonymousCredentials())
    one = client.translate("Blue cotton shirt", target_language="zh")
    assert one["translatedText"] == "蓝色纯棉衬衫", one
    assert one["detectedSourceLanguage"] == "en"
    assert one["input"] == "Blue cotton shirt"
    two = client.translate(["Blue cotton shirt", "Desk lamp"], target_language="zh-CN", source_language="en")
    assert [each["translatedText"] for each in two] == ["蓝色纯棉衬衫", "台灯"]
    html = client.translate("<p>Blue cotton shirt</p>", target_language="zh", format_="html")
    assert html["translatedText"] == "<p>蓝色纯棉衬衫</p>"
    plain = client.translate("Desk lamp", target_language="zh", format_="text", model="nmt")
    assert plain["model"] == "nmt"
    assert client.detect_language("台灯 12瓦")["language"] == "zh"
    found = client.detect_language(["Blue cotton shirt", "台灯 12瓦"])
    assert [each["language"] for each in found] == ["en", "zh"]
    assert all(each["confidence"] > 0.5 for each in found)
    languages = client.get_languages(target_language="en")
    assert languages == [{"language": "en", "name": "English"}, {"language": "zh", "name": "Chinese"}]
    try:
        client.translate("Blue cotton shirt", target_language="xx")
    except BadRequest as error:
        assert "target" in error.message
    else:
        raise AssertionError("xx is not served")


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
