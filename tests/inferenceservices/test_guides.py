"""The commands, resources, labels, metrics and messages in all guides exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from cli.__main__ import main
from inferenceservices.check import ROOT
from predictor.metrics import EngineMetrics
from protocol.kubernetes.documents import kind_and_name, mapping
from tests.inferenceservices.builds import documents_of
from transformer.errors import ReleaseNotServed
from transformer.metrics import TransformerMetrics

PROJECT = ROOT.parent
GUIDES = {path.name: path.read_text(encoding="utf-8") for path in (PROJECT / "docs" / "guides").glob("*.md")}
NEW = ("mig.md", "troubleshooting.md")
COMMANDS = [
    (name, command) for name in NEW for command in re.findall(r"^\$ (.+)$", GUIDES[name], re.MULTILINE)
]
KUBECTL = [command for _, command in COMMANDS if command.startswith("kubectl")]


@pytest.mark.parametrize("command", [c for _, c in COMMANDS if c.startswith("yiwen")])
def test_yiwen_commands_parse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    known = [word for word in words if not word.startswith("-")][: 2 if words[0] == "rollout" else 1]
    assert main([*known, "--help"]) == 0
    usage = capsys.readouterr().out
    assert all(word in usage for word in words if word.startswith("-"))


@pytest.mark.parametrize("command", [c for c in KUBECTL if " -n " in c])
def test_kubectl_commands_name_existing_objects(command: str) -> None:
    documents = documents_of("overlays/production")
    (service,) = [each for each in documents if each["kind"] == "InferenceService"]
    words = shlex.split(command)
    assert words[words.index("-n") + 1] == service["metadata"]["namespace"]
    if "-l" in words:
        label, _, component = words[words.index("-l") + 1].partition("=")
        assert mapping(service, "spec", component)["labels"][label] == component
    else:
        assert f"{words[2]}/{words[3]}" in {kind_and_name(each).lower() for each in documents}
    if "-c" in words:
        (container,) = mapping(service, "spec", "predictor")["containers"]
        assert container["name"] == words[words.index("-c") + 1]


def test_node_labels_are_those_of_affinities() -> None:
    (service,) = [d for d in documents_of("overlays/production") if d["kind"] == "InferenceService"]
    affinity = mapping(service, "spec", "predictor")["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    asked = {expression["key"]: expression.get("values") for expression in term["matchExpressions"]}
    shown = set(re.findall(r"-L (\S+)", GUIDES["mig.md"])) - {"nvidia.com/mig.config"}
    assert shown <= set(asked)
    assert asked["nvidia.com/mig.config.state"] == ["success"]
    (layout,) = re.findall(r"nvidia.com/mig.config=all-(\S+)", GUIDES["mig.md"])
    assert f"nvidia.com/mig-{layout}.count" in asked


@pytest.mark.parametrize("name", sorted(GUIDES))
def test_metrics_exist(name: str) -> None:
    registry = CollectorRegistry()
    EngineMetrics(registry)
    TransformerMetrics(registry)
    known = {
        form
        for metric in registry.collect()
        for form in (metric.name, f"{metric.name}_total" if metric.type == "counter" else metric.name)
    }
    assert set(re.findall(r"`(yiwen_(?:predictor|transformer)_\w+)`", GUIDES[name])) <= known


@pytest.mark.parametrize("name", sorted(GUIDES))
def test_links_resolve(name: str) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", GUIDES[name]):
        path = (PROJECT / "docs" / "guides" / target) if target else PROJECT / "docs" / "guides" / name
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            assert anchor in _anchors(path), f"{target}#{anchor}"


def test_quoted_messages_exist() -> None:
    text = GUIDES["troubleshooting.md"]
    assert "found only a predictor of" in text
    assert "found only a predictor of" in ReleaseNotServed("a", "b", retry_after_s=1.0).message
    planless = (PROJECT / "predictor/runners/tensorrt/start/choose_plan.py").read_text(encoding="utf-8")
    assert re.search(r"no plan in \{directory\} can run", planless)
    assert "no plan in ... can run" in text


@pytest.mark.parametrize("target", re.findall(r"`make ([a-z-]+)", "".join(GUIDES.values())))
def test_targets_exist(target: str) -> None:
    done = subprocess.run(["make", "--dry-run", target], cwd=PROJECT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
