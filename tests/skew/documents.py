"""Which version's services read which version's releases, and what a refusal says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.skew.versions import Refused, Version


@dataclass(frozen=True)
class Reading:
    """One service on one release."""

    release: str
    component: str
    version: str
    refusal: str = ""
    """Empty: it was ready."""


def build_releases(directory: Path, old: Version, new: Version) -> dict[str, Path]:
    """The demo release of both versions, and the old checkpoint built by the new version."""
    return {
        "built by old": old.build(old.checkpoint, directory / "old"),
        "old's checkpoint, built by new": new.build(old.checkpoint, directory / "rebuilt"),
        "built by new": new.build(new.checkpoint, directory / "new"),
    }


def read_all(releases: dict[str, Path], versions: Sequence[Version]) -> Iterator[Reading]:
    """Start both services of each version on each release."""
    for name, release in releases.items():
        for version in versions:
            for component in ("predictor", "transformer"):
                yield _read(name, release, version, component)


def _read(name: str, release: Path, version: Version, component: str) -> Reading:
    settings = {"YIWEN_THREADS": "1"} if component == "predictor" else TRANSFORMER_ALONE
    if component == "transformer" and version.takes("YIWEN_READY_WITHOUT_PREDICTOR"):
        settings = {**settings, "YIWEN_READY_WITHOUT_PREDICTOR": "true"}
    try:
        with version.running(component, release, **settings):
            return Reading(name, component, version.name)
    except Refused as refusal:
        return Reading(name, component, version.name, str(refusal))


TRANSFORMER_ALONE = {"YIWEN_PREDICTOR_URL": "http://127.0.0.1:9"}
