"""The guide names what is there: directories, components, values, rules, commands."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from cli.__main__ import main
from inferenceservices.check import ROOT
from inferenceservices.rules import rule_set
from protocol.kubernetes.documents import kind_and_name, mapping
from tests.inferenceservices.builds import documents_of
from tests.inferenceservices.documents import CLUSTER

PROJECT = ROOT.parent
GUIDE = PROJECT / "docs" / "guides" / "manifests.md"
TEXT = GUIDE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.+?)(?:\s+#.*)?$", TEXT, re.MULTILINE)


def _section(heading: str) -> str:
    return TEXT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def test_every_rule_is_listed_once() -> None:
    rules = rule_set(CLUSTER)
    rows = [row for row in _section("Checks").splitlines() if row.startswith("| ")]
    listed = [name for row in rows for name in re.findall(r"`([a-z-]+)`", row)]
    assert sorted(listed) == sorted({*rules.services, *rules.components, *rules.pods, *rules.manifests})


def test_every_component_is_listed() -> None:
    rows = [row for row in _section("What is where").splitlines() if row.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row.split("|")[1])}
    assert {path.name for path in (ROOT / "components").iterdir()} <= listed


def test_every_value_is_listed() -> None:
    known = set(yaml.safe_load((ROOT / "base" / "values.yaml").read_text(encoding="utf-8"))["data"])
    rows = [row for row in _section("Values").splitlines() if row.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([A-Za-z]+)`", row.split("|")[1])} == known


@pytest.mark.parametrize("command", [command for command in COMMANDS if " -k " in command])
def test_what_is_applied_can_be_built(command: str) -> None:
    directory = command.split(" -k ")[1].split()[0]
    assert documents_of(f"../{directory}")


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("kubectl wait")])
def test_what_is_waited_for_is_applied(command: str) -> None:
    kind, name = command.split()[-1].split("/")
    where = "release-jobs/production" if kind == "job" else "overlays/production"
    applied = {kind_and_name(d).lower(): mapping(d, "metadata").get("namespace") for d in documents_of(where)}
    assert applied[f"{kind}/{name}"] == command.split(" -n ")[1].split()[0]


def test_secrets_that_are_made_are_those_that_are_used() -> None:
    made = {
        command.split()[4]: set(re.findall(r"--from-literal=(\w+)=", command))
        for command in COMMANDS
        if command.startswith("kubectl create secret")
    }
    documents = documents_of("overlays/production") + documents_of("release-jobs/production")
    named = set(re.findall(r"(?:secretName|secretRef:\s+name|name): (\S+)", yaml.safe_dump_all(documents)))
    assert set(made) == {"yiwen-redis", "yiwen-redis-tls", "yiwen-source"}
    assert set(made) <= named
    assert made["yiwen-redis"] == {"url", "password"}


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith("kubectl")])
def test_other_commands_exist(command: str, tmp_path: Path) -> None:
    program, *arguments = command.split()
    if program == "openssl":
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
        assert {path.name for path in tmp_path.iterdir()} == {"tls.crt", "tls.key"}
    elif program == "make":
        done = subprocess.run(
            ["make", "--dry-run", *arguments], cwd=PROJECT, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
    elif program == "yiwen":
        assert main([arguments[0], "--help"]) == 0
    else:
        assert (PROJECT / program).is_file()
        assert all((ROOT / argument).is_dir() for argument in arguments)
