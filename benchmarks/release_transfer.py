"""``python -m benchmarks.release_transfer``: seconds to push a release to a registry, and to pull it again.

The release is a small one whose ``weights.bin`` is replaced by random bytes of the size asked for. The registry is
Debian's docker-registry, on this machine. The release is removed after it was pushed, so that the disk holds it twice
at most.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from predictor.builder.commands import app
from protocol.command_line import run_app
from protocol.integrity import file_digest
from protocol.release import RELEASE_FILE, WEIGHTS_FILE, load_release, release_id
from tests.predictor.builder.transfer.docker_registry import running_registry
from tests.releases import build_random_release

_BLOCK: Final = 1 << 24
"""Bytes that are written at once."""
_SPARE: Final = 5_000_000_000
"""Bytes of the disk that are left to others."""


@dataclass(frozen=True, slots=True)
class TransferTimes:
    """Seconds of each command."""

    push: float
    push_again: float
    pull: float

    def markdown(self, gigabytes: float) -> str:
        """The row of the table."""
        seconds = (self.push, self.push_again, self.pull)
        return f"| {gigabytes:g} | {' | '.join(f'{each:.1f}' for each in seconds)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.release_transfer", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=14, help="of weights.bin (%(default)s)")
    parser.add_argument("--directory", type=Path, help="on the disk to use (that of temporary files)")
    options = parser.parse_args(arguments)
    with TemporaryDirectory(dir=options.directory) as name:
        directory, size = Path(name), int(options.gigabytes * 1e9)
        free = shutil.disk_usage(directory).free
        if free < 2 * size + _SPARE:
            parser.error(
                f"{directory} has {free / 1e9:.0f} GB free: {(2 * size + _SPARE) / 1e9:.0f} are needed"
            )
        times = measure(directory, size)
    print("| GB | push, s | push again, s | pull, s |", "|---|---|---|---|", sep="\n")
    print(times.markdown(options.gigabytes))
    return 0


def measure(directory: Path, size: int) -> TransferTimes:
    """Push a release twice and pull it.

    Args:
        directory: for the release and the registry's files.
        size: bytes of ``weights.bin``.
    """
    build_random_release(directory, name="release")
    release = directory / "release"
    write_weights(release, size)
    wanted = load_release(release).id
    with running_registry(directory) as registry:
        reference = f"{registry.host}/measured/release:1"
        push = _seconds("push", str(release), reference, "--plain-http")
        again = _seconds("push", str(release), reference, "--plain-http")
        shutil.rmtree(release)
        pull = _seconds("pull", reference, str(release), "--plain-http")
    if load_release(release).id != wanted or (release / WEIGHTS_FILE).stat().st_size != size:
        raise RuntimeError("another release was pulled than was pushed")
    return TransferTimes(push, again, pull)


def write_weights(release: Path, size: int) -> None:
    """Replace a release's weights by random bytes, no two blocks the same, and give it the id that belongs to them.

    Args:
        release: its directory.
        size: bytes.
    """
    block = np.random.default_rng(0).integers(0, 2**64, _BLOCK // 8, np.uint64)
    with (release / WEIGHTS_FILE).open("wb") as file:
        for number, start in enumerate(range(0, size, _BLOCK)):
            file.write((block ^ np.uint64(number)).tobytes()[: size - start])
    old = load_release(release)
    files = {**old.files, WEIGHTS_FILE: file_digest(release / WEIGHTS_FILE)}
    new = replace(old, files=files, id=release_id(files, old.precision))
    (release / RELEASE_FILE).write_text(json.dumps(new.to_json()), encoding="utf-8")


def _seconds(*arguments: str) -> float:
    """Seconds of ``yiwen release``, without the start of Python."""
    said = io.StringIO()
    begin = time.monotonic()
    with redirect_stdout(said), redirect_stderr(said):
        code = run_app(app, list(arguments), prog="release")
    if code:
        raise RuntimeError(f"release {arguments[0]} failed: {said.getvalue()}")
    return time.monotonic() - begin


if __name__ == "__main__":
    sys.exit(main())
