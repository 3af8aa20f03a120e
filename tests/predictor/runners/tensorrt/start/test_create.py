"""A start whose plan file differs from its digest; needs neither TensorRT nor a GPU, since it ends before both."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from predictor.config import PredictorConfig
from predictor.plan import plan_path
from predictor.runners.tensorrt import cuda_api
from predictor.runners.tensorrt.cuda_api import DeviceProperties
from predictor.runners.tensorrt.start import create
from protocol.release import load_release
from protocol.release_documents import ReleaseError
from tests.predictor.test_plan import make_plan, store
from tests.releases import build_random_release


class EngineReached(Exception):
    """The start came to the first engine."""


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release with a plan for the GPU that this machine is said to have."""
    release = build_random_release(tmp_path)
    plan = make_plan(release_id=release.id)
    digest = hashlib.sha256(bytes(plan.nbytes)).hexdigest()
    store(tmp_path / "random", dataclasses.replace(plan, sha256=digest))
    key = plan.key
    device = DeviceProperties("GPU", "0" * 32, key.compute_capability, key.sm_count, 2**34, "13.0")
    monkeypatch.setattr(cuda_api, "device_properties", lambda: device)

    def deserialize(blob: bytes) -> None:
        raise EngineReached

    api = SimpleNamespace(version=key.tensorrt, deserialize=deserialize)
    monkeypatch.setattr(create, "load_api", lambda: api)
    return tmp_path / "random"


def start(release: Path, *, verify: bool = True) -> None:
    config = PredictorConfig(release, verify_release=verify, cache_dir=release / "cache")
    create.create_tensorrt_runner(config, release, load_release(release))


def flip_bit(release: Path) -> None:
    with plan_path(release, make_plan().key).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")


def test_an_intact_plan_is_loaded(release: Path) -> None:
    with pytest.raises(EngineReached):
        start(release)


def test_a_flipped_bit_ends_the_start_with_the_file_and_the_fix(release: Path) -> None:
    flip_bit(release)
    with pytest.raises(ReleaseError, match=r"float16\.plan has changed: .*yiwen release plan .* --force"):
        start(release)


def test_the_check_can_be_switched_off(release: Path) -> None:
    flip_bit(release)
    with pytest.raises(EngineReached):
        start(release, verify=False)
