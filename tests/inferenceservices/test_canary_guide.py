"""The commands in the guide to canaries exist, and its patches have the described effect."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest

import cli.rollout
from cli import rollout_options
from inferenceservices.check import ROOT
from inferenceservices.release_change import ReleaseChange
from inferenceservices.rollout import merge, plan_promote, plan_rollback, plan_set
from inferenceservices.schemas import validate
from protocol.kubernetes.documents import mapping
from tests.command_options import parse_options
from tests.inferenceservices.builds import crd_schemas, documents_of
from tests.inferenceservices.rollouts import carry_out, deployed, service_document

GUIDE = (ROOT.parent / "docs" / "guides" / "canary.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.+)$", GUIDE, re.MULTILINE)
PATCHES = [json.loads(shlex.split(command)[-1]) for command in COMMANDS if " patch " in command]
ROLLOUTS = [shlex.split(command)[1:] for command in COMMANDS if command.startswith("yiwen")]


def _parsed(words: list[str]) -> rollout_options.RolloutOptions:
    kinds = {
        "status": rollout_options.StatusOptions,
        "set": rollout_options.SetOptions,
        "run": rollout_options.RunOptions,
    }
    return parse_options(cli.rollout.app, kinds.get(words[1], rollout_options.ChangeOptions), *words[1:])


@pytest.mark.parametrize("words", ROLLOUTS, ids=" ".join)
def test_commands_parse(words: list[str]) -> None:
    parsed = _parsed(words)
    production = documents_of("overlays/production")
    (service,) = [document for document in production if document["kind"] == "InferenceService"]
    assert {"name": parsed.name, "namespace": parsed.namespace}.items() <= service["metadata"].items()


def test_all_kinds_of_commands_are_shown() -> None:
    assert {words[1] for words in ROLLOUTS} == {"status", "set", "run", "promote", "rollback"}
    assert len(PATCHES) == 3
    verbs = {command.split()[1] for command in COMMANDS if command.startswith("kubectl")}
    assert verbs == {"get", "describe", "annotate", "apply", "patch", "wait"}
    assert len(COMMANDS) == len(ROLLOUTS) + sum(command.startswith("kubectl ") for command in COMMANDS)


@pytest.mark.parametrize("patch", PATCHES, ids=json.dumps)
def test_patches_fit_kserves_schema(patch: dict[str, Any]) -> None:
    assert validate([merge(service_document(), patch)], crd_schemas())[0] == []


def test_patches_do_what_rollout_does() -> None:
    controller = deployed()
    carry_out(controller, plan_set(controller.document, 10, ReleaseChange(release="b")))
    half = plan_set(controller.document, 50, ReleaseChange())
    assert PATCHES[0]["spec"] == half.patch["spec"]
    carry_out(controller, half)
    assert PATCHES[1]["spec"] == plan_promote(controller.document).patch["spec"]
    assert PATCHES[2]["spec"] == plan_rollback(controller.document).patch["spec"]


def test_the_overlay_that_is_applied_starts_a_canary_with_tags() -> None:
    (command,) = [command for command in COMMANDS if " -k " in command]
    documents = documents_of("../" + command.split(" -k ")[1])
    (service,) = [document for document in documents if document["kind"] == "InferenceService"]
    assert {
        mapping(service, "spec", name)["canaryTrafficPercent"] for name in ("predictor", "transformer")
    } == {10}
    (annotate,) = [command for command in COMMANDS if " annotate " in command]
    key, _, value = shlex.split(annotate)[-2].partition("=")
    assert service["metadata"]["annotations"][key] == value
    section = GUIDE.split("## With kubectl alone\n")[1]
    assert set(re.findall(r" -n (\S+)", section)) == {service["metadata"]["namespace"]}


def test_fields_that_are_asked_for_are_in_the_status() -> None:
    (path,) = re.findall(r"jsonpath='([^']+)'", GUIDE)
    status = deployed().document["status"]["components"]["predictor"]
    assert set(re.findall(r"\{\.(\w+)\}", path)) <= set(status)
