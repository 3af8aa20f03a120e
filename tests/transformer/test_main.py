from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serving.arguments import read_settings
from serving.settings import SettingsError
from tests.forkserver import run_module
from tests.transformer.process import ROOT, environment
from transformer.__main__ import main
from transformer.config import TransformerConfig


def test_a_process_that_cannot_start_prints_one_line_and_exits_with_2(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "transformer", "--release", str(tmp_path), "--predictor_host", "localhost"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == f"transformer: {tmp_path} is not a release: build one with `yiwen release build`\n"


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({"YIWEN_RELEASE": ""}, (), "YIWEN_RELEASE is missing"),
        ({"YIWEN_CASH_BYTES": "1"}, (), "did you mean YIWEN_CACHE_BYTES?"),
        ({"YIWEN_PREDICTOR_URL": "ftp://predictor"}, (), "YIWEN_PREDICTOR_URL must begin with http"),
        ({"YIWEN_CACHE_BYTES": "-1"}, (), "YIWEN_CACHE_BYTES must be at least 0"),
        ({}, ("--workers", "2"), "--workers must be 1"),
        ({}, (), "tokenizer.json is missing"),
    ],
)
def test_every_fault_of_the_setting_up_is_one_line(
    release_directory: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    shutil.copytree(release_directory, tmp_path / "r", ignore=shutil.ignore_patterns("tokenizer.json"))
    whole = {"YIWEN_RELEASE": str(tmp_path / "r"), "YIWEN_PREDICTOR_URL": "http://127.0.0.1:9"}
    assert main(arguments, {**whole, **settings}) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_settings_come_from_the_environment_and_kserves_arguments_win() -> None:
    environ = {"YIWEN_RELEASE": "/r", "YIWEN_PREDICTOR_URL": "elsewhere", "YIWEN_CACHE_BYTES": "0"}
    config, settings = read_settings(
        TransformerConfig, ["--predictor_host", "predictor:80", "--http_port", "9000"], environ
    )
    assert config == TransformerConfig(Path("/r"), "http://predictor:80", cache_bytes=0)
    assert settings.http_port == 9000


def test_an_argument_of_a_later_kserve_is_logged_and_ignored(tmp_path: Path) -> None:
    arguments = (
        "--release",
        str(tmp_path),
        "--predictor_host=p",
        "--predictor_protocol=v2",
        "--nthreads",
        "2",
    )
    ended = run_module("transformer", *arguments, env=environment())
    warning, error = ended.stderr.splitlines()
    assert json.loads(warning)["arguments"] == ["--nthreads"]
    assert error.startswith("transformer: ")


def test_an_address_that_is_none_is_refused_wherever_it_comes_from() -> None:
    with pytest.raises(SettingsError, match="YIWEN_PREDICTOR_URL must"):
        TransformerConfig(Path("/r"), "http://")


def test_idle_connections_are_dropped_before_the_server_drops_them() -> None:
    assert TransformerConfig(Path("/r"), "predictor").keepalive_s < 65
