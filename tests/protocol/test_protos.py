"""The modules beside the .proto are what protoc makes of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = ("generation_pb2.py", "generation_pb2.pyi")
FOLDER = Path("yiwen") / "v1"


def protoc_of(module: str) -> str:
    """Version of protobuf that a module was made for."""
    found = re.search(r"^# Protobuf Python Version: (\S+)$", module, re.MULTILINE)
    assert found
    return found.group(1)


def test_generating_again_gives_the_same_text(tmp_path: Path) -> None:
    environ = {"VENV": sys.prefix, "PATH": "/usr/bin:/bin"}
    subprocess.run([ROOT / "scripts" / "generate-protos", tmp_path], env=environ, check=True)
    committed, made = (
        [(folder / FOLDER / name).read_text() for name in MODULES]
        for folder in (ROOT / "protocol" / "proto", tmp_path)
    )
    if protoc_of(committed[0]) != protoc_of(made[0]):
        pytest.skip(f"made with protobuf {protoc_of(committed[0])}, here is {protoc_of(made[0])}")
    assert made == committed


def test_the_modules_run_on_the_oldest_protobuf_that_kserve_allows() -> None:
    assert protoc_of((ROOT / "protocol" / "proto" / FOLDER / MODULES[0]).read_text()) == "6.33.5"
