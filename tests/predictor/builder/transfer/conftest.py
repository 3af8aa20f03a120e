from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.predictor.builder.checkpoints import build
from tests.predictor.builder.transfer.docker_registry import RegistryServer, running_registry
from tests.releases import write_checkpoint


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with running_registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of some hundred kilobytes."""
    directory = tmp_path_factory.mktemp("release")
    build(write_checkpoint(directory / "checkpoint", hidden=96), directory / "release")
    (directory / "release" / "reports").mkdir(exist_ok=True)
    (directory / "release" / "reports" / "empty.txt").write_bytes(b"")
    return directory / "release"


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests may be logged in somewhere."""
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
