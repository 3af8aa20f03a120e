"""The page at ``/`` where callers need keys: a transformer with keys, in front of a stand-in that echoes texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transformer.predictor_stand_in import serve
from tests.transformer.process import Transformer, running_transformer
from tests.transformer.streaming_stand_in import StreamingStandIn
from tests.transformer.web.browser import MESSAGE, OUTPUT, Page, value
from transformer.callers.key_file import ApiKey, KeyFile, format_keys, hash_key

KEY = "yw-page"
TEXT = "red shoes for women"


@pytest.fixture(scope="module")
def transformer(release_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transformer]:
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    key = ApiKey(id="page", sha256=hash_key(KEY), characters_per_month=2 * len(TEXT))
    keys.write_text(format_keys(KeyFile(keys=(key,))))
    with serve(StreamingStandIn()) as predictor:
        url = predictor.url.removeprefix("http://")
        settings = {"YIWEN_API_KEYS_FILE": str(keys)}
        with running_transformer(release_directory, url, settings=settings) as served:
            yield served


def type_into(page: Page, field: str, text: str) -> None:
    page.evaluate(f"{value(field)} = ''; document.querySelector('{field}').focus()")
    page.type(text)


def test_the_page_asks_for_a_key_sends_it_and_shows_when_its_quota_is_used_up(
    browser: Page, transformer: Transformer
) -> None:
    browser.open(f"{transformer.url}/")
    assert browser.evaluate("document.querySelector('#key').offsetParent !== null")
    browser.evaluate(f"{value('#target')} = 'zh'")
    type_into(browser, "#input", TEXT)
    assert browser.wait(f"({MESSAGE}).includes('no API key was sent')")
    type_into(browser, "#key", KEY)
    type_into(browser, "#input", TEXT)  # leaving the field has sent its change
    browser.wait(f"{OUTPUT} === '{TEXT}'")
    assert browser.evaluate(MESSAGE) == ""
    assert KEY not in browser.evaluate("document.documentElement.innerHTML + location.href")
    type_into(browser, "#input", TEXT + " and more")
    assert browser.wait(f"({MESSAGE}).includes('the quota of')")
    assert browser.evaluate(OUTPUT) == ""
