"""Reads the YAML of a manifest, from a file or from a kustomize directory."""

from __future__ import annotations

from pathlib import Path

from knative.simulator.errors import SimulationError
from protocol.kubernetes.kubectl import KustomizeError, build_kustomization


def read_manifest(path: Path) -> str:
    """YAML of a manifest; a kustomize directory is built with kubectl.

    Raises:
        SimulationError: it cannot be read or built.
    """
    if not path.is_dir():
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise SimulationError(
                f"{path} does not exist: give an InferenceService's YAML or an overlay's directory"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise SimulationError(f"{path} cannot be read: {error}") from error
    try:
        return build_kustomization(path)
    except KustomizeError as error:
        raise SimulationError(str(error)) from error
