"""docs/guides/cluster.md, command by command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.features import Features
from tests.cluster.installation import begin_removal, volume_of
from tests.cluster.kubectl import documents, kubectl
from tests.cluster.releases import PROJECT
from tests.cluster.this_run import OWN_LABEL, run_id

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.slow]

NAMESPACE = "yiwen"
GUIDE = (PROJECT / "docs" / "guides" / "cluster.md").read_text(encoding="utf-8")
IMAGES, *COMMANDS = GUIDE.split("**1.**")
BLOCKS = re.findall(r"```console\n(.*?)```", "".join(COMMANDS), re.DOTALL)


@pytest.fixture
def namespace(features: Features) -> Iterator[str]:
    """That of the guide, which must not be there; a volume where the cluster makes none."""
    if documents("namespaces", f"--field-selector=metadata.name={NAMESPACE}"):
        pytest.skip(f"the cluster has a namespace {NAMESPACE} already")
    if features.host_path:
        kubectl("apply", "-f", "-", stdin=json.dumps(volume_of(NAMESPACE, features.host_path)))
    yield NAMESPACE
    begin_removal(NAMESPACE)


def test_the_guides_commands_lead_to_traffic(
    features: Features, namespace: str, figures: dict[str, Any]
) -> None:
    began = time.monotonic()
    *steps, request = ["\n".join(line.removeprefix("$ ") for line in block.splitlines()) for block in BLOCKS]
    assert len(steps) == 5
    for number, command in enumerate(steps, 1):
        _run(command)
        figures[f"command_{number}_s"] = round(time.monotonic() - began)
        if number == 2:
            kubectl("label", "namespace", namespace, f"{OWN_LABEL}={run_id()}")
    answer = json.loads(_run(request, INGRESS=features.ingress))
    (translation,) = [each for each in answer["outputs"] if each["name"] == "translation"]
    assert translation["data"] == ["带盖的蓝色陶瓷马克杯 350毫升"]


def _run(command: str, **environ: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env={**os.environ, **environ},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout[-1000:], done.stderr[-1000:])
    return done.stdout
