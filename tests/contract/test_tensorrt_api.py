from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.tensorrt_api import (
    CACHE,
    DOORS,
    RELEASES,
    TensorRTRelease,
    find_faults,
    mutants,
    stub_names,
)
from tests.contract.tensorrt_bindings import Unreachable, make_stubs

OLD, MIDDLE, NEW = RELEASES
API, BUILD = DOORS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the bindings are read as ELF libraries"),
]


@pytest.fixture(scope="module")
def cache(pytestconfig: pytest.Config) -> Path:
    kept: pytest.Cache | None = getattr(pytestconfig, "cache", None)  # none with -p no:cacheprovider
    directory = kept.mkdir("tensorrt-bindings") if kept else CACHE
    for release in RELEASES:
        try:
            make_stubs(release.requirement, directory)
        except Unreachable as error:
            pytest.skip(f"bindings cannot be downloaded for this Python: {error}")
    return directory


CHANGES = (
    (BUILD, "set_memory_pool_limit(", "set_memory_pool_size(", {OLD, MIDDLE, NEW}),  # made up
    (BUILD, "ignore_mismatch=", "ignore_other=", {OLD, MIDDLE, NEW}),  # a made-up keyword
    (BUILD, "set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, ", "set_memory_pool_limit(", {OLD, MIDDLE, NEW}),
    (API, "device_memory_size_v2", "device_memory_size", {NEW}),  # gone in 11
    (API, "_without_device_memory()", "_without_device_memory(1)", {OLD}),  # only 8.6 goes there
    (API, "USER_MANAGED", "MANAGED", {MIDDLE, NEW}),  # only the newer ones go there
    (BUILD, "OBEY_PRECISION_CONSTRAINTS)", "OBEY_PRECISION_CONSTRAINT)", {OLD}),
    (BUILD, "CreationFlag.STRONGLY_TYPED", "CreationFlag.EXPLICIT_BATCH", {NEW}),  # gone in 11
    (BUILD, "    if api.strongly_typed:\n        return\n", "", {NEW}),  # layer.precision, gone in 11
)  # fmt: skip


@dataclass(frozen=True)
class Checked:
    """The doors and changed copies of them, checked by mypy against each release: once for all tests."""

    broken: list[Path]
    """One for each of :data:`CHANGES`."""
    misspelt: list[Path]
    """One for each use of a name of TensorRT's, which is another one there."""
    faults: dict[TensorRTRelease, list[str]]

    def refusing(self, path: Path) -> set[TensorRTRelease]:
        """The releases that a copy has faults against."""
        return {
            release
            for release, lines in self.faults.items()
            if any(path.name == Path(line.partition(":")[0]).name for line in lines)
        }


@pytest.fixture(scope="module")
def checked(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Checked:
    directory = tmp_path_factory.mktemp("changes")
    broken = [directory / f"broken_{number}.py" for number in range(len(CHANGES))]
    for path, (door, here, there, _) in zip(broken, CHANGES, strict=True):
        source = door.read_text(encoding="utf-8")
        assert source.count(here) >= 1, here
        path.write_text(source.replace(here, there), encoding="utf-8")
    stubs = [make_stubs(release.requirement, cache) / "tensorrt.pyi" for release in RELEASES]
    names = frozenset.union(*(stub_names(stub.read_text(encoding="utf-8")) for stub in stubs))
    misspelt = []
    for door in DOORS:
        for number, source in enumerate(mutants(door.read_text(encoding="utf-8"), names)):
            misspelt.append(directory / f"{door.stem}_{number}.py")
            misspelt[-1].write_text(source, encoding="utf-8")
    faults = {release: find_faults(release, cache, [*broken, *misspelt]) for release in RELEASES}
    return Checked(broken, misspelt, faults)


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_every_call_exists_in_every_release(checked: Checked, release: TensorRTRelease) -> None:
    changed = {path.name for path in (*checked.broken, *checked.misspelt)}
    assert [
        line for line in checked.faults[release] if Path(line.partition(":")[0]).name not in changed
    ] == []


@pytest.mark.parametrize("number", range(len(CHANGES)), ids=[there.strip() for _, _, there, _ in CHANGES])
def test_a_call_that_is_not_there_is_found(checked: Checked, number: int) -> None:
    assert checked.refusing(checked.broken[number]) == CHANGES[number][-1]


def test_nothing_is_hidden_from_the_check(checked: Checked) -> None:
    """Each use of a name of TensorRT's, misspelt, is found: by every release whose branch it stands in."""
    assert len(checked.misspelt) > 80
    for path in checked.misspelt:
        assert checked.refusing(path) in ({OLD}, {MIDDLE, NEW}, {OLD, MIDDLE, NEW}), _difference(path)


def _difference(path: Path) -> str:
    return next(line for line in path.read_text(encoding="utf-8").splitlines() if "_made_up" in line)
