"""requirements/*.txt against pyproject.toml, without asking an index: `scripts/lock --check` does that."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.images.test_dockerfile import PYPROJECT, ROOT

LOCKS = ("transformer", "predictor", "cpu", "test")


def _locked(path: Path) -> dict[str, set[Version]]:
    """Versions of each package, several where they differ by Python version."""
    versions: dict[str, set[Version]] = {}
    for name, version in re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", path.read_text(), re.MULTILINE
    ):
        versions.setdefault(_normal(name), set()).add(Version(version))
    return versions


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _wanted(extra: str) -> list[Requirement]:
    """What an extra asks for, with what the extras that it names ask for."""
    found = re.search(rf"^{extra} = \[(.*?)\]\s*(?:#.*)?$", PYPROJECT, re.MULTILINE | re.DOTALL)
    assert found, extra
    wanted: list[Requirement] = []
    for text in re.findall(r'"([^"]+)"', found[1]):
        requirement = Requirement(text)
        if requirement.name == "yiwen":
            wanted += [each for name in requirement.extras for each in _wanted(name)]
        else:
            wanted.append(requirement)
    return wanted


@pytest.mark.parametrize("extra", LOCKS)
def test_every_dependency_is_locked_in_a_version_that_is_allowed(extra: str) -> None:
    locked = _locked(ROOT / "requirements" / f"{extra}.txt")
    for requirement in [*_wanted("dependencies"), *_wanted(extra)]:
        versions = locked.get(_normal(requirement.name), set())
        assert versions, f"{requirement} is not in requirements/{extra}.txt: run scripts/lock"
        assert all(version in requirement.specifier for version in versions), requirement


@pytest.mark.parametrize("extra", LOCKS)
def test_every_package_has_hashes_and_no_index_is_named(extra: str) -> None:
    text = (ROOT / "requirements" / f"{extra}.txt").read_text()
    pins = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(pins) > 40
    assert all("--hash=sha256:" in pin for pin in pins)
    assert "://" not in text
