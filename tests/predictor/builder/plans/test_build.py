"""What a plan holds."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from predictor.builder.errors import PrecisionUnavailable
from predictor.builder.plans import source as plan_source
from predictor.builder.plans.build import PlanRequest
from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from predictor.builder.release.integrity import find_faults
from predictor.plan import ALIGNMENT, find_plans, plan_path
from predictor.segment_index import LINEAR_ROLES, graph_file, read_segment_index
from protocol.release import load_release
from protocol.release_documents import ReleaseError
from tests.predictor.builder.plans.graphs_as_engines import (
    AT,
    GraphsAsEngines,
    Spoken,
    build,
    content,
    original,
    stored,
)
from tests.releases import build_random_release


@pytest.fixture
def release(tmp_path: Path) -> Path:
    build_random_release(tmp_path)
    return tmp_path / "random"


@pytest.mark.parametrize("block", [1 << 23, 100])
def test_a_plan_holds_engines_and_every_weight(
    release: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(plan_source, "BLOCK_VALUES", block)
    plan = build(PlanRequest(release))
    assert find_plans(release) == [plan]
    data = plan_path(release, plan.key).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (plan.nbytes, plan.sha256)
    assert set(plan.engines) == {f"{role}.float16" for role in LINEAR_ROLES}
    for role in LINEAR_ROLES:
        blob = plan.engines[f"{role}.float16"]
        assert blob.offset % ALIGNMENT == 0
        assert data[blob.offset : blob.offset + blob.nbytes] == (release / graph_file(role)).read_bytes()
    assert set(plan.tensors) == set(read_segment_index(release).tensors)
    for name in plan.tensors:
        values = original(release, name)
        matrix = values.ndim == 2 and not name.startswith("rotary.")
        np.testing.assert_array_equal(
            stored(release, plan, name), values.astype("float16" if matrix else "float32")
        )
        assert plan.tensors[name].dtype == ("float16" if matrix else "float32")
    assert plan.release_id == load_release(release).id
    assert (plan.gpu_name, plan.driver, plan.max_tokens, plan.max_rows) == (
        "NVIDIA H200",
        "580.95",
        2048,
        512,
    )
    assert plan.norm_eps == 1e-5
    assert plan.quantized == ()


def test_verify_looks_at_plans_too(release: Path) -> None:
    plan = build(PlanRequest(release))
    path = plan_path(release, plan.key)
    assert find_plan_faults(release) == []
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    (fault,) = find_plan_faults(release)
    assert fault.startswith(f"{path.name} has changed: sha256 is ")


def find_plan_faults(release: Path) -> list[str]:
    return [fault for fault in find_faults(release, SilentReporter()) if ".plan" in fault]


def test_tied_matrices_are_stored_once(release: Path) -> None:
    plan = build(PlanRequest(release))
    assert "vocabulary" not in plan.tensors
    assert plan.find("vocabulary") == plan.find("embedding") is not None


def test_a_float16_release_gives_the_same_weights(release: Path, tmp_path: Path) -> None:
    half = BuildRequest(checkpoint=tmp_path / "random-checkpoint", out=tmp_path / "half", precision="float16")
    build_release(half, built_at=AT, reporter=SilentReporter())
    from_half, from_full = build(PlanRequest(half.out)), build(PlanRequest(release))
    for name in from_full.tensors:
        np.testing.assert_array_equal(stored(half.out, from_half, name), stored(release, from_full, name))


def test_rows_and_tokens_have_profiles_of_their_own(release: Path) -> None:
    plan = build(PlanRequest(release, max_tokens=100, max_rows=20))
    assert plan.profiles["down.float16"] == ((1, 8, 8), (9, 32, 32), (33, 64, 64), (65, 100, 100))
    assert plan.profiles["vocabulary.float16"] == ((1, 8, 8), (9, 20, 20))


def test_engines_are_asked_for_as_the_request_says(release: Path) -> None:
    engines = GraphsAsEngines()
    build(PlanRequest(release, optimization_level=4), engines)
    assert {(request.optimization_level, request.int8) for request in engines.requests} == {(4, False)}


def test_timings_are_kept_from_engine_to_engine_and_build_to_build(release: Path) -> None:
    first, second = GraphsAsEngines(), GraphsAsEngines()
    build(PlanRequest(release), first)
    build(PlanRequest(release, force=True), second)
    assert (first.loads, second.loads) == (0, 1)
    assert (len(first.timed), len(second.timed)) == (5, 10)
    assert (release / "plans" / "timing-sm90-132sm-trt8.6.0.cache").read_bytes() == second.timed


def test_timing_caches_that_tensorrt_refuses_are_replaced_and_reported(release: Path) -> None:
    cache = release / "plans" / "timing-sm90-132sm-trt8.6.0.cache"
    cache.parent.mkdir()
    cache.write_bytes(b"of another release")
    spoken = Spoken()
    build(PlanRequest(release), reporter=spoken)
    assert f"{cache.name} is of no use to this TensorRT: layers are timed anew" in spoken.lines
    assert cache.read_bytes() == b"+++++"


def test_timings_can_be_kept_elsewhere(release: Path, tmp_path: Path) -> None:
    cache = tmp_path / "timings"
    cache.write_bytes(b"++")
    build(PlanRequest(release, timing_cache=cache))
    assert cache.read_bytes() == b"+++++++"
    assert not any(name.startswith("timing") for name in content(release))


def test_a_value_beyond_float16_is_refused(release: Path) -> None:
    tensor = read_segment_index(release).tensors["layers.1.mlp.down"]
    with open(release / "weights.bin", "r+b") as file:
        file.seek(tensor.offset + 4)
        file.write(np.float32(7e4).tobytes())
    with pytest.raises(
        PrecisionUnavailable, match=r"layers\.1\.mlp\.down has values that are not finite in float16"
    ):
        build(PlanRequest(release))
    assert set(content(release)) == {"timing-sm90-132sm-trt8.6.0.cache"}


def test_weights_cut_short_are_refused(release: Path) -> None:
    os.truncate(release / "weights.bin", 1000)
    with pytest.raises(ReleaseError, match=r"ends inside .*`yiwen release verify`"):
        build(PlanRequest(release))
    assert find_plans(release) == []


def test_a_release_without_segments_is_refused(release: Path) -> None:
    shutil.rmtree(release / "segments")
    with pytest.raises(ReleaseError, match="--precision float16"):
        build(PlanRequest(release))


def test_a_missing_graph_is_named(release: Path) -> None:
    (release / graph_file("down")).unlink()
    with pytest.raises(ReleaseError, match=r"segments/down\.onnx"):
        build(PlanRequest(release))


def test_fp8_is_not_claimed(release: Path) -> None:
    with pytest.raises(PrecisionUnavailable, match=r"TensorRT 8\.6\.0 has no products in fp8"):
        build(PlanRequest(release, precision="fp8"))
    engines = GraphsAsEngines()
    engines.version = "11.4.0.106"
    with pytest.raises(PrecisionUnavailable, match="not been verified on a GPU"):
        build(PlanRequest(release, precision="fp8"), engines)
    assert not (release / "plans").exists()


def test_progress_counts_every_byte_and_says_each_engine(release: Path) -> None:
    spoken = Spoken()
    plan = build(PlanRequest(release), reporter=spoken)
    assert spoken.bytes == spoken.total == sum(tensor.nbytes for tensor in plan.tensors.values())
    assert [line for line in spoken.lines if "down" in line] == [
        "engine down.float16: 8 profiles",
        "engine down.float16: Tactics, 10 of 30 after 10 s",
        "engine down.float16: Tactics, 20 of 30 after 20 s",
        "engine down.float16: Tactics, 30 of 30 after 30 s",
        "engine down.float16: 0.0 MB in 31.0 s",
    ]
