"""A plan is there whole, or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from predictor.builder.errors import DiskFull, EngineFailed, TargetUnusable
from predictor.builder.plans import writer
from predictor.builder.plans.build import PlanRequest
from predictor.plan import find_plans, plan_json_path, plan_path
from tests.predictor.builder.plans.graphs_as_engines import GraphsAsEngines, build, content
from tests.releases import build_random_release


@pytest.fixture
def release(tmp_path: Path) -> Path:
    build_random_release(tmp_path)
    return tmp_path / "random"


def test_an_engine_that_fails_leaves_no_plan_but_its_timings(release: Path) -> None:
    engines = GraphsAsEngines()
    engines.fail_at = 3
    with pytest.raises(EngineFailed, match=r"out of tactics; another --level may help"):
        build(PlanRequest(release), engines)
    assert content(release) == {"timing-sm90-132sm-trt8.6.0.cache": b"+++"}


def test_a_plan_is_not_replaced_without_force(release: Path) -> None:
    plan = build(PlanRequest(release))
    before = content(release)
    with pytest.raises(TargetUnusable, match="replace it with --force"):
        build(PlanRequest(release, max_tokens=64))
    assert content(release) == before
    assert build(PlanRequest(release, max_tokens=64, force=True)) != plan
    assert find_plans(release)[0].max_tokens == 64


def test_the_old_plan_stays_where_a_forced_build_fails(release: Path) -> None:
    plan = build(PlanRequest(release))
    engines = GraphsAsEngines()
    engines.fail_at = 0
    with pytest.raises(EngineFailed):
        build(PlanRequest(release, force=True), engines)
    assert find_plans(release) == [plan]


def test_too_little_room_is_found_before_engines_are_built(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(release)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5_000_000))
    engines = GraphsAsEngines()
    with pytest.raises(
        DiskFull, match=r"has 5\.0 MB free, but the plan needs 26\d\.\d MB \(0\.\d MB of weights, 268\.4"
    ):
        build(PlanRequest(release), engines)
    assert engines.requests == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_disk_that_fills_up_is_named(release: Path) -> None:
    plan = build(PlanRequest(release))
    staged = writer.staged_plan(plan_path(release, plan.key), tensor_bytes=0, force=True)
    with pytest.raises(DiskFull, match="make room"), staged, open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")
    assert find_plans(release) == [plan]


def test_two_builds_of_one_plan_do_not_meet(release: Path) -> None:
    path = plan_path(release, build(PlanRequest(release)).key)
    with writer.staged_plan(path, tensor_bytes=0, force=True):
        with pytest.raises(TargetUnusable, match="another build is writing"):
            build(PlanRequest(release, force=True))


def test_a_killed_build_leaves_nothing_that_is_taken_for_a_plan(release: Path) -> None:
    """Killed when the last tensor was written, before the file was put in its place."""
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from predictor.builder.plans import build as plan_build\n"
        "from tests.predictor.builder.plans.graphs_as_engines import build, PlanRequest\n"
        "plan_build.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "build(PlanRequest(Path(sys.argv[1])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(release)], cwd=Path(__file__).parents[4], check=False, timeout=60
    )
    assert done.returncode == -9
    partial = [name for name in content(release) if name.endswith(".plan.partial")]
    assert len(partial) == 1
    assert find_plans(release) == []
    plan = build(PlanRequest(release))
    assert find_plans(release) == [plan]
    assert not any("partial" in name for name in content(release))


def test_a_plan_without_its_json_is_built_over(release: Path) -> None:
    plan = build(PlanRequest(release))
    plan_json_path(release, plan.key).unlink()
    again = build(PlanRequest(release))
    assert find_plans(release) == [again]
    assert replace(again, build_seconds=plan.build_seconds) == plan
