"""What a node finds in the image that ``release push --image`` makes, pulled and run by buildah.

Runs with YIWEN_TEST_BUILDAH=1 alone, as root: it needs buildah and a static busybox (Debian: busybox-static).
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cli.__main__ import main
from predictor.builder.transfer import release_layers
from predictor.builder.verify.compare import ReleaseGenerator
from predictor.runners.onnx_runtime import OnnxRuntimeRunner
from protocol.release import load_release
from tests.predictor.builder.checkpoints import build
from tests.predictor.builder.transfer.docker_registry import RegistryServer, running_registry
from tests.predictor.builder.transfer.trees import tree
from tests.releases import write_checkpoint

USER = "1010"
"""What KServe runs both containers as, by its ConfigMap's ``uidModelcar``."""
INIT = """[ -d /models ] && [ "$(ls -A /models)" ]"""
MODELCAR = "ln -sf /proc/$$/root/models /mnt/models && sleep infinity"
"""What KServe runs in the image, in its init container and beside the service."""

CONTAINER = """mount --make-rprivate / && mount --bind "$0" "$0" && cd "$0" && pivot_root . old &&
exec /bin/sh -c "$1"
"""
"""Runs a command in a root of its own, as a container runtime does: ``/proc/PID/root`` then is a link to ``/``."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with running_registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("release")
    build(write_checkpoint(directory / "checkpoint", hidden=96), directory / "release")
    return directory / "release"


@pytest.fixture(autouse=True)
def own_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(release_layers, "LARGE_BYTES", 50_000)
    lines = [
        "[storage]",
        'driver = "vfs"',
        f'graphroot = "{tmp_path}/storage"',
        f'runroot = "{tmp_path}/run"',
    ]
    (tmp_path / "storage.conf").write_text("\n".join(lines))
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    yield
    subprocess.run(["buildah", "rm", "--all"], check=False, capture_output=True)


def buildah(*arguments: object) -> str:
    command = ["buildah", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def pushed(release: Path, registry: RegistryServer, name: str, *options: str) -> str:
    reference = f"{registry.host}/{name}:v1"
    assert main(["release", "push", str(release), reference, "--image", "--plain-http", *options]) == 0
    return reference


def mounted(reference: str) -> Path:
    return Path(buildah("mount", buildah("from", "--tls-verify=false", reference)))


def test_a_node_finds_the_release_below_models(registry: RegistryServer, release: Path) -> None:
    root = mounted(pushed(release, registry, "plain"))
    assert tree(root / "models") == tree(release)
    assert {path.name for path in root.iterdir()} <= {"models", "dev", "proc", "sys", "etc", "run"}


def push_busybox(registry: RegistryServer) -> str:
    program = shutil.which("busybox")
    assert program is not None, "busybox is not installed: apt-get install busybox-static"
    container = buildah("from", "scratch")
    buildah("copy", container, program, "/bin/busybox")
    root = Path(buildah("mount", container))
    for name in ("sh", "ls", "ln", "sleep"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "mnt").mkdir(mode=0o777)
    (root / "mnt").chmod(0o777)
    buildah("commit", "--quiet", container, "busybox")
    buildah("push", "--quiet", "--tls-verify=false", "busybox", f"docker://{registry.host}/busybox:v1")
    return f"{registry.host}/busybox:v1"


def test_the_commands_of_kserve_run_in_it_and_the_release_is_served_through_the_link(
    registry: RegistryServer, release: Path
) -> None:
    root = mounted(pushed(release, registry, "modelcar", "--base", push_busybox(registry)))
    inside = ["chroot", f"--userspec={USER}:{USER}", str(root), "/bin/sh", "-c"]
    assert subprocess.run([*inside, INIT], check=False).returncode == 0
    (root / "old").mkdir()
    modelcar = subprocess.Popen(["unshare", "--mount", "sh", "-c", CONTAINER, str(root), MODELCAR])
    try:
        for _ in range(200):
            if (root / "mnt" / "models").is_symlink():
                break
            time.sleep(0.02)
        linked = root / "mnt" / "models"
        assert linked.readlink() == Path(f"/proc/{modelcar.pid}/root/models")
        assert json.loads((linked / "release.json").read_text())["id"]
        assert main(["release", "verify", str(linked)]) == 0
        prompts = [np.arange(5)]
        served, own = (ReleaseGenerator(each).generate(prompts, 4) for each in (linked, release))
        np.testing.assert_array_equal(served.ids, own.ids)
        assert (
            not linked.resolve().exists()
        )  # nor can ONNX Runtime resolve it, which then refuses the weights
        runner = OnnxRuntimeRunner(linked, load_release(linked), slots=1, threads=1, spin=False)
        runner.close()
    finally:
        modelcar.send_signal(signal.SIGKILL)
        modelcar.wait()
