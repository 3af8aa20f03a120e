"""Every stage on the demo release with the least size there is: figures that mean nothing, from real processes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

import pytest

from benchmarks.transformer_stages import hits, load_steps, misses, processes, report
from benchmarks.transformer_stages.setting import BenchmarkSize
from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from tests.forkserver import ROOT, ForkedProcess, run_module, start_module

CHECKPOINT = Path(__file__).parents[2] / "examples" / "demo_model" / "checkpoint"
LEAST = BenchmarkSize(rounds=1, closed_s=0.4, open_s=0.2, pairs=3, steps=(200, 1500), step_s=0.3)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("redis-server") is None:
        missing = "redis-server is not installed: apt-get install redis-server"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    out = tmp_path_factory.mktemp("demo") / "demo"
    request = BuildRequest(checkpoint=CHECKPOINT, out=out, name="demo")
    build_release(request, built_at=datetime(2026, 1, 1, tzinfo=timezone.utc), reporter=SilentReporter())
    return out


@pytest.fixture(autouse=True)
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the same processes in a twentieth of the time."""

    def start(module: str, *arguments: str, env: Mapping[str, str], root: Path) -> ForkedProcess:
        assert root == ROOT
        null = subprocess.DEVNULL
        return start_module(module, *arguments, env=env, stdout=null, stderr=null)

    monkeypatch.setattr(processes, "start_module", start)
    monkeypatch.setattr(processes, "run_module", run_module)


def test_hits_are_measured_beside_a_bare_kserve_model(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hits, "TITLES", 2 * hits.TEXTS)  # each of them is sent once over every way first

    figures = hits.measure(demo, LEAST)

    assert set(figures["requests_per_s"]) == set(hits.TRIALS)
    assert all(rate > 0 for rates in figures["requests_per_s"].values() for rate in rates)
    assert all(ratio > 0 for ratio in (*figures["ratios"].values(), *figures["ratios_by_cpu"].values()))
    assert all(name in report.markdown(results(hits=figures)) for name in ("bare KServe model", "P99"))


def test_misses_are_measured_beside_the_predictor(demo: Path) -> None:
    figures = misses.measure(demo, LEAST)

    assert figures["miss"]["pairs"] == LEAST.pairs
    assert figures["miss"]["latency_predictor_ms"] > 0
    assert "## Misses" in report.markdown(results(misses=figures))


def test_load_steps_run_with_the_cache_off_and_on(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_steps, "SLOTS", (2,))
    monkeypatch.setattr(load_steps, "CALIBRATION_CALLERS", 8)  # all answered in time on a busy machine too

    figures = load_steps.measure(demo, LEAST)

    told = [(row["slots"], row["unscaled_per_s"], row["cache"]) for row in figures["rows"]]
    assert told == [(2, step, cache) for step in LEAST.steps for cache in ("off", "on")]
    for row in figures["rows"]:
        fates = ("ok", "refused", "too_late", "unanswered", "other")
        assert sum(row[name] for name in fates) == pytest.approx(row["offered_per_s"] * LEAST.step_s)
        assert row["hit_share"] == 0 or row["cache"] == "on"
    assert "## From 200 to 1500 requests/s" in report.markdown(results(load_steps=figures))


def results(**stages: object) -> dict[str, object]:
    return {
        "date": "2026-01-01 00:00 UTC",
        "command": "",
        "machine": {"cpu": "a processor", "cores": 2, "python": "3.11.7"},
        "versions": {"kserve": "0.21.0"},
        "others_busy_cores": 0.0,
        "stages": stages,
    }
