"""Fixtures of the tests against a cluster; they are collected by ``make cluster-test`` alone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.features import Features, read_features
from tests.cluster.installation import Site, own_namespace, remove_leftovers
from tests.cluster.knative_configuration import configure_knative
from tests.cluster.kubectl import KubectlError
from tests.cluster.node import NodeShell, node_shell
from tests.cluster.overlays import Overlay

RUN_VARIABLE = "CLUSTER_TEST"
FIGURES_VARIABLE = "CLUSTER_FIGURES"
REQUIRED = ("KServe", "Knative", "Knative ingress", "volumes")

if not os.environ.get(RUN_VARIABLE):
    collect_ignore_glob = ["test_*.py"]

_figures: dict[str, dict[str, Any]] = {}
_features: list[Features] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--quick"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="left out by --quick"))


@pytest.fixture(scope="session")
def features() -> Features:
    """What the cluster has; ends the run with exit code 2 where it lacks what every test needs."""
    try:
        found = read_features()
    except KubectlError as error:
        pytest.exit(f"the cluster of the kubeconfig does not answer: {error}", returncode=2)
    if missing := [f"{name}: {found.missing[name]}" for name in REQUIRED if name in found.missing]:
        pytest.exit("the cluster lacks what the tests need: " + "; ".join(missing), returncode=2)
    _features.append(found)
    remove_leftovers()
    configure_knative()
    return found


@pytest.fixture(scope="session")
def knative(features: Features, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The overlay laptop with Redis in a namespace of its own; releases a and b were built by release Jobs."""
    with own_namespace(features, "knative", tmp_path_factory.mktemp("knative")) as installation:
        site = Site(installation, Overlay("laptop", installation.namespace, extra=("redis",), small=()))
        site.prepare()
        yield site


@pytest.fixture(scope="session")
def standard(features: Features, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The overlay standard on CPUs in a namespace of its own, with the same releases."""
    require(features, "KEDA", "Gateway")
    with own_namespace(features, "standard", tmp_path_factory.mktemp("standard")) as installation:
        overlay = Overlay(
            "standard",
            installation.namespace,
            {"groupSize": "1", "host": f"{installation.namespace}.example.com"},
            swap={"full-gpu": "cpu", "storage-rwx": "storage-rwo", "monitoring": "", "topology": ""},
            spec={"predictor": {"minReplicas": 1}, "transformer": {"minReplicas": 1}},
        )
        site = Site(installation, overlay)
        site.prepare()
        yield site


@pytest.fixture(scope="session")
def node(features: Features, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeShell]:
    """Signals to processes of the node."""
    with own_namespace(features, "node", tmp_path_factory.mktemp("node")) as installation:
        with node_shell(installation.namespace) as shell:
            yield shell


@pytest.fixture(scope="module", params=["knative", "standard"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """One mode after the other, serving release a."""
    site: Site = request.getfixturevalue(request.param)
    with site.serving():
        yield site


def require(features: Features, *names: str) -> None:
    """Leave the test out where the cluster lacks something."""
    for name in names:
        if name in features.missing:
            pytest.skip(f"no {name}: {features.missing[name]}")


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What this test measured, for the table at the end."""
    return _figures.setdefault(request.node.name, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for found in _features[:1]:
        for line in found.lines():
            terminalreporter.write_line(line)
    for name, values in _figures.items():
        terminalreporter.write_line(
            f"{name}: " + ", ".join(f"{key} {value}" for key, value in values.items())
        )
    if (path := os.environ.get(FIGURES_VARIABLE)) and _figures:
        document = {
            "date": time.strftime("%Y-%m-%d"),
            "versions": _features[0].versions if _features else {},
            "left_out": _features[0].missing if _features else {},
            "figures": _figures,
        }
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
