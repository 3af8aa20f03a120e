"""The commands of the runbooks: ours parse, and kubectl's name objects, labels and containers of an overlay."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import typer

from cli.__main__ import app
from inferenceservices.check import ROOT
from tests.inferenceservices.builds import documents_of

PAGES = {path.stem: path.read_text("utf-8") for path in (ROOT.parent / "docs" / "runbooks").glob("*.md")}
OVERLAY = "overlays/production"
OF_THE_CLUSTER = {"pod", "pods", "node", "event"}
"""Kinds whose objects no manifest of ours makes."""
PLACEHOLDERS = {"POD", "NODE"}


def commands(program: str) -> list[str]:
    """The commands of a program on all pages, in blocks and in sentences, without what they are piped into."""
    found = set()
    for page in PAGES.values():
        block = re.findall(rf"^\$ ({program} .+)$", page, re.MULTILINE)
        inline = re.findall(rf"`({program} [^`]+)`", page)
        found |= {" ".join(command.split(" | ")[0].split()) for command in (*block, *inline)}
    return sorted(found)


class Pods(NamedTuple):
    """Pods that a manifest of the overlay makes."""

    name: str
    labels: dict[str, str]
    containers: set[str]


def pods_of(documents: list[dict[str, Any]]) -> Iterator[Pods]:
    """The pods of services, of sets and of the release's Job, with the containers that others put into them."""
    meshed = any(each["kind"] == "PeerAuthentication" for each in documents)
    for document in documents:
        spec = document.get("spec", {})
        for component in ("predictor", "transformer") if document["kind"] == "InferenceService" else ():
            part = spec[component]
            injected = {"istio-proxy"} if meshed else set[str]()
            containers = {each["name"] for each in part["containers"]} | injected
            yield Pods("POD", part["labels"], containers)
        if document["kind"] in ("StatefulSet", "Job"):
            template = spec["template"]
            names = {each["name"] for each in template["spec"]["containers"]}
            yield Pods(f"{document['metadata']['name']}-0", template["metadata"]["labels"], names)


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return [*documents_of(OVERLAY), *documents_of("release-jobs/production")]


@pytest.mark.parametrize("command", commands("yiwen"))
def test_a_command_of_ours_has_such_words_and_options(command: str) -> None:
    words = shlex.split(command)[1:]
    found: Any = typer.main.get_command(app)
    context = found.make_context("yiwen", [], resilient_parsing=True)
    while hasattr(found, "get_command"):
        found = found.get_command(context, words.pop(0))
        assert found is not None
        context = found.make_context(found.name, [], parent=context, resilient_parsing=True)
    if words:  # else the sentence only names it
        found.make_context(found.name, words)


def is_selected(labels: dict[str, str], selector: str) -> bool:
    """Whether kubectl's ``-l`` selects a pod, by equality or ``in``."""
    if match := re.fullmatch(r"(\S+) in \((\S+)\)", selector):
        return labels.get(match[1]) in match[2].split(",")
    label, _, value = selector.partition("=")
    return labels.get(label) == value


def option(words: list[str], name: str) -> str | None:
    return words[words.index(name) + 1] if name in words else None


@pytest.mark.parametrize("command", commands("kubectl"))
def test_kubectl_finds_what_a_command_names(command: str, documents: list[dict[str, Any]]) -> None:
    words = shlex.split(command)
    pods = list(pods_of(documents))
    assert option(words, "-n") in (None, "yiwen", "monitoring")
    if (selector := option(words, "-l")) is not None:
        pods = [each for each in pods if is_selected(each.labels, selector)]
        assert pods
    if (label := option(words, "-L")) is not None:
        assert any(label in each.labels for each in pods)
    named = [word for word in words[2:] if re.fullmatch(r"yiwen-[a-z-]+-0", word)]
    pods = [each for each in pods if not named or each.name in named]
    assert pods
    container = option(words, "-c")
    # kubectl prints nothing at all if one of the pods has no such container; POD stands for one that is known.
    if container is not None and not PLACEHOLDERS & set(words):
        assert [each for each in pods if container not in each.containers] == []


@pytest.mark.parametrize("command", [c for c in commands("kubectl") if c.split()[1] in ("get", "describe")])
def test_kinds_are_those_of_the_overlay(command: str, documents: list[dict[str, Any]]) -> None:
    kinds = {each["kind"].lower() for each in documents} | OF_THE_CLUSTER
    kinds |= {f"{kind}s" for kind in kinds}
    assert set(command.split()[2].split(",")) <= kinds


def test_a_selector_that_selects_a_pod_without_the_container_is_found(
    documents: list[dict[str, Any]],
) -> None:
    wrong = "kubectl logs -n yiwen -l app.kubernetes.io/part-of=yiwen -c kserve-container"
    with pytest.raises(AssertionError):
        test_kubectl_finds_what_a_command_names(wrong, documents)
