"""scripts/images and scripts/image-test as far as they go without building anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from tests.images.test_dockerfile import ROOT, TARGETS

SCRIPTS = ROOT / "scripts"
GUIDE = (ROOT / "docs" / "guides" / "images.md").read_text(encoding="utf-8")

RECORDING = """#!/bin/sh
case $1 in
build) printf '%s\\n' "$@" >>"$RECORD" ;;
image) echo 450000000 ;;
images) echo 450 MB ;;
esac
"""
"""Stands in for docker, podman and buildah: writes down what it is asked to build."""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory for PATH with what the scripts need of any machine, and no tool that builds images."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("awk", "bash", "dirname", "env", "git", "head", "id", "sed", "sh"):
        (directory / name).symlink_to(shutil.which(name) or "/bin/false")
    return directory


def _run(script: str, *targets: str, path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IMAGE_", "REGISTRY"))}
    variables: Mapping[str, str] = {**kept, "PATH": str(path), **environ}
    return subprocess.run(
        [str(SCRIPTS / script), *targets], env=variables, capture_output=True, text=True, check=False
    )


def _add_tool(tools: Path, name: str) -> None:
    (tools / name).write_text(RECORDING)
    (tools / name).chmod(0o755)


@pytest.mark.parametrize(
    "script", ["bundle", "bundle_install", "images", "image-test", "prune-environment", "skew-test"]
)
def test_scripts_can_be_run(script: str) -> None:
    assert os.access(SCRIPTS / script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(SCRIPTS / script)], check=False).returncode == 0


def test_an_image_that_does_not_exist_is_refused(tools: Path) -> None:
    done = _run("images", "predictor", path=tools)
    assert done.returncode == 2
    assert done.stderr.strip().endswith(f"there is no image predictor; there are {' '.join(TARGETS)}")


def test_a_machine_without_tools_is_told_what_to_install(tools: Path) -> None:
    done = _run("images", path=tools)
    assert done.returncode == 2
    assert "found none that works.\nInstall one (Debian: apt-get install buildah)." in done.stderr


def test_the_named_tool_is_the_only_one_tried(tools: Path) -> None:
    _add_tool(tools, "buildah")
    done = _run("images", path=tools, IMAGE_TOOL="podman")
    assert done.returncode == 2
    assert "IMAGE_TOOL is podman" in done.stderr


@pytest.mark.parametrize("tool", ["docker", "podman", "buildah"])
def test_all_images_are_built_with_whatever_is_there(tools: Path, tmp_path: Path, tool: str) -> None:
    _add_tool(tools, tool)
    record = tmp_path / "record"
    done = _run("images", path=tools, RECORD=str(record), REGISTRY="registry.example.com/yiwen", TAG="7")
    assert done.returncode == 0, done.stderr
    arguments = record.read_text().splitlines()
    names = [f"registry.example.com/yiwen/{target}:7" for target in TARGETS]
    assert [value for name, value in pairwise(arguments) if name == "--tag"] == names
    targets = [value for name, value in pairwise(arguments) if name == "--target"]
    assert targets == list(TARGETS)
    assert not [argument for argument in arguments if argument.startswith(("TENSORRT=", "PYTHON_IMAGE="))]
    assert done.stdout.count("450 MB") == len(TARGETS)


def test_variables_reach_the_tool(tools: Path, tmp_path: Path) -> None:
    _add_tool(tools, "buildah")
    record = tmp_path / "record"
    variables = {"PYTHON_IMAGE": "debian@sha256:0", "TENSORRT": "", "IMAGE_BUILD_ARGS": "-v /a:/b:ro --pull"}
    done = _run("images", "builder", path=tools, RECORD=str(record), **variables)
    assert done.returncode == 0, done.stderr
    arguments = record.read_text().splitlines()
    assert {"PYTHON_IMAGE=debian@sha256:0", "TENSORRT=", "-v", "/a:/b:ro", "--pull"} <= set(arguments)
    assert f"VERSION={_version()}" in arguments


def _version() -> str:
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    return str(version)


def test_the_image_test_says_what_it_lacks(tools: Path) -> None:
    done = _run("image-test", path=tools)
    assert done.returncode == 2
    wanted = "needs buildah. Debian: apt-get install buildah" if os.geteuid() == 0 else "sudo make image-test"
    assert wanted in done.stderr


def test_the_guide_names_every_image_and_variable() -> None:
    for target in TARGETS:
        assert f"`{target}`" in GUIDE
    for script in ("images", "image-test"):
        head = re.findall(r"^#   ([A-Z_, ]+?)  ", (SCRIPTS / script).read_text(), re.MULTILINE)
        for name in ", ".join(head).split(", "):
            assert f"`{name}`" in GUIDE, name
