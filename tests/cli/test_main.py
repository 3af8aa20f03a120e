"""What every command has in common: version, usage errors, imports, tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from cli.__main__ import COMMANDS, main
from cli.service_options import ServiceOptions
from cli.tables import print_table
from protocol.version import package_version
from tests.transformer.process import ROOT


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"yiwen {package_version()}\n"
    assert package_version() in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)
    for name in COMMANDS:
        assert main([name, "--help"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["translate", "--to", "zh", "--bacth", "3"], "--batch"),
        (["translat"], "translate"),
        (["translate", "text"], "Missing option '--to'"),
        (["translate", "--to", "zh", "--header", "no colon", "text"], "'no colon' is not NAME: VALUE"),
        (["rollout", "set", "name", "--percent", "ten"], "--percent"),
        (["profile", "--hardware", "CPU", "--callers", "1,x"], "whole numbers separated by commas"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_meant(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def loaded_by(*words: str) -> set[str]:
    """Modules that a command line imports."""
    program = (
        "import sys; from cli.__main__ import main\n"
        "code = main(sys.argv[1:]); print(*sys.modules, sep='\\n', file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return {name.partition(".")[0] for name in done.stderr.splitlines()}


SERVICES = {
    "kserve",
    "fastapi",
    "grpc",
    "redis",
    "tokenizers",
    "onnxruntime",
    "onnx",
    "kubernetes",
    "aiohttp",
}


@pytest.mark.parametrize("words", [["--help"], ["release", "build", "--help"], ["simulate", "--help"]])
def test_help_imports_no_library_of_the_services(words: list[str]) -> None:
    assert not loaded_by(*words) & {*SERVICES, "numpy", "httpx"}


def test_translate_needs_its_http_client_alone() -> None:
    assert not loaded_by("translate", "--help") & SERVICES


def test_ctrl_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.translate_run.translate_all", interrupted)
    assert main(["translate", "--to", "zh", "text"]) == 130


def test_headers_and_a_token_come_with_every_request(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n", encoding="utf-8")
    options = ServiceOptions(header=["X-Team: shop", "Host: a:80"], token_file=tmp_path / "token")
    assert options.http_headers() == {"X-Team": "shop", "Host": "a:80", "Authorization": "Bearer s3cret"}
    assert ServiceOptions().http_headers() == {}


def table() -> Table:
    made = Table("revision", "url")
    made.add_row("yiwen-predictor-00001", "http://yiwen-predictor-00001.yiwen.svc")
    made.add_row("two", "")
    return made


def shown(console: Console) -> list[str]:
    with console.capture() as captured:
        print_table(table(), console)
    return [line.strip() for line in captured.get().splitlines() if line.strip()]


def test_a_table_in_a_pipe_has_no_lines() -> None:
    assert shown(Console(width=100, force_terminal=False)) == [
        "revision               url",
        "yiwen-predictor-00001  http://yiwen-predictor-00001.yiwen.svc",
        "two",
    ]


def test_a_table_that_is_too_wide_becomes_one_block_per_row() -> None:
    assert shown(Console(width=60, force_terminal=False)) == [
        "revision  yiwen-predictor-00001",
        "url       http://yiwen-predictor-00001.yiwen.svc",
        "revision  two",
    ]
