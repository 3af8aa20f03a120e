"""`yiwen release push --image`: what a node finds below /models."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cli.__main__ import main
from predictor.builder.transfer import release_layers
from predictor.builder.transfer.blobs import BlobContent
from predictor.builder.transfer.http import TransferHttp
from predictor.builder.transfer.registry import MANIFEST_TYPE, Registry
from predictor.builder.transfer.registry_reference import parse_reference
from tests.predictor.builder.transfer.docker_registry import RegistryServer
from tests.predictor.builder.transfer.trees import tree

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


@pytest.fixture(autouse=True)
def small_files_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_layers, "LARGE_BYTES", 50_000)


def push(release: Path, registry: RegistryServer, name: str, *options: object) -> int:
    reference = f"{registry.host}/{name}:v1"
    return main(["release", "push", str(release), reference, "--image", "--plain-http", *map(str, options)])


def blob(registry: RegistryServer, name: str, digest: str) -> bytes:
    content = registry.get(f"{name}/blobs/{digest}").content
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest
    return content


def manifests(registry: RegistryServer, name: str) -> dict[str, dict[str, Any]]:
    """Manifests of the image ``v1`` by architecture."""
    index = registry.get(f"{name}/manifests/v1", headers={"Accept": INDEX_TYPE}).json()
    assert index["mediaType"] == INDEX_TYPE
    return {
        entry["platform"]["architecture"]: registry.get(
            f"{name}/manifests/{entry['digest']}", headers={"Accept": MANIFEST_TYPE}
        ).json()
        for entry in index["manifests"]
    }


def unpacked(registry: RegistryServer, name: str, layers: list[dict[str, Any]], directory: Path) -> None:
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(blob(registry, name, layer["digest"]))) as archive:
            for member in archive:
                assert (member.uid, member.gid, member.mtime) == (0, 0, 0)
                assert member.mode == (0o755 if member.isdir() else 0o644)
            archive.extractall(directory, filter="data")


def test_the_image_holds_the_release_below_models(
    registry: RegistryServer, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(release, registry, "image") == 0
    first = capsys.readouterr().out
    found = manifests(registry, "image")
    assert set(found) == {"amd64", "arm64"}
    layers = found["amd64"]["layers"]
    assert layers == found["arm64"]["layers"]
    assert len(layers) > 1
    unpacked(registry, "image", layers, tmp_path)
    assert tree(tmp_path / "models") == tree(release)
    config = json.loads(blob(registry, "image", found["arm64"]["config"]["digest"]))
    assert (config["architecture"], config["os"]) == ("arm64", "linux")
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in layers]
    assert push(release, registry, "image") == 0
    assert capsys.readouterr().out == first


def test_a_release_is_added_to_a_base(registry: RegistryServer, release: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("bin/sh")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"shell"))
    shell = buffer.getvalue()
    config: dict[str, Any] = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}}
    config |= {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}}
    config |= {"history": [{"comment": "base"}]}
    with TransferHttp() as http:
        base = Registry(http, parse_reference(f"{registry.host}/busybox"), plain_http=True, login=None)
        described = []
        for content in (json.dumps(config).encode(), shell):
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            base.upload(BlobContent((content,)), digest, lambda count: None)
            described.append({"digest": digest, "size": len(content)})
        document = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", **described[0]},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", **described[1]}],
        }
        base.put_manifest("latest", document)
    assert push(release, registry, "with-base", "--base", f"{registry.host}/busybox") == 0
    (manifest,) = manifests(registry, "with-base").values()
    unpacked(registry, "with-base", manifest["layers"], tmp_path)
    assert (tmp_path / "bin" / "sh").read_bytes() == b"shell"
    assert tree(tmp_path / "models") == tree(release)
    made = json.loads(blob(registry, "with-base", manifest["config"]["digest"]))
    assert made["config"] == {"Cmd": ["sh"]}
    assert len(made["rootfs"]["diff_ids"]) == len(manifest["layers"]) == len(made["history"])


def test_an_image_is_not_pulled_as_a_release(
    registry: RegistryServer, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(release, registry, "no-artifact") == 0
    reference = f"{registry.host}/no-artifact:v1"
    assert main(["release", "pull", reference, str(tmp_path / "pulled"), "--plain-http"]) == 2
    assert "is mounted by KServe" in capsys.readouterr().err


def test_a_base_that_is_none_is_refused(
    registry: RegistryServer, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(release, registry, "bad-base", "--base", f"{registry.host}/absent") == 2
    assert "status 404" in capsys.readouterr().err
    reference = f"{registry.host}/bad-base:v1"
    assert main(["release", "push", str(release), reference, "--base", reference, "--plain-http"]) == 2
    assert "--base is for --image" in capsys.readouterr().err
