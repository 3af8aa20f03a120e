"""libretranslatepy and deep-translator against Yiwen: python libretranslate_client.py http://127.0.0.1:8080."""

from __future__ import annotations

import sys
import urllib.error

from deep_translator import DeeplTranslator, LibreTranslator
from libretranslatepy import LibreTranslateAPI


def main(url: str) -> None:
    """Translate, detect, list languages; the same with deep-translator's back ends."""
    client = LibreTranslateAPI(url)
    assert client.translate("Blue cotton shirt", "en", "zh") == "蓝色纯棉衬衫"
    assert client.translate("Blue cotton shirt", "auto", "zh") == "蓝色纯棉衬衫"
    assert client.translate("台灯 12瓦", "zh", "en") == "Desk Lamp, 12W"
    assert client.detect("台灯 12瓦")[0]["language"] == "zh"
    assert client.detect("Blue cotton shirt")[0]["confidence"] == 100.0
    assert [language["code"] for language in client.languages()] == ["en", "zh"]
    assert client.languages()[0]["targets"] == ["zh"]
    try:
        client.translate("Blue cotton shirt", "en", "xx")
    except urllib.error.HTTPError as error:
        assert error.code == 400
    else:
        raise AssertionError("xx is not served")
    libre = LibreTranslator(source="en", target="zh", custom_url=f"{url}/", api_key="any-key")
    assert libre.translate("Blue cotton shirt") == "蓝色纯棉衬衫"
    assert libre.translate_batch(["Blue cotton shirt", "Desk lamp"]) == ["蓝色纯棉衬衫", "台灯"]
    deepl = DeeplTranslator(source="en", target="chinese", api_key="any-key")
    deepl._base_url = f"{url}/v2/"  # it has no option for it
    assert deepl.translate("Blue cotton shirt") == "蓝色纯棉衬衫"


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
