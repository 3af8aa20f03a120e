"""`yiwen profile` against a real predictor process on a small random release, and its arithmetic on made-up runs."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cli.__main__ import main
from knative.profiling.fitting import (
    GPU_OTHER_BYTES,
    PrefillCost,
    ProfileMetadata,
    least_disturbed,
    make_profile,
    prefill_token_seconds,
    step_table,
)
from knative.profiling.measurement import MeasurementRun, MetricCounters, PredictorInfo, ProfilingError
from knative.profiling.profile import MemoryProfile, load_profile
from protocol.release import load_release
from tests.forkserver import ForkedProcess, start_module
from tests.knative.approx import approx
from tests.transformer.process import environment


@pytest.fixture(scope="module")
def predictor_url(random_release_dir: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = start_module(
        *("predictor", "--release", str(random_release_dir), "--http_port", str(port), "--grpc_port", "0"),
        env=environment(YIWEN_THREADS="1", YIWEN_SLOTS="8"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, url)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_until_ready(process: ForkedProcess, url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"{url}/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("the predictor did not become ready")


QUICK = ["--callers", "1,4,64", "--lengths", "8,64", "--new-tokens", "6", "--seconds", "0.2", "--rounds", "2"]


def test_a_running_predictor_is_measured_and_written_down(
    predictor_url: str, random_release_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "PROFILE.json"
    command = ["profile", "--url", predictor_url, "--hardware", "a CPU", "--release", str(random_release_dir)]
    assert main([*command, *QUICK, "--start-seconds", "1.5", "--output", str(out)]) == 0
    measured, release = load_profile(out), load_release(random_release_dir)
    assert (measured.kind, measured.hardware, measured.precision) == ("measured", "a CPU", "float32")
    assert measured.release.id == release.id
    assert measured.release.shape == release.decoder
    assert measured.step.slots == (1, 4)  # 64 callers are more than its slots
    assert measured.step.context_tokens == (11, 67)
    assert measured.max_sequence_tokens == release.limits.max_sequence_tokens
    assert 0 < measured.step_seconds(1, 11) <= measured.step_seconds(4, 67) < 1
    assert measured.request_overhead_seconds > 0
    assert measured.memory.kv_bytes_per_token == release.decoder.kv_values_per_token * 4
    assert measured.start_seconds == 1.5
    assert "wrote" in capsys.readouterr().out


def test_a_profile_that_was_measured_can_be_simulated(
    predictor_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, manifest = tmp_path / "PROFILE.json", tmp_path / "manifest.yaml"
    assert main(["profile", "--url", predictor_url, "--hardware", "a CPU", *QUICK, "--output", str(out)]) == 0
    assert load_profile(out).release.shape is None
    manifest.write_text(
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: p}\n"
        "spec: {template: {spec: {containerConcurrency: 8}}}\n",
        encoding="utf-8",
    )
    load = "steady:rate=5,seconds=10"
    assert main(["simulate", load, "--manifest", str(manifest), "--profile", str(out), "--chars", "10"]) == 0
    assert "(measured)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lengths", "8,5000"], "5000 tokens in and 6 out are too long for this release"),
        (["--new-tokens", "200"], "none is answered with 200 tokens"),
        (["--lengths", "8"], "give at least two --lengths"),
        (["--release", "nowhere"], "nowhere is not a release"),
        (["--new-tokens", "1"], "give --new-tokens 2 or more"),
    ],
)
def test_what_cannot_be_measured_is_said(
    predictor_url: str, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "profile",
        "--url",
        predictor_url,
        "--hardware",
        "a CPU",
        "--output",
        str(tmp_path / "out.json"),
    ]
    assert main([*command, *QUICK, *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_no_predictor_is_said_with_the_way_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "profile",
        "--url",
        "http://127.0.0.1:9",
        "--hardware",
        "a CPU",
        "--output",
        str(tmp_path / "o"),
    ]
    assert main(command) == 2
    assert "start a predictor there with `yiwen serve`" in capsys.readouterr().err


def made_up(
    callers: int, prompt: int, new: int, *, step: float, requests: int = 100, filling: float | None = None
) -> MeasurementRun:
    """A run whose decode step takes ``step`` and whose prompt tokens take 10 us each."""
    tokens = requests * new
    steps = tokens / (filling or callers)
    counted = MetricCounters(steps, steps * step + requests * prompt * 1e-5, requests * prompt, tokens)
    return MeasurementRun(callers, prompt, new, requests, new * step + prompt * 1e-5 + 0.002, counted)


GRID = [
    made_up(count, prompt, 20, step=0.001 * (1 + count) + 1e-6 * count * (prompt + 10))
    for count in (1, 2, 4)
    for prompt in (10, 110)
]
SINGLE = [made_up(1, 10, 1, step=0.002), made_up(1, 110, 1, step=0.002)]
FACTS = PredictorInfo("tiny", "0123456789abcdef", "float32", "onnxruntime", 8, 1_000_000, 5_000_000)
SETTING = ProfileMetadata("made-up", "paper", "full", 512, None, None)


def test_the_parts_of_made_up_runs_are_found_again() -> None:
    found = make_profile(GRID, SINGLE, FACTS, SETTING)
    assert found.prefill_seconds_per_token == pytest.approx(1e-5)
    assert found.step.context_tokens == (20, 120)
    for count in (1, 2, 4):
        for context_tokens in (20, 120):
            assert found.step_seconds(count, context_tokens) == pytest.approx(
                0.001 * (1 + count) + 1e-6 * count * context_tokens
            )
    assert found.step.seconds_per_context_token == pytest.approx(1e-6, rel=1e-3)
    # a caller waits 2 ms beyond its steps, which the single run's 2 ms steps hold 20 us less of
    assert found.request_overhead_seconds == pytest.approx(
        0.002 + 0.002 - found.step_seconds(1, 10), rel=0.01
    )
    assert found.slots == 8


def test_what_prompts_take_is_found_in_steps_that_are_full_of_them() -> None:
    # a lone prompt's step is 3 ms longer than its decode, however short it is; a token costs 20 us among many
    light = made_up(1, 10, 1, step=0.002 + 10e-6 + 0.003 + 10 * 1e-5)
    full = made_up(4, 50, 1, step=0.005 + 4 * 50e-6 + 0.003 + 4 * 50 * 1e-5)
    found = make_profile(GRID, [light, SINGLE[1]], FACTS, SETTING, full=full)
    taken = found.step_seconds(4, 50) + found.prefill_step_seconds + 200 * found.prefill_seconds_per_token
    assert taken == pytest.approx(full.counters.step_seconds / full.counters.steps, rel=1e-3)
    assert found.prefill_seconds_per_token == pytest.approx(2e-5, rel=0.1)
    assert found.prefill_step_seconds == pytest.approx(0.003, rel=0.05)
    assert (
        found.provenance["prefill_seconds_per_token"] == "measured: steps full of prompts, less those without"
    )


def test_steps_with_and_without_prompts_are_distinguished() -> None:
    counted = MetricCounters(100, 100 * 0.005 + 20 * 0.002 + 200 * 1e-5, 200, 100, prompt_steps=20)
    table = step_table([MeasurementRun(1, 10, 5, 20, 0.03, counted)], PrefillCost(1e-5, 0.002))
    assert table.seconds == ((approx(0.005),),)


def test_without_such_steps_a_prompt_is_what_it_is_alone() -> None:
    found = make_profile(GRID, SINGLE, FACTS, SETTING)
    assert (found.prefill_seconds_per_token, found.prefill_step_seconds) == (approx(1e-5), 0.0)


def test_what_was_measured_elsewhere_is_taken_as_it_is() -> None:
    memory = MemoryProfile(1, 2, 3)
    metadata = dataclasses.replace(SETTING, memory=memory, request_overhead_seconds=0.0007)
    found = make_profile(GRID, SINGLE, FACTS, metadata)
    assert (found.memory, found.request_overhead_seconds) == (memory, 0.0007)
    assert found.provenance["memory"].startswith("measured")
    on_a_gpu = make_profile(GRID, SINGLE, dataclasses.replace(FACTS, backend="tensorrt"), SETTING)
    assert on_a_gpu.memory.other_bytes == GPU_OTHER_BYTES
    assert on_a_gpu.provenance["memory"].startswith("assumed")


def test_steps_that_were_not_full_are_put_where_they_belong() -> None:
    runs = [
        made_up(count, prompt, 20, step=0.001 * (1 + filling), filling=filling)
        for count, filling in ((1, 1.0), (4, 3.5), (8, 6.0))
        for prompt in (10, 110)
    ]
    table = step_table(runs, PrefillCost(1e-5, 0.0))
    assert [row[0] for row in table.seconds] == [pytest.approx(0.001 * (1 + n), rel=1e-3) for n in (1, 4, 8)]


def test_of_equal_runs_the_least_disturbed_counts() -> None:
    runs = [made_up(1, 10, 5, step=step) for step in (0.003, 0.001, 0.002)]
    other = made_up(2, 10, 5, step=0.004)
    assert least_disturbed([*runs, other]) == [runs[1], other]


def test_noise_never_makes_more_work_faster() -> None:
    runs = [
        made_up(1, 10, 20, step=0.005), made_up(1, 110, 20, step=0.004),
        made_up(2, 10, 20, step=0.004), made_up(2, 110, 20, step=0.006),
    ]  # fmt: skip
    assert step_table(runs, PrefillCost(1e-5, 0.0)).seconds == ((0.005, 0.005), (0.005, 0.006))


def test_runs_that_are_no_grid_are_refused() -> None:
    with pytest.raises(ProfilingError, match="every number of callers must be measured with every length"):
        step_table(GRID[:-1], PrefillCost(0.0, 0.0))
    with pytest.raises(ProfilingError, match="needs two lengths"):
        prefill_token_seconds(SINGLE[0], SINGLE[0])


def test_a_release_that_is_not_served_is_refused(random_release_dir: Path) -> None:
    metadata = ProfileMetadata("made-up", "paper", "full", 512, None, load_release(random_release_dir))
    with pytest.raises(ProfilingError, match="the predictor serves release 0123456789abcdef"):
        make_profile(GRID, SINGLE, FACTS, metadata)


def test_a_written_profile_is_json_with_its_provenance(tmp_path: Path) -> None:
    document = make_profile(GRID, SINGLE, FACTS, SETTING).to_json()
    (tmp_path / "made-up.json").write_text(json.dumps(document), encoding="utf-8")
    provenance = load_profile(tmp_path / "made-up.json").provenance
    assert provenance["start_seconds"].startswith("assumed")
    assert provenance["step"].startswith("measured: 600 requests")


def test_an_installation_without_the_client_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "knative.profiling.measurement", None)
    assert main(["profile", "--hardware", "a CPU"]) == 1
    assert "pip install '.[transformer]' in a checkout of Yiwen" in capsys.readouterr().err
