"""`yiwen release push` and `pull` with a real registry, and with connections that break."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.__main__ import main
from predictor.builder.errors import TransferFailed, TransferInterrupted
from predictor.builder.progress import SilentReporter
from predictor.builder.transfer import registry as registry_module
from predictor.builder.transfer.http import TransferHttp
from predictor.builder.transfer.pull import pull_release
from predictor.builder.transfer.push import push_release
from predictor.builder.transfer.registry import MANIFEST_TYPE, Registry
from predictor.builder.transfer.registry_reference import parse_reference
from protocol.release import load_release
from tests.predictor.builder.transfer.cutting_proxy import CuttingProxy, cutting_proxy
from tests.predictor.builder.transfer.docker_registry import RegistryServer
from tests.predictor.builder.transfer.trees import tree

ROOT = Path(__file__).parents[4]
PART = 64 << 10
"""Bytes of a layer: the release's weights are several."""


def run(*arguments: object) -> int:
    return main(["release", *map(str, arguments), "--plain-http"])


def opened(host: str, http: TransferHttp, name: str) -> Registry:
    return Registry(http, parse_reference(f"{host}/{name}"), plain_http=True, login=None)


def push(host: str, name: str, release: Path) -> str:
    with TransferHttp(pause=lambda seconds: None) as http:
        return push_release(release, opened(host, http, name), "v1", SilentReporter(), part_bytes=PART)


def pull(host: str, name: str, target: Path, tag: str = "v1") -> None:
    with TransferHttp(pause=lambda seconds: None) as http:
        pull_release(http, opened(host, http, name), tag, target, SilentReporter(), force=False)


