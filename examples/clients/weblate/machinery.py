"""Weblate's machinery classes for DeepL and LibreTranslate against Yiwen, without a Weblate server.

Weblate has a hundred dependencies, so it needs an environment of its own (Python 3.12 or later):

    pip install "weblate[postgres]"
    DJANGO_SETTINGS_MODULE=weblate.settings_example python machinery.py http://127.0.0.1:8080
"""

from __future__ import annotations

import sys
from typing import Any

import django
from django.conf import settings

SHIRT, SHIRT_ZH = "Blue cotton shirt", "蓝色纯棉衬衫"


def main(url: str) -> None:
    """Check languages, single texts, batches of twenty, placeholders and errors of both classes."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    django.setup()
    from weblate.machinery.deepl import DeepLTranslation
    from weblate.machinery.libretranslate import LibreTranslateTranslation

    libre = LibreTranslateTranslation({"url": f"{url}/", "key": ""})
    assert {"en", "zh"} <= set(libre.download_languages())
    assert libre.is_supported("en", libre.map_language_code("zh"))
    check_batches(libre, "en", "zh")

    deepl = DeepLTranslation({"url": f"{url}/v2/", "key": "any-key", "formality": "default"})
    assert ("EN", "ZH") in set(deepl.download_languages())
    assert deepl.is_supported("EN", deepl.map_language_code("zh"))
    check_batches(deepl, "EN", "ZH")
    placeholder = deepl.format_replacement(5, 9, "%(x)s", None)
    found = deepl.download_multiple_translations("EN", "ZH", [(f"{SHIRT} {placeholder}", None)])
    (answers,) = found.values()
    assert placeholder in answers[0]["text"], answers
    assert deepl.is_glossary_supported("EN", "ZH")
    deepl.create_glossary("EN", "ZH", "weblate:1:en:zh:1", "shirt\tT恤\n")
    glossary = deepl.list_glossaries()["weblate:1:en:zh:1"]
    deepl.delete_glossary(glossary)
    assert "weblate:1:en:zh:1" not in deepl.list_glossaries()
    try:
        deepl.download_multiple_translations("EN", "XX", [(SHIRT, None)])
    except Exception as error:  # noqa: BLE001  of which class depends on Weblate's version
        assert "target_lang" in deepl.get_error_message(error) or "400" in str(error), error
    else:
        raise AssertionError("XX is not served")


def check_batches(machinery: Any, source: str, target: str) -> None:
    """One text, and as many as Weblate sends at once."""
    (answers,) = machinery.download_multiple_translations(source, target, [(SHIRT, None)]).values()
    assert answers[0]["text"] == SHIRT_ZH, answers
    texts = [f"{SHIRT}, size {number}" for number in range(machinery.batch_size)]
    found = machinery.download_multiple_translations(source, target, [(text, None) for text in texts])
    assert list(found) == texts
    assert all(answers[0]["text"] for answers in found.values())


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
