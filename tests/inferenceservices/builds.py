"""Overlays as kubectl builds them, each once, and the schemas they are checked against."""

from __future__ import annotations

import copy
import functools
import os
from pathlib import Path
from typing import Any

import pytest

from inferenceservices.check import ROOT, cluster_of, schema_directory
from inferenceservices.kustomize import build, kustomize_command
from inferenceservices.rules import Cluster
from inferenceservices.schemas import Schemas, load_schemas
from protocol.kubernetes.documents import Document, load_manifests

OVERLAYS = ("laptop", "production", "runtime", "staging", "standard")
RELEASE_JOBS = ("laptop", "production", "staging", "standard")


def need_kustomize() -> None:
    """Skip where kustomize cannot be run: Debian has none to install."""
    if kustomize_command() is None:
        pytest.skip("neither kubectl nor kustomize is installed: install kubectl 1.30 or later")


@functools.cache
def _built(directory: Path) -> tuple[Document, ...]:
    return load_manifests(build(directory))


def documents_of(name: str) -> list[dict[str, Any]]:
    """The manifests of ``overlays/NAME``, ``release-jobs/NAME`` or ``../knative``, for the caller to change."""
    need_kustomize()
    return [copy.deepcopy(dict(document)) for document in _built(ROOT / name)]


def our_cluster() -> Cluster:
    """A cluster to which knative/ was applied."""
    return cluster_of(documents_of("../knative"))


@functools.cache
def _schemas(directory: Path) -> Schemas:
    return load_schemas(directory)


def our_schemas() -> Schemas:
    """Those of CRD_SCHEMAS or beside the checkout; skips where there are none."""
    directory = schema_directory(os.environ)
    if directory is None:
        pytest.skip(
            "no CustomResourceDefinitions: set CRD_SCHEMAS to a directory with KServe's and Knative's"
        )
    return _schemas(directory)
