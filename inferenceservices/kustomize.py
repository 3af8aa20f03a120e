"""Builds kustomizations by running kustomize itself, as ``kubectl kustomize`` or ``kustomize build``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

TIMEOUT_S = 60
_COMMANDS = (("kubectl", "kustomize"), ("kustomize", "build"))


class BuildFailed(Exception):
    """A kustomization cannot be built; the message says why."""


def kustomize_command() -> tuple[str, ...] | None:
    """The command that builds a kustomization on this machine, or None if there is none."""
    return next((command for command in _COMMANDS if shutil.which(command[0])), None)


def build(directory: Path) -> str:
    """The manifests of the kustomization in ``directory``, as YAML.

    Raises:
        BuildFailed: there is no kustomize here, or it fails.
    """
    command = kustomize_command()
    if command is None:
        raise BuildFailed("neither kubectl nor kustomize is on the PATH: install one of them")
    try:
        done = subprocess.run(
            [*command, str(directory)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise BuildFailed(f"{' '.join(command)} {directory} took longer than {TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise BuildFailed(f"{directory} cannot be built: {done.stderr.strip()}")
    return done.stdout
