"""The GPU benchmark's profile stage, over a predictor on the CPU: real processes, figures that mean nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.gpu_stages import load, profile, setting, tables
from knative.profiling.measurement import GridPoint, ProfilingConfig
from knative.profiling.profile import PredictorProfile, load_profile, read_profile
from tests.forkserver import start_module

LEAST = ProfilingConfig(
    callers=(1, 4),
    lengths=(8, 40),
    new_tokens=6,
    seconds=0.1,
    rounds=2,
    prefill_tokens=setting.PREFILL_TOKENS,
)
MIB = 2**20


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that asks for a GPU; processes are started by the fork server, in a twentieth of the time."""
    monkeypatch.setattr(setting, "start_module", start_module)
    real = setting.predictor

    @contextmanager
    def predictor(release: Path, precision: str, *, slots: int) -> Iterator[tuple[str, float]]:
        with real(release, precision, slots=slots, backend="onnxruntime") as started:
            yield started

    used = iter((100 * MIB, 400 * MIB))
    monkeypatch.setattr(setting, "predictor", predictor)
    monkeypatch.setattr(profile, "used_bytes", lambda: next(used))
    monkeypatch.setattr(profile, "device_name", lambda: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(profile, "weight_bytes", lambda release, precision: 10 * MIB)
    monkeypatch.setattr(profile, "PROMPTS_ALONE", (GridPoint(4, 40, 1),))
    monkeypatch.setattr(profile, "SHORT_ANSWERS", (GridPoint(4, 8, 2),))


@pytest.mark.slow
@pytest.mark.usefixtures("on_the_cpu")
def test_a_profile_is_measured_and_can_be_fitted_again(random_release_dir: Path, tmp_path: Path) -> None:
    release = tmp_path / "release"
    shutil.copytree(random_release_dir, release)
    figures = json.loads(json.dumps(profile.measure_profile(release, "float16", LEAST)))
    found: PredictorProfile = read_profile(figures["profile"], "figures")
    assert (found.name, found.hardware) == ("7b-h100-full-float16", "NVIDIA H100 80GB")
    assert found.step.slots == (1, 4)
    assert found.step.context_tokens == (11, 43)
    assert found.prefill_tokens == setting.PREFILL_TOKENS
    assert found.start_seconds == pytest.approx(max(figures["starts_s"][1:]), abs=0.06)
    kv = figures["facts"]["kv_bytes"]
    assert found.memory.weight_bytes == 10 * MIB
    assert found.memory.other_bytes == max(0, 290 * MIB - kv)
    assert [run["callers"] for run in figures["more"]] == [4, 4]
    assert [run["callers"] for run in figures["full"]] == [4, 4]  # 26 would fill its steps, it has 4 slots
    assert list(figures["http"]) == ["1"]
    assert len(figures["burst"]["answers"]) == 1 + load.REQUESTS_PER_CALLER
    assert found.request_overhead_seconds == 0.0  # one caller is no crowd
    assert profile.fitted(figures, "this run") == found
    profile.write_profile(figures["profile"], tmp_path / "profiles")
    assert load_profile(tmp_path / "profiles" / "7b-h100-full-float16.json") == found
    table = tables.render({"profile": figures}, command="")
    assert "## Profile 7b-h100-full-float16" in table
    assert "beside weights and K/V" in table


@pytest.mark.parametrize(
    ("device", "key", "name"),
    [
        ("NVIDIA H200", "h200", "NVIDIA H200"),
        ("NVIDIA H100 80GB HBM3", "h100", "NVIDIA H100 80GB"),
        ("NVIDIA H100 NVL", "nvidia-h100-nvl", "NVIDIA H100 NVL"),
        ("NVIDIA L4", "l4", "NVIDIA L4"),
        ("NVIDIA L40", "nvidia-l40", "NVIDIA L40"),
        ("NVIDIA A100-SXM4-80GB", "nvidia-a100-sxm4-80gb", "NVIDIA A100-SXM4-80GB"),
    ],
)
def test_a_gpu_has_the_planners_name_if_that_has_one(device: str, key: str, name: str) -> None:
    assert profile.hardware_of(device) == (key, name)


def test_a_crowd_that_comes_and_goes_at_once_tells_what_a_request_costs_the_event_loop() -> None:
    # two callers: a short request each, then one that comes 1 ms after the other's and goes 2 ms after it, twice
    first, second = (
        [(0.000, 0.010), (0.020, 0.100), (0.101, 0.200)],
        [(0.001, 0.012), (0.021, 0.103), (0.104, 0.202)],
    )
    burst = {"callers": 2, "answers": sorted([*first, *second], key=lambda row: row[1])}
    assert profile.event_loop_seconds(burst) == pytest.approx((0.001 + 0.002) / 2)


FIGURES = "docs/benchmarks/gpu/2026-11-28-profiles.json"


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("gpu", ["h100", "h200"])
def test_the_shipped_profiles_are_what_the_published_figures_give(gpu: str, precision: str) -> None:
    figures = json.loads((Path(__file__).parents[2] / FIGURES).read_text(encoding="utf-8"))
    assert profile.fitted(figures[gpu][precision], FIGURES) == load_profile(f"7b-{gpu}-full-{precision}")


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("gpu", ["h100", "h200"])
def test_a_step_over_http_takes_what_it_takes_the_engine_alone(gpu: str, precision: str) -> None:
    figures = json.loads((Path(__file__).parents[2] / FIGURES).read_text(encoding="utf-8"))
    found = load_profile(f"7b-{gpu}-full-{precision}")
    for slots, alone in figures[gpu]["decode"][precision]["steps"].items():
        assert 0.98 < found.step_seconds(int(slots), 256) / alone["seconds"] < 1.07
