"""Images in an OCI layout, pushed to a registry byte for byte: their digests stay as they are.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md: a directory with ``index.json`` and
``blobs/sha256/``. The entries of the index name images by the annotation ``org.opencontainers.image.ref.name``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predictor.builder.errors import TransferFailed
from predictor.builder.transfer.blobs import BlobContent, FilePart
from predictor.builder.transfer.digests import sha256
from predictor.builder.transfer.push import push_blob
from predictor.builder.transfer.registry import INDEX_TYPE, MANIFEST_TYPE, Registry

REF_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class LayoutImage:
    """An image of a layout."""

    name: str
    """Such as ``docker.io/library/redis:7``."""
    digest: str
    media_type: str


def images_of(layout: Path) -> list[LayoutImage]:
    """The images that a layout names.

    Raises:
        TransferFailed: it is no layout.
    """
    index = _json(layout / "index.json")
    return [
        LayoutImage(entry["annotations"][REF_NAME], entry["digest"], entry.get("mediaType", MANIFEST_TYPE))
        for entry in index.get("manifests", ())
        if REF_NAME in entry.get("annotations", {})
    ]


def push_layout_image(layout: Path, image: LayoutImage, registry: Registry, tag: str) -> str:
    """Push one image; returns its digest.

    Args:
        layout: directory.
        image: of the layout.
        registry: the repository to push to.
        tag: of the image there.

    Raises:
        TransferFailed: a blob is missing or has changed, or the registry refuses.
    """
    _push_parts(layout, image.digest, registry)
    body = _blob(layout, image.digest).read_bytes()
    return str(registry.put_manifest_bytes(tag, image.media_type, body))


def _push_parts(layout: Path, digest: str, registry: Registry) -> None:
    """Push all that a manifest or an index names."""
    document = _json(_blob(layout, digest))
    for entry in document.get("manifests", ()):
        child = _blob(layout, entry["digest"])
        if child.exists():  # an index may name platforms that were not copied
            _push_parts(layout, entry["digest"], registry)
            registry.put_manifest_bytes("", entry.get("mediaType", MANIFEST_TYPE), child.read_bytes())
    for entry in _blobs_of(document):
        path = _blob(layout, entry["digest"])
        if not path.exists():
            raise TransferFailed(f"{layout} lacks {entry['digest']}: make it again")
        content = BlobContent((FilePart(path, 0, path.stat().st_size),))
        push_blob(registry, content, str(entry["digest"]), lambda count: None)


def _blobs_of(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if document.get("mediaType") != INDEX_TYPE and "config" in document:
        yield document["config"]
        yield from document["layers"]


def _blob(layout: Path, digest: str) -> Path:
    return layout.joinpath("blobs", *digest.split(":", 1))


def _json(path: Path) -> Mapping[str, Any]:
    try:
        body = path.read_bytes()
        document = json.loads(body)
    except (OSError, ValueError) as error:
        raise TransferFailed(f"{path} cannot be read: {error}") from error
    if path.parent.parent.name == "blobs" and sha256(body).hexadecimal != path.name:
        raise TransferFailed(f"{path} has changed: its digest is another one")
    if not isinstance(document, dict):
        raise TransferFailed(f"{path} is no manifest")
    return document
