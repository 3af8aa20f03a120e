"""Pushes a release to a registry: its layers, those that are there already left out, and then its manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from predictor.builder.errors import TransferFailed
from predictor.builder.progress import Reporter
from predictor.builder.release.integrity import find_faults
from predictor.builder.transfer.blobs import BlobContent
from predictor.builder.transfer.digests import ContentDigest, sha256
from predictor.builder.transfer.manifests import (
    ARCHITECTURES,
    CONFIG_TYPE,
    EMPTY_CONTENT,
    EMPTY_TYPE,
    Descriptor,
    artifact_manifest,
    image_config,
    image_index,
    image_manifest,
)
from predictor.builder.transfer.registry import MANIFEST_TYPE, Registry, manifest_bytes
from predictor.builder.transfer.release_layers import (
    PART_BYTES,
    ReleaseLayer,
    artifact_layers,
    image_layers,
    release_names,
)
from predictor.builder.transfer.threads import SharedProgress, run_all
from protocol.release import Release, load_release


@dataclass(frozen=True, slots=True)
class BaseImage:
    """An image of one platform that a release is added to; its layers are in the registry already."""

    config: Mapping[str, Any]
    layers: tuple[Descriptor, ...]


EMPTY_BASES = tuple(BaseImage({"architecture": name, "os": "linux"}, ()) for name in ARCHITECTURES)


def push_release(
    directory: Path, registry: Registry, tag: str, reporter: Reporter, *, part_bytes: int = PART_BYTES
) -> str:
    """Push a release as an artifact; returns the manifest's digest.

    Args:
        directory: of the release, every file of which is checked first.
        registry: to push to.
        tag: that names it.
        reporter: of the progress.
        part_bytes: most bytes of a layer.

    Raises:
        ReleaseError: the release cannot be read.
        TransferFailed: a file has changed, or the registry refuses.
    """
    layers = artifact_layers(directory, _names(directory), part_bytes)
    release, digests = _check_and_digest(directory, layers, reporter)
    descriptors = _push_layers(registry, layers, digests, reporter)
    config = _push_bytes(registry, EMPTY_TYPE, EMPTY_CONTENT)
    return str(registry.put_manifest(tag, artifact_manifest(release, config, descriptors)))


def push_image(
    directory: Path,
    registry: Registry,
    tag: str,
    reporter: Reporter,
    bases: Sequence[BaseImage] = EMPTY_BASES,
) -> str:
    """Push a release as an image with ``/models``; returns the index's digest.

    Args:
        directory: of the release, every file of which is checked first.
        registry: to push to.
        tag: that names it.
        reporter: of the progress.
        bases: an image for each platform, to which the release is added.

    Raises:
        ReleaseError: the release cannot be read.
        TransferFailed: a file has changed, or the registry refuses.
    """
    contents = image_layers(directory, _names(directory))
    release, digests = _check_and_digest(directory, contents, reporter)
    layers = _push_layers(registry, contents, digests, reporter)
    manifests = []
    for base in bases:
        content = image_config(base.config, [layer.digest for layer in layers], release)
        config = _push_bytes(registry, CONFIG_TYPE, content)
        document = image_manifest(release, config, [*base.layers, *layers])
        digest = registry.put_manifest("", document)
        size = len(manifest_bytes(document))
        manifests.append((Descriptor(MANIFEST_TYPE, str(digest), size, {}), base.config))
    return str(registry.put_manifest(tag, image_index(manifests, release)))


def _names(directory: Path) -> list[str]:
    """Files of a release, which is there."""
    load_release(directory)
    return release_names(directory)


def _check_and_digest(
    directory: Path, layers: Sequence[ReleaseLayer], reporter: Reporter
) -> tuple[Release, list[ContentDigest]]:
    """Check every file of a release, and beside it compute the digest of every layer: each takes a core.

    Raises:
        ReleaseError: it is none.
        TransferFailed: a file is missing or has changed.
    """
    release = load_release(directory)
    files = sum((directory / name).stat().st_size for name in release_names(directory))
    read = SharedProgress(reporter, "check files", files + sum(layer.content.size for layer in layers))

    def check() -> None:
        if faults := find_faults(directory, _SharedReporter(read)):
            raise TransferFailed(f"{directory}: {'; '.join(faults)}: build the release again")

    tasks: list[Callable[[], ContentDigest | None]] = [check]
    tasks += [partial(layer.content.digest, read.advance) for layer in layers]
    _, *digests = run_all(tasks, read)
    return release, [digest for digest in digests if digest is not None]


class _SharedReporter:
    """A reporter of a part of a stage that several threads count."""

    def __init__(self, progress: SharedProgress) -> None:
        self._progress = progress

    def begin(self, stage: str, total_bytes: int) -> None:
        """The stage has begun already."""

    def advance(self, count: int, item: str = "") -> None:
        self._progress.advance(count)

    def info(self, text: str) -> None:
        """Nothing is said beside the progress."""


def _push_layers(
    registry: Registry, layers: Sequence[ReleaseLayer], digests: Sequence[ContentDigest], reporter: Reporter
) -> list[Descriptor]:
    descriptors = [
        Descriptor(layer.media_type, str(digest), layer.content.size, layer.annotations)
        for layer, digest in zip(layers, digests, strict=True)
    ]
    unique = {str(digest): layer.content for layer, digest in zip(layers, digests, strict=True)}
    sent = SharedProgress(reporter, "push layers", sum(content.size for content in unique.values()))
    run_all(
        [partial(push_blob, registry, content, digest, sent.advance) for digest, content in unique.items()],
        sent,
    )
    return descriptors


def push_blob(registry: Registry, content: BlobContent, digest: str, advance: Callable[[int], None]) -> None:
    """Send a blob, if the registry lacks it.

    Args:
        registry: to push to.
        content: of the blob.
        digest: of the content.
        advance: takes numbers of bytes that are done.
    """
    if registry.has_blob(digest):
        advance(content.size)
    else:
        registry.upload(content, digest, advance)


def _push_bytes(registry: Registry, media_type: str, content: bytes) -> Descriptor:
    digest = str(sha256(content))
    push_blob(registry, BlobContent((content,)), digest, lambda count: None)
    return Descriptor(media_type, digest, len(content), {})
