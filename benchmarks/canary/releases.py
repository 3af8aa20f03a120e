"""The demo release, and canaries of it: an equal one, one with damaged weights, and one that does not start."""

from __future__ import annotations

import shutil
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from benchmarks.engine.processes import ROOT
from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from protocol.release import WEIGHTS_FILE

CHECKPOINT = ROOT / "examples" / "demo_model" / "checkpoint"
NOISE = 0.35
"""Standard deviation of the noise on a damaged matrix, of the matrix's own."""


def build_stable(directory: Path) -> Path:
    """Build the demo release as it is."""
    return _build(CHECKPOINT, directory)


def build_equal(directory: Path) -> Path:
    """Build a release that answers like the stable one under another id."""
    checkpoint = _copied(directory)
    with (checkpoint / "translation.json").open("a", encoding="utf-8") as file:
        file.write("\n")
    return _build(checkpoint, directory)


def build_wrong(directory: Path) -> Path:
    """Build a release whose matrices are damaged: it answers fluently enough to be served, and wrongly."""
    checkpoint, rng = _copied(directory), np.random.default_rng(0)
    file = checkpoint / "model.safetensors"
    damaged = {
        name: _noisy(tensor, rng) if tensor.ndim == 2 else tensor for name, tensor in load_file(file).items()
    }
    save_file(damaged, file)
    return _build(checkpoint, directory)


def _noisy(tensor: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A matrix with noise, computed in float32: in bfloat16 the standard deviation comes out far too small."""
    exact = tensor.astype(np.float32)
    noise = rng.standard_normal(exact.shape, np.float32)
    noisy: np.ndarray = (exact + NOISE * exact.std() * noise).astype(tensor.dtype)
    return noisy


def build_broken(directory: Path) -> Path:
    """Build a release that lacks the end of its weights, so that its predictor does not start."""
    release = build_equal(directory)
    weights = release / WEIGHTS_FILE
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[: len(content) // 2])
    return release


def _copied(directory: Path) -> Path:
    checkpoint = directory.with_name(f"{directory.name}-checkpoint")
    return Path(shutil.copytree(CHECKPOINT, checkpoint))


def _build(checkpoint: Path, directory: Path) -> Path:
    request = BuildRequest(checkpoint=checkpoint, out=directory, name=directory.name)
    build_release(request, built_at=datetime(2026, 1, 1, tzinfo=timezone.utc), reporter=SilentReporter())
    return directory
