"""The demo service of the tests of the public APIs, and a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Service
from tests.transformer.apis.conftest import demo, demo_release, http
from tests.transformer.web.browser import CHROMIUM, Page, chromium

__all__ = ["browser", "demo", "demo_release", "http", "page"]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def page(browser: Page, demo: Service) -> Page:
    """The page, opened anew."""
    browser.call("Emulation.clearDeviceMetricsOverride")
    browser.open(f"{demo.url}/?{id(object())}")
    browser.evaluate(
        "document.querySelector('#target').value = 'zh'; document.querySelector('#input').focus()"
    )
    browser.events.clear()
    return browser
