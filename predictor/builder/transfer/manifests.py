"""The documents that describe a release in a registry, as the image specification 1.1 has them.

https://github.com/opencontainers/image-spec/blob/main/manifest.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from predictor.builder.errors import TransferFailed
from predictor.builder.transfer.registry import INDEX_TYPE, MANIFEST_TYPE
from predictor.builder.transfer.release_layers import FILE_NAME, FILE_OFFSET, FILE_SIZE, FILE_TYPE
from protocol.release import Release

ARTIFACT_TYPE = "application/vnd.yiwen.release.v1"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY_CONTENT = b"{}"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
ARCHITECTURES = ("amd64", "arm64")
"""Of nodes that may mount an image without a base: its files are the same for both."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob or manifest as another manifest names it."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The JSON document."""
        document = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return document | ({"annotations": dict(self.annotations)} if self.annotations else {})


@dataclass(frozen=True, slots=True)
class FileRegion:
    """A layer of an artifact and its place in a release."""

    name: str
    offset: int
    file_size: int
    digest: str
    size: int


def artifact_manifest(release: Release, config: Descriptor, layers: Sequence[Descriptor]) -> dict[str, Any]:
    """The manifest of a release as an artifact."""
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
        "annotations": release_annotations(release),
    }


def image_manifest(release: Release, config: Descriptor, layers: Sequence[Descriptor]) -> dict[str, Any]:
    """The manifest of a release as an image."""
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
        "annotations": release_annotations(release),
    }


def image_config(base: Mapping[str, Any], layers: Sequence[str], release: Release) -> bytes:
    """The configuration of an image.

    Args:
        base: the configuration of the image that it adds to; at least ``architecture`` and ``os``.
        layers: sha256 digests of the layers that are added, which are not compressed.
        release: that they hold.
    """
    rootfs = base.get("rootfs") or {}
    built = release.provenance.get("built_at")
    history = [{"created_by": f"yiwen release push {release.id}"} | ({"created": built} if built else {})]
    document = {
        **base,
        "rootfs": {"type": "layers", "diff_ids": [*rootfs.get("diff_ids", []), *layers]},
        "history": [*base.get("history", []), *history * len(layers)],
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def image_index(
    manifests: Sequence[tuple[Descriptor, Mapping[str, Any]]], release: Release
) -> dict[str, Any]:
    """The index over an image's manifests.

    Args:
        manifests: each with the configuration that says its platform.
        release: that all of them hold.
    """
    entries = []
    for descriptor, config in manifests:
        platform = {key: config[key] for key in ("architecture", "os", "variant") if key in config}
        entries.append(descriptor.to_json() | {"platform": platform})
    return {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": entries,
        "annotations": release_annotations(release),
    }


def release_annotations(release: Release) -> dict[str, str]:
    """What a registry's page shows of a release."""
    return {"org.opencontainers.image.title": release.name, "yiwen.release": release.id}


def file_regions(document: Mapping[str, Any], reference: object) -> list[FileRegion]:
    """The files that an artifact's manifest names.

    Args:
        document: the manifest.
        reference: for messages.

    Raises:
        TransferFailed: it is the manifest of something else, or parts of a file are missing.
    """
    if document.get("artifactType") != ARTIFACT_TYPE:
        what = "an image" if document.get("manifests") or document.get("layers") else "something else"
        raise TransferFailed(
            f"{reference} is {what}, not a release: what `yiwen release push --image` made is mounted by KServe; to "
            "pull a release, push it without --image"
        )
    try:
        regions = [_region(layer) for layer in document["layers"] if layer["mediaType"] == FILE_TYPE]
    except (KeyError, TypeError, ValueError) as error:
        raise TransferFailed(f"{reference}: its manifest is not one of this version: {error!r}") from error
    _check_regions(regions, reference)
    return regions


def _region(layer: Mapping[str, Any]) -> FileRegion:
    annotations = layer["annotations"]
    return FileRegion(
        name=str(annotations[FILE_NAME]),
        offset=int(annotations[FILE_OFFSET]),
        file_size=int(annotations[FILE_SIZE]),
        digest=str(layer["digest"]),
        size=int(layer["size"]),
    )


def _check_regions(regions: Sequence[FileRegion], reference: object) -> None:
    ends: dict[str, int] = {}
    sizes = {region.name: region.file_size for region in regions}
    for region in sorted(regions, key=lambda each: (each.name, each.offset)):
        if region.offset != ends.get(region.name, 0) or region.file_size != sizes[region.name]:
            raise TransferFailed(f"{reference}: parts of {region.name} are missing or overlap")
        ends[region.name] = region.offset + region.size
    if ends != sizes:
        raise TransferFailed(f"{reference}: parts of a file are missing")
