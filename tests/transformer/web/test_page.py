"""The page at ``/`` in a real browser."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.e2e.conftest import Service
from tests.transformer.apis.conftest import SHIRT, SHIRT_ZH
from tests.transformer.web.browser import MESSAGE, OUTPUT, Page, value


def shown(page: Page, text: str) -> None:
    page.wait(f"{OUTPUT} === {text!r}")


def test_a_text_is_translated_while_one_types(page: Page) -> None:
    page.type(SHIRT)
    shown(page, SHIRT_ZH)
    page.wait("document.querySelector('#detected').textContent === 'detected: English'")
    page.wait("!document.querySelector('#confidence').hidden")
    assert float(page.evaluate("document.querySelector('#confidence-value').textContent")) > 0.5
    assert page.faults() == []


def test_a_translation_comes_in_pieces(page: Page) -> None:
    page.evaluate(
        "window.seen = new Set(); new MutationObserver(() => window.seen.add("
        f"{OUTPUT})).observe(document.querySelector('#output'), {{childList: true}})"
    )
    page.type(
        "Large green wooden desk lamp with a long cable. Where is my order 12345? Blue ceramic mug for tea."
    )
    page.wait(f"{OUTPUT}.endsWith('杯') || {OUTPUT}.includes('马克杯')")
    assert page.evaluate("window.seen.size") > 2


def test_only_the_last_of_quick_changes_is_asked_for(page: Page) -> None:
    page.evaluate(
        f"for (const letter of {SHIRT!r}) {{ document.querySelector('#input').value += letter;"
        "document.querySelector('#input').dispatchEvent(new Event('input')) }"
    )
    shown(page, SHIRT_ZH)
    assert sum("generate_stream" in url for url in page.requests()) == 1


def test_the_languages_are_swapped_with_their_texts(page: Page) -> None:
    page.evaluate("document.querySelector('#source').value = 'en'")
    page.type(SHIRT)
    shown(page, SHIRT_ZH)
    page.evaluate("document.querySelector('#swap').click()")
    page.wait(
        f"{value('#input')} === {SHIRT_ZH!r} && {value('#source')} === 'zh' && {value('#target')} === 'en'"
    )
    page.wait(f"{OUTPUT}.includes('Shirt')")


def test_a_language_that_is_not_served_is_said(page: Page) -> None:
    page.type("Это текст на русском языке")
    assert "its language is none of" in page.wait(MESSAGE)
    assert page.evaluate(OUTPUT) == ""


def test_an_error_is_shown_and_goes_away(page: Page, demo: Service) -> None:
    page.call(
        "Network.emulateNetworkConditions",
        offline=True,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )
    page.type(SHIRT)
    assert page.wait(MESSAGE)
    page.call(
        "Network.emulateNetworkConditions",
        offline=False,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )
    page.press("Enter", modifiers=2)
    shown(page, SHIRT_ZH)
    page.wait(f"({MESSAGE}) === ''")


def test_the_glossary_is_kept_to(page: Page) -> None:
    page.evaluate(
        "document.querySelector('#glossary').value = 'shirt = T恤';"
        "document.querySelector('#glossary').dispatchEvent(new Event('input'))"
    )
    page.type(SHIRT)
    page.wait(f"{OUTPUT}.includes('T恤')")
    page.evaluate("document.querySelector('#glossary').value = ''")


def test_escape_clears(page: Page) -> None:
    page.type(SHIRT)
    shown(page, SHIRT_ZH)
    page.press("Escape")
    shown(page, "")
    assert page.evaluate(value("#input")) == ""


def test_a_text_from_right_to_left_is_shown_so(page: Page) -> None:
    page.type("שלום")
    assert page.evaluate("getComputedStyle(document.querySelector('#input')).direction") == "rtl"


def test_dark_and_light_are_chosen_and_remembered(page: Page, demo: Service) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.evaluate("document.querySelector('#theme').click()")
    after = page.evaluate(ground)
    assert after != before
    page.open(f"{demo.url}/?again")
    assert page.evaluate(ground) == after
    page.evaluate("document.querySelector('#theme').click()")
    assert page.evaluate(ground) == before


def test_a_narrow_screen_has_one_column_and_no_scroll_bar(page: Page) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1, mobile=True)
    panes = "[...document.querySelectorAll('.pane')].map((pane) => pane.getBoundingClientRect())"
    assert page.evaluate(f"(([a, b]) => a.left === b.left && a.bottom <= b.top)({panes})")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_nothing_is_asked_of_another_host(page: Page, demo: Service) -> None:
    page.open(f"{demo.url}/?hosts")
    page.type(SHIRT)
    shown(page, SHIRT_ZH)
    urls = [url for url in page.requests() if not url.startswith(("data:", "blob:"))]
    assert len(urls) >= 5
    assert all(url.startswith(demo.url) for url in urls)


def test_the_pages_files_are_small_and_strictly_secured(http: httpx.Client) -> None:
    total = 0
    for path in ("/", "/web/page.css", "/web/page.js", "/web/icon.svg"):
        response = http.get(path, headers={"accept": "text/html,*/*"})
        assert response.status_code == 200
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        total += len(response.content)
        known = http.get(path, headers={"accept": "text/html", "if-none-match": response.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
    assert total < 60_000


def test_probes_of_the_root_get_json_as_before(http: httpx.Client) -> None:
    response = http.get("/")
    assert response.json() == {"status": "alive"}


def test_the_page_names_no_other_host() -> None:
    for file in (Path(__file__).parents[3] / "transformer" / "web").iterdir():
        if file.suffix in (".html", ".css", ".js"):
            assert "//" not in file.read_text(encoding="utf-8").replace("// ", "")
