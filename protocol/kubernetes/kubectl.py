"""Builds kustomizations by running ``kubectl kustomize``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

KUSTOMIZE_TIMEOUT_S = 60
GARBAGE_COLLECTION = {"GOGC": "400"}
"""For a process of half a second: with Go's default of 100, collecting garbage takes a third of its CPU time."""


class KustomizeError(Exception):
    """A kustomization cannot be built; the message says why."""


def build_kustomization(directory: Path) -> str:
    """The manifests of the kustomization in ``directory``, as YAML.

    Raises:
        KustomizeError: there is no kubectl on the PATH, it fails, or it takes longer than ``KUSTOMIZE_TIMEOUT_S``.
    """
    command = ["kubectl", "kustomize", str(directory)]
    try:
        done = subprocess.run(
            command,
            env={**GARBAGE_COLLECTION, **os.environ},
            capture_output=True,
            text=True,
            timeout=KUSTOMIZE_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise KustomizeError(
            f"there is no kubectl on the PATH to build {directory} with: install kubectl 1.30 or later, or run "
            f"`kubectl kustomize {directory} > built.yaml` where there is one, and use built.yaml"
        ) from None
    except subprocess.TimeoutExpired:
        raise KustomizeError(
            f"kubectl kustomize {directory} did not end within {KUSTOMIZE_TIMEOUT_S} s"
        ) from None
    if done.returncode != 0:
        raise KustomizeError(f"kubectl kustomize {directory} failed: {done.stderr.strip()}")
    return done.stdout
