"""Overlays as kubectl builds them, each once, and the schemas that they are checked against."""

from __future__ import annotations

import copy
import functools
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from inferenceservices.check import ROOT, SCHEMAS_VARIABLE, knative_settings
from inferenceservices.rules import KnativeSettings
from inferenceservices.schemas import Schemas, load_schemas
from protocol.kubernetes.documents import Document, load_manifests
from protocol.kubernetes.kubectl import build_kustomization

OVERLAYS = ("laptop", "production", "runtime", "staging", "standard")
RELEASE_JOBS = ("laptop", "production", "staging", "standard")


def require_kubectl() -> None:
    """Skip the test where there is no kubectl; under CI that fails it."""
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl on the PATH: install kubectl 1.30 or later")


def crd_schemas() -> Schemas:
    """The schemas in the directory that CRD_SCHEMAS names; skips the test where it names none."""
    directory = os.environ.get(SCHEMAS_VARIABLE, "")
    if not directory:
        pytest.skip(
            "no CustomResourceDefinitions: set CRD_SCHEMAS to a directory with KServe's and Knative's"
        )
    return _schemas(Path(directory))


def documents_of(name: str) -> list[dict[str, Any]]:
    """The manifests of ``overlays/NAME``, ``release-jobs/NAME`` or ``../knative``, for the caller to change."""
    require_kubectl()
    return [copy.deepcopy(dict(document)) for document in _built(ROOT / name)]


def repository_settings() -> KnativeSettings:
    """The settings of a cluster to which knative/ was applied."""
    return knative_settings(documents_of("../knative"))


@functools.cache
def _built(directory: Path) -> tuple[Document, ...]:
    return load_manifests(build_kustomization(directory))


@functools.cache
def _schemas(directory: Path) -> Schemas:
    return load_schemas(directory)
