"""Fixtures of the tests against a cluster; they are collected by ``make cluster-test`` alone.

Several processes share the tests (pytest-xdist). Each has namespaces of its own, and runs whole groups of tests.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.features import Features, read_features
from tests.cluster.installation import Site, own_namespace, remove_leftovers, remove_own
from tests.cluster.knative_configuration import configure_knative
from tests.cluster.kubectl import KubectlError
from tests.cluster.node import NodeShell, node_shell
from tests.cluster.overlays import Overlay
from tests.cluster.this_run import begin_run, end_run

RUN_VARIABLE = "CLUSTER_TEST"
FIGURES_VARIABLE = "CLUSTER_FIGURES"
FIGURES = "figures"
"""Name of the property of a test that holds what it measured."""
REQUIRED = ("KServe", "Knative", "Knative ingress", "volumes")
LONGEST = (
    "test_doctor", "test_release_change", "test_canary_run", "test_rollout", "test_scale_to_zero", "test_scaling",
    "test_faults", "test_variants",
)  # fmt: skip
"""Modules whose tests begin first."""
THOROUGH = ("test_doctor", "test_canary_run")
"""Modules that run with ``--thorough`` alone."""
TOGETHER = {"test_nodes": "test_doctor", "test_serving": "test_rollout"}
"""Modules that run in the process of another one: both play nodes; short tests follow one that is long."""
IN_BOTH_MODES = ("test_canary_run", "test_release_change", "test_rollout", "test_serving")
"""Modules whose tests' first parameter is the mode."""
ALONE = {"slow": "slow", "never": "stuck", "no room": "stuck"}
"""Group of the release changes that run beside the others, by the test's second parameter."""

if not os.environ.get(RUN_VARIABLE):
    collect_ignore_glob = ["test_*.py"]

_figures: dict[str, dict[str, Any]] = {}
_found = pytest.StashKey[Features]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out the tests that take minutes")
    parser.addoption("--thorough", action="store_true", help="doctor's faults and judged canaries too")


def pytest_configure(config: pytest.Config) -> None:
    """Before any process begins: end with exit code 2 where the cluster lacks what every test needs."""
    if not os.environ.get(RUN_VARIABLE) or _is_worker(config) or config.option.collectonly:
        return
    try:
        found = read_features()
    except KubectlError as error:
        pytest.exit(f"the cluster of the kubeconfig does not answer: {error}", returncode=2)
    if missing := [f"{name}: {found.missing[name]}" for name in REQUIRED if name in found.missing]:
        pytest.exit("the cluster lacks what the tests need: " + "; ".join(missing), returncode=2)
    config.stash[_found] = found
    begin_run()
    remove_leftovers()
    configure_knative()


def pytest_unconfigure(config: pytest.Config) -> None:
    """After the last process: wait until all namespaces are gone, also those of a process that was ended."""
    if _found in config.stash:
        remove_own()
        end_run()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not os.environ.get(RUN_VARIABLE):
        return
    items.sort(key=_turn)
    for item in items:
        if config.getoption("--quick") and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="left out by --quick"))
    if not config.getoption("--thorough"):
        left_out = [item for item in items if item.path.stem in THOROUGH]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What shares an installation stays in one process."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Scheduler(LoadScopeScheduling):  # type: ignore[misc]
        """Distributes groups of tests."""

        def _reschedule(self, node: Any) -> None:
            # A process begins its last test when it has the next one; xdist gives two groups more.
            if self.workqueue and self._pending_of(self.assigned_work[node]) > 1:
                return
            super()._reschedule(node)

        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Scheduler(config, log) if os.environ.get(RUN_VARIABLE) else None


def group_of(nodeid: str) -> str:
    """Group of a test: its module and, where that has several, its mode and the kind of release change."""
    module, _, name = nodeid.partition("::")
    stem = Path(module).stem
    if stem not in IN_BOTH_MODES:
        return TOGETHER.get(stem, stem)
    mode, _, change = name.partition("[")[2].rstrip("]").partition("-")
    return f"{TOGETHER.get(stem, stem)} {mode} {ALONE.get(change, '')}"


def _turn(item: pytest.Item) -> int:
    """Place of its module: what takes long begins first."""
    stem = item.path.stem
    return LONGEST.index(stem) if stem in LONGEST else len(LONGEST)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.fixture(scope="session")
def features() -> Features:
    """What the cluster has."""
    return read_features()


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
    """What this test measured, for the table at the end: with its report it comes from whichever process ran it."""
    measured: dict[str, Any] = {}
    request.node.user_properties.append((FIGURES, measured))
    return measured


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect the figures of a test that has ended."""
    if report.when != "call":
        return
    name = report.nodeid.rpartition("::")[2].partition("@")[0]
    for key, measured in report.user_properties:
        if key == FIGURES and measured:
            _figures[name] = {"seconds": round(report.duration), **dict(measured)}  # type: ignore[call-overload]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    found = terminalreporter.config.stash.get(_found, None)
    for line in found.lines() if found else ():
        terminalreporter.write_line(line)
    for name, values in _figures.items():
        terminalreporter.write_line(
            f"{name}: " + ", ".join(f"{key} {value}" for key, value in values.items())
        )
    if (path := os.environ.get(FIGURES_VARIABLE)) and _figures:
        document = {
            "date": time.strftime("%Y-%m-%d"),
            "versions": found.versions if found else {},
            "left_out": found.missing if found else {},
            "figures": _figures,
        }
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
