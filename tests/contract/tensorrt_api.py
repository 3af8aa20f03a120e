"""Whether every call to TensorRT exists in every release it is meant for: no call to something gone can hide.

The bindings of each major release become type stubs (:mod:`tests.contract.tensorrt_bindings`), and mypy checks the
two doors to TensorRT against them, once per release. What is meant for 8.6 only, or for the newer releases only,
stands in the branches of ``if api.strongly_typed``; mypy is told which way that goes.

    python -m tests.contract.tensorrt_api [--cache DIR]      exit code 1 and a line per fault
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.contract.tensorrt_bindings import Unreachable, make_stubs

ROOT = Path(__file__).parents[2]
DOORS = (ROOT / "predictor/tensorrt_api.py", ROOT / "predictor/builder/plans/engine_build.py")
"""The modules that import tensorrt."""
_READ_TOO = (ROOT / "predictor/builder/plans/engines.py",)
"""Types that the doors pass on to TensorRT; of all other modules mypy is told nothing."""
CACHE = Path.home() / ".cache/yiwen/tensorrt-bindings"


@dataclass(frozen=True, slots=True)
class TensorRTRelease:
    """One of the releases that the doors are for."""

    name: str
    requirement: str
    """What pip downloads."""
    strongly_typed: bool
    """Which way :attr:`predictor.tensorrt_api.Api.strongly_typed` goes there."""


RELEASES = (
    TensorRTRelease("8.6", "tensorrt-bindings==8.6.1", strongly_typed=False),
    TensorRTRelease("10.16", "tensorrt-cu13-bindings==10.16.*", strongly_typed=True),
    TensorRTRelease("11.4", "tensorrt-cu13-bindings==11.4.*", strongly_typed=True),
)


def find_faults(release: TensorRTRelease, cache: Path, more: Sequence[Path] = ()) -> list[str]:
    """What in the doors the bindings of a release do not have or do not accept: mypy's lines, one per fault.

    Args:
        release: of TensorRT.
        cache: for the bindings.
        more: files to check besides.

    Raises:
        Unreachable: the bindings cannot be downloaded.
    """
    stubs = make_stubs(release.requirement, cache)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file=",
        "--check-untyped-defs",
        "--follow-imports=skip",
    ]
    command += ["--no-error-summary", "--no-pretty", f"--cache-dir={stubs / 'mypy'}"]
    command += ["--always-true" if release.strongly_typed else "--always-false", "strongly_typed"]
    paths = os.pathsep.join((str(stubs), str(ROOT)))
    checked = [str(stubs / "tensorrt.pyi"), *map(str, (*DOORS, *_READ_TOO, *more))]
    result = subprocess.run(
        [*command, *checked],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": paths},
    )
    if result.returncode not in (0, 1):
        raise RuntimeError(f"mypy could not run: {(result.stdout + result.stderr)[:2000]}")
    lines = result.stdout.splitlines()
    return [line for line in lines if ": error: " in line and "tensorrt.pyi:" not in line.partition(" ")[0]]


def mutants(source: str, names: frozenset[str]) -> Iterator[str]:
    """``source`` once for each use of one of ``names`` as attribute or keyword argument, with that one made up."""
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in names:
            row, end = node.end_lineno, node.end_col_offset
        elif isinstance(node, ast.keyword) and node.arg in names:
            row, end = node.lineno, node.col_offset + len(node.arg)
        else:
            continue
        if row is None or end is None:
            continue
        changed = lines[row - 1][:end] + "_made_up" + lines[row - 1][end:]
        yield "".join((*lines[: row - 1], changed, *lines[row:]))


def stub_names(stub: str) -> frozenset[str]:
    """Every name that a stub defines, parameters included."""
    found = set()
    for node in ast.walk(ast.parse(stub)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return frozenset(found)


def main() -> int:
    """Check all releases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=CACHE)
    cache = parser.parse_args().cache
    faults = 0
    for release in RELEASES:
        try:
            found = find_faults(release, cache)
        except Unreachable as error:
            found = [str(error)]
        for fault in found:
            print(f"TensorRT {release.name}: {fault}")
        faults += len(found)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
