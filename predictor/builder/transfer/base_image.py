"""The image that a release is added to where KServe runs it as a container of its own: it needs a shell in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from predictor.builder.errors import TransferFailed
from predictor.builder.progress import Reporter
from predictor.builder.transfer.blobs import BlobContent, FilePart
from predictor.builder.transfer.download import download_all
from predictor.builder.transfer.http import TransferHttp
from predictor.builder.transfer.manifests import ARCHITECTURES, Descriptor
from predictor.builder.transfer.push import BaseImage, push_blob
from predictor.builder.transfer.registry import Registry


def copy_base(
    http: TransferHttp, source: Registry, name: str, target: Registry, reporter: Reporter
) -> list[BaseImage]:
    """Copy an image's layers to the repository that a release is pushed to; one image per platform that it has.

    Args:
        http: to fetch with.
        source: where the image is.
        name: its tag or digest.
        target: where it is needed.
        reporter: of the progress.

    Raises:
        TransferFailed: it is no image for Linux on amd64 or arm64, or cannot be copied.
        OSError: a temporary file cannot be written.
    """
    bases = []
    for document in _manifests(source, name):
        config = source.get_json(str(document["config"]["digest"]))
        layers = tuple(_descriptor(layer) for layer in document["layers"])
        for layer in layers:
            if not target.has_blob(layer.digest):
                _copy(http, source, layer, target, reporter)
        bases.append(BaseImage(config, layers))
    return bases


def _manifests(source: Registry, name: str) -> Iterator[Mapping[str, Any]]:
    document = source.get_manifest(name).document
    if "layers" in document:
        yield document
        return
    found = [
        str(entry["digest"])
        for entry in document.get("manifests", ())
        if (platform := entry.get("platform") or {}).get("os") == "linux"
        and platform.get("architecture") in ARCHITECTURES
    ]
    if not found:
        raise TransferFailed(f"{name} of --base is no image for Linux on {' or '.join(ARCHITECTURES)}")
    for digest in found:
        yield source.get_manifest(digest).document


def _descriptor(layer: Mapping[str, Any]) -> Descriptor:
    # Docker's media types become those of OCI, since a manifest names only one kind.
    kind = str(layer["mediaType"]).replace("docker.image.rootfs.diff.tar.gzip", "oci.image.layer.v1.tar+gzip")
    return Descriptor(kind, str(layer["digest"]), int(layer["size"]), {})


def _copy(
    http: TransferHttp, source: Registry, layer: Descriptor, target: Registry, reporter: Reporter
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        region = source.blob_region(layer.digest, layer.size, "layer")
        download_all(http, [region], Path(directory), reporter)
        content = BlobContent((FilePart(Path(directory) / "layer", 0, layer.size),))
        push_blob(target, content, layer.digest, lambda count: None)
