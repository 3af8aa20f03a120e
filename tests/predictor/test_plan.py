from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from predictor.errors import StartupError
from predictor.plan import (
    OptimizationProfile,
    PlanBlob,
    PlanKey,
    PlanTensor,
    TensorRTPlan,
    align,
    find_plans,
    plan_json_path,
    plan_path,
    read_plan,
    write_plan,
)

KEY = PlanKey((9, 0), 132, "8.6.0", "float16")


def make_plan(**changes: Any) -> TensorRTPlan:
    plan = TensorRTPlan(
        key=KEY,
        release_id="0123456789abcdef",
        gpu_name="NVIDIA H200",
        driver="580.95",
        max_tokens=64,
        max_rows=8,
        norm_eps=1e-6,
        profiles={
            "down.float16": (OptimizationProfile(1, 8, 8), OptimizationProfile(9, 64, 64)),
            "vocabulary.float16": (OptimizationProfile(1, 8, 8),),
        },
        engines={"down.float16": PlanBlob(0, 5000), "vocabulary.float16": PlanBlob(8192, 100)},
        tensors={
            "layers.0.mlp.down": PlanTensor(12288, (3, 5), "float16"),
            "rotary.cos": PlanTensor(16384, (4, 2), "float32"),
            "rotary.sin": PlanTensor(20480, (4, 2), "float32"),
        },
        weights={"layers.0.mlp.down": "layers.0.mlp.down", "vocabulary": "layers.0.mlp.down"},
        rotary=("rotary.cos", "rotary.sin"),
        tensors_offset=12288,
        nbytes=20480 + 32,
        sha256="00" * 32,
        built_at="2026-01-01T00:00:00+00:00",
        build_seconds=12.5,
    )
    return dataclasses.replace(plan, **changes)


def store(directory: Path, plan: TensorRTPlan) -> Path:
    (directory / "plans").mkdir(exist_ok=True)
    plan_path(directory, plan.key).write_bytes(bytes(plan.nbytes))
    write_plan(directory, plan)
    return plan_json_path(directory, plan.key)


def test_a_plan_reads_back_as_it_was_written(tmp_path: Path) -> None:
    plan = make_plan(quantized=("layers.0.mlp.down",))
    assert read_plan(store(tmp_path, plan)) == plan
    assert find_plans(tmp_path) == [plan]
    assert sorted(path.name for path in (tmp_path / "plans").iterdir()) == [
        "sm90-132sm-trt8.6.0-float16.plan",
        "sm90-132sm-trt8.6.0-float16.plan.json",
    ]


def test_nbytes_counts_the_type(tmp_path: Path) -> None:
    assert [PlanTensor(0, (3, 5), dtype).nbytes for dtype in ("int8", "float16", "float32")] == [15, 30, 60]


def test_a_weight_is_found_by_its_own_name() -> None:
    plan = make_plan()
    assert plan.find("vocabulary") == plan.find("layers.0.mlp.down") == plan.tensors["layers.0.mlp.down"]
    assert plan.find("layers.0.mlp.down.bias") is None


@pytest.mark.parametrize(("offset", "aligned"), [(0, 0), (1, 4096), (4096, 4096), (4097, 8192)])
def test_parts_begin_at_pages(offset: int, aligned: int) -> None:
    assert align(offset) == aligned


def test_no_plans_directory_is_no_plans(tmp_path: Path) -> None:
    assert find_plans(tmp_path) == []


def test_plans_come_by_name(tmp_path: Path) -> None:
    keys = [dataclasses.replace(KEY, precision=precision) for precision in ("int8", "float16")]
    for key in keys:
        store(tmp_path, make_plan(key=key))
    assert [plan.key.precision for plan in find_plans(tmp_path)] == ["float16", "int8"]


def test_a_missing_plan_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"is missing; build it again: yiwen release plan .* --force"):
        read_plan(tmp_path / "plans" / "none.plan.json")


def test_a_plan_cut_short_is_refused(tmp_path: Path) -> None:
    path = store(tmp_path, make_plan())
    plan_path(tmp_path, KEY).write_bytes(bytes(100))
    with pytest.raises(StartupError, match=r"has 100 bytes, its \.json says 20,512"):
        read_plan(path)


def test_a_json_without_its_plan_is_refused(tmp_path: Path) -> None:
    path = store(tmp_path, make_plan())
    plan_path(tmp_path, KEY).unlink()
    with pytest.raises(StartupError, match=r"float16\.plan is missing"):
        read_plan(path)


def test_a_renamed_plan_is_refused(tmp_path: Path) -> None:
    path = store(tmp_path, make_plan())
    path = path.rename(path.with_name("sm80-108sm-trt8.6.0-float16.plan.json"))
    with pytest.raises(StartupError, match="it was renamed"):
        read_plan(path)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"format": 1}, "format is 1, this version reads 2"),
        ({"rotary": ["rotary.cos", "none"]}, "tensors has no none"),
        ({"rotary": ["rotary.cos"]}, "not enough values"),
        ({"weights": {"norm": "gone"}}, "tensors has no gone"),
        ({"engines": {"qkv.float16": {"offset": 0, "nbytes": 5}}}, "profiles and engines differ"),
        ({"tensors_offset": 8192}, "engine vocabulary.float16 lies outside"),
        ({"nbytes": 20480}, "tensor rotary.sin lies outside"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_document_that_contradicts_itself_is_refused(
    tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    path = store(tmp_path, make_plan())
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(StartupError, match=f"{fault}.*yiwen release plan"):
        read_plan(path)


@pytest.mark.parametrize("dtype", ["float64", "object", "int4"])
def test_a_type_no_engine_takes_is_refused(tmp_path: Path, dtype: str) -> None:
    path = store(tmp_path, make_plan())
    document = json.loads(path.read_text())
    document["tensors"]["layers.0.mlp.down"]["dtype"] = dtype
    path.write_text(json.dumps(document))
    with pytest.raises(StartupError, match=f"is of type '{dtype}'"):
        read_plan(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{"])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    path = store(tmp_path, make_plan())
    path.write_text(text)
    with pytest.raises(StartupError, match="build it again"):
        read_plan(path)


def test_a_broken_plan_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = make_plan()
    store(tmp_path, whole)
    store(tmp_path, make_plan(key=dataclasses.replace(KEY, sm_count=16))).write_text("{")
    with caplog.at_level(logging.WARNING):
        assert find_plans(tmp_path) == [whole]
    assert "sm90-16sm" in caplog.text
