"""The demo service, whose translations are known, for the tests of all public APIs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import httpx
import pytest

from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from tests.e2e.conftest import Service, running_service

CHECKPOINT = Path(__file__).parents[3] / "examples" / "demo_model" / "checkpoint"

SHIRT = "Blue cotton shirt"
SHIRT_ZH = "蓝色纯棉衬衫"
LAMP_ZH = "台灯 12瓦"
LAMP = "Desk Lamp, 12W"


@pytest.fixture(scope="session")
def demo_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("releases")
    request = BuildRequest(checkpoint=CHECKPOINT, out=directory / "demo", name="demo")
    build_release(request, built_at=datetime(2026, 1, 1, tzinfo=timezone.utc), reporter=SilentReporter())
    return directory / "demo"


@pytest.fixture(scope="session")
def demo(demo_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that leave it as they found it."""
    with running_service(demo_release, tmp_path_factory.mktemp("demo") / "log") as service:
        yield service


@pytest.fixture(scope="session")
def http(demo: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=demo.url, timeout=60) as client:
        yield client
