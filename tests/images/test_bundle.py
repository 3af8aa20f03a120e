"""The bundle for installations without a network: what it names, and what its ``install`` accepts."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from predictor.builder.transfer.registry import MANIFEST_TYPE
from tests.images.test_dockerfile import ROOT
from tests.predictor.builder.transfer.docker_registry import RegistryServer, running_registry

SCRIPTS = ROOT / "scripts"
OWN, OTHER = "registry.example.com/yiwen/transformer:1", "docker.io/valkey/valkey:8"


@pytest.fixture(scope="module")
def bundle() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield importlib.import_module("bundle")
    finally:
        sys.path.remove(str(SCRIPTS))


def write_image(layout: Path, name: str, layer: bytes) -> dict[str, object]:
    """An image of one layer; returns its entry of the index."""

    def blob(content: bytes) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (layout / "blobs" / "sha256" / digest).write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": f"{kind}.config.v1+json", **blob(b'{"os":"linux"}')},
        "layers": [{"mediaType": f"{kind}.layer.v1.tar", **blob(layer)}],
    }
    entry = {"mediaType": f"{kind}.manifest.v1+json", **blob(json.dumps(manifest, indent=3).encode())}
    return entry | {"annotations": {"org.opencontainers.image.ref.name": name}}


@pytest.fixture
def packed(bundle: ModuleType, random_release_dir: Path, tmp_path: Path) -> Path:
    """A bundle without wheels, with two images of a few bytes."""
    root = tmp_path / "bundle"
    layout = root / "images"
    (layout / "blobs" / "sha256").mkdir(parents=True)
    entries = [write_image(layout, name, name.encode()) for name in (OWN, OTHER)]
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    lines = [
        f"{name}\t{entry['digest']}\t-\tincluded\n" for name, entry in zip((OWN, OTHER), entries, strict=True)
    ]
    (root / "images.tsv").write_text("".join([*lines, "example.com/absent:1\t-\t-\tabsent\n"]))
    (root / "manifests").mkdir()
    manifest = "".join(f"image: {name}\n" for name in (OWN, OTHER, "example.com/absent:1"))
    (root / "manifests" / "overlay.yaml").write_text(manifest)
    shutil.copytree(random_release_dir, root / "release" / "random")
    shutil.copy(SCRIPTS / "bundle_install", root / "install")
    shutil.copy(SCRIPTS / "push_images.py", root / "push_images.py")
    sums = "".join(f"{digest}  {name}\n" for name, digest in bundle.sums(root))
    (root / "SHA256SUMS").write_text(sums)
    return root


def install(packed: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [str(packed / "install"), *arguments]
    return subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, check=False, cwd=ROOT
    )


def test_a_bundle_is_what_was_packed(packed: Path) -> None:
    done = install(packed, "verify")
    assert done.returncode == 0, done.stderr
    assert "not in this bundle: example.com/absent:1" in done.stdout


@pytest.mark.parametrize("part", ["release/random/weights.bin", "images.tsv", "push_images.py"])
def test_a_flipped_bit_is_found(packed: Path, part: str) -> None:
    content = bytearray((packed / part).read_bytes())
    content[-1] ^= 1
    (packed / part).write_bytes(content)
    done = install(packed, "verify")
    assert done.returncode == 1
    assert f"{part}: FAILED" in done.stdout


def test_missing_and_additional_files_are_found(packed: Path) -> None:
    (packed / "release" / "random" / "weights.bin").rename(packed / "weights.bin")
    assert install(packed, "verify").returncode == 1
    (packed / "weights.bin").rename(packed / "release" / "random" / "weights.bin")
    (packed / "wheels").mkdir()
    (packed / "wheels" / "other-1-py3-none-any.whl").touch()
    assert "files that SHA256SUMS does not name" in install(packed, "verify").stderr


def test_a_release_is_installed_whole(packed: Path, random_release_dir: Path, tmp_path: Path) -> None:
    done = install(packed, "release", str(tmp_path / "models"))
    assert done.stdout.strip() == str(tmp_path / "models" / "random")
    assert (tmp_path / "models" / "random" / "weights.bin").read_bytes() == (
        random_release_dir / "weights.bin"
    ).read_bytes()
    assert "exists: remove it first" in install(packed, "release", str(tmp_path / "models")).stderr


def test_a_changed_release_is_not_installed(packed: Path, tmp_path: Path) -> None:
    (packed / "release" / "random" / "translation.json").write_text("{}")
    done = install(packed, "release", str(tmp_path / "models"))
    assert done.returncode == 1
    assert "have changed or are missing" in done.stderr
    assert not (tmp_path / "models").exists()


def test_manifests_name_the_images_of_a_registry_by_digest(packed: Path) -> None:
    digests = [line.split("\t")[1] for line in (packed / "images.tsv").read_text().splitlines()]
    lines = install(packed, "manifests", "harbor.internal/mirror").stdout.splitlines()
    assert lines == [
        f"image: harbor.internal/mirror/yiwen/transformer@{digests[0]}",
        f"image: harbor.internal/mirror/valkey/valkey@{digests[1]}",
        "image: example.com/absent:1",
    ]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with running_registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


def push(packed: Path, registry: RegistryServer) -> subprocess.CompletedProcess[str]:
    environ = {"VENV": sys.prefix, "PLAIN_HTTP": "1", "DOCKER_CONFIG": str(packed), "PYTHONPATH": str(ROOT)}
    return install(packed, "push", f"{registry.host}/mirror", **environ)


def test_pushed_images_keep_their_digests(packed: Path, registry: RegistryServer) -> None:
    done = push(packed, registry)
    assert done.returncode == 0, done.stderr
    for line in (packed / "images.tsv").read_text().splitlines()[:2]:
        name, digest = line.split("\t")[:2]
        path, _, tag = name.partition("/")[2].rpartition(":")
        answer = registry.get(f"mirror/{path}/manifests/{tag}", headers={"Accept": MANIFEST_TYPE})
        assert f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == digest
        assert f"{registry.host}/mirror/{path}:{tag} {digest}" in done.stdout


def test_an_image_without_a_layer_is_not_pushed(packed: Path, registry: RegistryServer) -> None:
    layer = hashlib.sha256(OWN.encode()).hexdigest()
    (packed / "images" / "blobs" / "sha256" / layer).unlink()
    sums = (packed / "SHA256SUMS").read_text().splitlines(keepends=True)
    (packed / "SHA256SUMS").write_text("".join(line for line in sums if not line.endswith(f"{layer}\n")))
    done = push(packed, registry)
    assert done.returncode == 1
    assert f"lacks sha256:{layer}" in done.stderr


def test_images_are_found_in_manifests_knative_and_kserve(bundle: ModuleType) -> None:
    settings = {
        "storageInitializer": json.dumps({"image": "kserve/storage-initializer:v0.20.0", "memory": "1Gi"})
    }
    documents = [
        {"spec": {"containers": [{"image": "docker.io/valkey/valkey:8"}, {"image": "busybox:1"}]}},
        {"kind": "ConfigMap", "data": {"queue-sidecar-image": "gcr.io/knative-releases/queue@sha256:ab"}},
        {"kind": "ConfigMap", "data": settings},
        {"kind": "CustomResourceDefinition", "properties": {"image": {"type": "string"}}},
        None,
    ]
    assert bundle.images_in(documents) == [
        "docker.io/kserve/storage-initializer:v0.20.0",
        "docker.io/library/busybox:1",
        "docker.io/valkey/valkey:8",
        "gcr.io/knative-releases/queue@sha256:ab",
    ]


def test_a_bundle_needs_a_whole_release(bundle: ModuleType, random_release_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(bundle.BundleError, match="RELEASE names no release"):
        bundle.add_release(tmp_path / "release", "")
    shutil.copytree(random_release_dir, tmp_path / "changed")
    (tmp_path / "changed" / "weights.bin").write_bytes(b"")
    with pytest.raises(bundle.BundleError, match=r"weights\.bin"):
        bundle.add_release(tmp_path / "release", str(tmp_path / "changed"))


def test_our_own_images_must_be_there(bundle: ModuleType) -> None:
    absent = [bundle.BundledImage(OWN)]
    with pytest.raises(bundle.BundleError, match="build them first"):
        bundle.check_images(absent, "registry.example.com/yiwen", is_strict=False)
    with pytest.raises(bundle.BundleError, match="STRICT"):
        bundle.check_images([bundle.BundledImage(OTHER)], "registry.example.com/yiwen", is_strict=True)