def test_what_is_pulled_is_what_was_pushed(
    registry: RegistryServer, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = f"oci://{registry.host}/team/release:v1"
    assert run("push", release, reference) == 0
    name, digest = capsys.readouterr().out.split()
    assert name == reference.removeprefix("oci://")
    assert run("pull", f"{registry.host}/team/release@{digest}", tmp_path / "pulled") == 0
    assert tree(tmp_path / "pulled") == tree(release)
    assert load_release(release).id in capsys.readouterr().out
    assert main(["release", "verify", str(tmp_path / "pulled")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["pulled"]


def test_the_same_release_has_the_same_digest_and_is_not_sent_again(
    registry: RegistryServer, release: Path
) -> None:
    with cutting_proxy(registry.host) as proxy:
        first = push(proxy.host, "same", release)
        sent = proxy.passed
        assert push(proxy.host, "same", release) == first
        assert proxy.passed - sent < sent / 4


def test_a_target_that_exists_is_replaced_by_force_alone(
    registry: RegistryServer, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = f"{registry.host}/force:v1"
    assert run("push", release, reference) == 0
    shutil.copytree(release, tmp_path / "pulled")
    assert run("pull", reference, tmp_path / "pulled") == 2
    assert "replace it with --force" in capsys.readouterr().err
    (tmp_path / "pulled" / "weights.bin").unlink()
    assert run("pull", reference, tmp_path / "pulled", "--force") == 0
    assert tree(tmp_path / "pulled") == tree(release)


def killed_when_held(proxy: CuttingProxy, program: str, *arguments: object) -> None:
    """Run functions of this module in a process, and kill it when the proxy holds a connection still."""
    code = f"from tests.predictor.builder.transfer.test_push_pull import *; {program}"
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT)
    assert proxy.held.wait(60)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_killed_push_is_continued(registry: RegistryServer, release: Path, tmp_path: Path) -> None:
    with cutting_proxy(registry.host, 3 * PART, hold=True) as proxy:
        killed_when_held(proxy, "push(sys.argv[1], 'killed', Path(sys.argv[2]))", proxy.host, release)
    assert registry.get("killed/manifests/v1").status_code == 404
    whole = sum(len(content) for content in tree(release).values())
    with cutting_proxy(registry.host) as proxy:
        push(proxy.host, "killed", release)
        assert proxy.passed < whole - PART
    pull(registry.host, "killed", tmp_path / "pulled")
    assert tree(tmp_path / "pulled") == tree(release)


def test_a_killed_pull_leaves_no_release_and_is_continued(
    registry: RegistryServer, release: Path, tmp_path: Path
) -> None:
    push(registry.host, "pull", release)
    with cutting_proxy(registry.host, 3 * PART, hold=True) as proxy:
        killed_when_held(
            proxy, "pull(sys.argv[1], 'pull', Path(sys.argv[2]))", proxy.host, tmp_path / "pulled"
        )
    assert not (tmp_path / "pulled").exists()
    whole = sum(len(content) for content in tree(release).values())
    with cutting_proxy(registry.host) as proxy:
        pull(proxy.host, "pull", tmp_path / "pulled")
        assert proxy.passed < whole - PART
    assert tree(tmp_path / "pulled") == tree(release)
    assert [path.name for path in tmp_path.iterdir()] == ["pulled"]


def test_connections_that_break_again_and_again_break_nothing(
    registry: RegistryServer, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "CHUNK_BYTES", 16 << 10)
    with cutting_proxy(registry.host, 96 << 10, most_cuts=3) as proxy:
        push(proxy.host, "cut", release)
        assert proxy.cuts >= 3
    with cutting_proxy(registry.host, 40 << 10) as proxy:
        pull(proxy.host, "cut", tmp_path / "pulled")
        assert proxy.cuts > 3
    assert tree(tmp_path / "pulled") == tree(release)


def test_a_byte_that_flipped_in_the_registry_is_refused_until_it_is_mended(
    registry: RegistryServer, release: Path, tmp_path: Path
) -> None:
    push(registry.host, "flipped", release)
    layers = registry.get("flipped/manifests/v1", headers={"Accept": MANIFEST_TYPE}).json()["layers"]
    layer = next(each for each in layers if each["annotations"]["yiwen.file"] == "weights.bin")
    path = registry.blob_path(layer["digest"])
    good = path.read_bytes()
    path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    with pytest.raises(TransferFailed, match="does not have the content that sha256"):
        pull(registry.host, "flipped", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
    path.write_bytes(good)
    pull(registry.host, "flipped", tmp_path / "pulled")
    assert tree(tmp_path / "pulled") == tree(release)


def test_a_manifest_that_flipped_is_refused(registry: RegistryServer, release: Path, tmp_path: Path) -> None:
    digest = push(registry.host, "manifest", release)
    path = registry.blob_path(digest)
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"size":', b'"size": ', 1))
    with pytest.raises(TransferFailed, match=r"(status 404|status 500|sent something else)"):
        pull(registry.host, "manifest", tmp_path / "pulled", digest)
    path.write_bytes(good)


def test_a_damaged_release_is_not_pushed(
    registry: RegistryServer, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(release, tmp_path / "copy")
    content = (copy / "weights.bin").read_bytes()
    (copy / "weights.bin").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert run("push", copy, f"{registry.host}/damaged:v1") == 2
    assert "weights.bin has changed" in capsys.readouterr().err
    assert registry.get("damaged/tags/list").status_code == 404


def test_a_registry_that_is_gone_is_named(release: Path, tmp_path: Path) -> None:
    with pytest.raises(TransferInterrupted, match=r"no connection to 127\.0\.0\.1"):
        push("127.0.0.1:9", "gone", release)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("release:v1", "does not name its registry"),
        ("team/release:v1", "does not name its registry"),
        ("registry.example.com/Team/release", "is no name of a repository"),
        ("registry.example.com/team:a/b", "is no tag"),
        ("registry.example.com/team@sha256:12", "is no digest"),
        (f"registry.example.com/team@sha256:{'0' * 64}", "a push names a tag"),
    ],
)
def test_references_that_are_none_say_what_is_wrong(
    release: Path, reference: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("push", release, reference) == 2
    assert message in capsys.readouterr().err


def test_what_is_not_there_is_said(
    registry: RegistryServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("pull", f"{registry.host}/nothing:v1", tmp_path / "pulled") == 2
    assert "status 404: there is no such thing" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
