"""Fixtures of all tests, and the rule that nothing is skipped in silence."""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from httpx._transports import default
from hypothesis import HealthCheck, settings

MAY_SKIP = ("gpu", "cluster")
"""Markers of tests that need what a CI machine need not have; under CI every other skip is a failure."""

# The virtual environment's programs come first: scripts/setup may have put kubectl there.
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))

# httpx.get() reads all certificates of authorities for each call, 40 times what the rest of it takes; tests call it
# in loops that wait for servers.
setattr(default, "create_ssl_context", functools.cache(httpx.create_ssl_context))  # noqa: B010  # it is private

# How long examples take is the machine's load, which no test is about.
settings.register_profile("any load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any load")


@pytest.fixture(scope="session", autouse=True)
def _no_variables_of_tests_in_services() -> None:
    """Keep ``YIWEN_TEST_*``, which choose tests, from services: these refuse names that are no setting of theirs."""
    for name in [name for name in os.environ if name.startswith("YIWEN_TEST_")]:
        del os.environ[name]  # all were read when tests were collected


@pytest.fixture(scope="session")
def random_release_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of a small random Llama with a byte tokenizer: translates to noise, but exactly so."""
    from tests.releases import build_random_release  # the builder takes a second to import

    directory = tmp_path_factory.mktemp("releases")
    build_random_release(directory)
    return directory / "random"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave modules and tests, which stay to the end, out of what the garbage collector looks through for cycles.

    They are more than a million objects: each full collection would take half a second, and tests that measure the
    longest gap of an event loop would see it.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that all workers end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip under CI into a failure, unless the test has a marker of :data:`MAY_SKIP`."""
    report = yield
    marked = any(item.get_closest_marker(name) for name in MAY_SKIP)
    if os.environ.get("CI") and report.skipped and not marked and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = _refusal(report.longrepr)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself while it is imported, where no marker can be read."""
    report = yield
    if os.environ.get("CI") and report.skipped:
        report.outcome = "failed"
        report.longrepr = _refusal(report.longrepr)
    return report


def _refusal(reason: object) -> str:
    words = reason[2] if isinstance(reason, tuple) else reason
    return f"{words}\nUnder CI only tests marked {' or '.join(MAY_SKIP)} may be skipped: install what is missing."
