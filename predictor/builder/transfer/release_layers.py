"""The layers of a release in a registry: as an artifact, and as the image that KServe mounts.

The artifact has a layer per file. A larger file has several, so that a push or pull that was ended goes on there with
every registry: many forget the beginning of a blob whose connection broke, and some refuse blobs above 10 GB.

The image has the release below ``/models``, where KServe looks. Each large file is a tar of its own, which a node
fetches beside the others; nothing is compressed, since weights do not shrink.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from predictor.builder.transfer.blobs import BlobContent, FilePart, split_file
from protocol.integrity import LARGE_BYTES, STAMPS_DIR

PART_BYTES = 256 << 20
"""Bytes of a layer of the artifact, at most."""
FILE_TYPE = "application/vnd.yiwen.release.file.v1"
TAR_TYPE = "application/vnd.oci.image.layer.v1.tar"
IMAGE_ROOT = "models"
TITLE = "org.opencontainers.image.title"
FILE_NAME, FILE_OFFSET, FILE_SIZE = "yiwen.file", "yiwen.offset", "yiwen.size"
"""Annotations: the path in the release, where the layer begins in that file, and the file's size."""


@dataclass(frozen=True, slots=True)
class ReleaseLayer:
    """A layer to push."""

    media_type: str
    content: BlobContent
    annotations: dict[str, str]


def release_names(directory: Path) -> list[str]:
    """Paths of all files of a release, relative to it; with plans and reports, without this machine's stamps."""
    names = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    return sorted(name for name in names if not name.startswith(f"{STAMPS_DIR}/"))


def artifact_layers(
    directory: Path, names: Sequence[str], part_bytes: int = PART_BYTES
) -> list[ReleaseLayer]:
    """The layers of the artifact: the parts of each file, in order.

    Args:
        directory: of the release.
        names: of its files.
        part_bytes: most bytes of a layer.
    """
    layers = []
    for name in names:
        path = directory / name
        size = path.stat().st_size
        parts = split_file(path, size, part_bytes)
        for number, part in enumerate(parts, 1):
            title = name if len(parts) == 1 else f"{name}.part-{number:04}-of-{len(parts):04}"
            annotations = {
                TITLE: title,
                FILE_NAME: name,
                FILE_OFFSET: str(part.offset),
                FILE_SIZE: str(size),
            }
            layers.append(ReleaseLayer(FILE_TYPE, BlobContent((part,)), annotations))
    return layers


def image_layers(directory: Path, names: Sequence[str]) -> list[ReleaseLayer]:
    """The layers of the image: one for small files and folders, and one per large file.

    Args:
        directory: of the release.
        names: of its files.
    """
    sizes = {name: (directory / name).stat().st_size for name in names}
    small = [name for name, size in sizes.items() if size < LARGE_BYTES]
    parts: list[bytes | FilePart] = [_folder_header(folder) for folder in _folders(names)]
    for name in small:
        parts += _file_entry(directory, name, sizes[name])
    layers = [_tar_layer(parts, IMAGE_ROOT)]
    for name in names:
        if name not in small:
            layers.append(_tar_layer(_file_entry(directory, name, sizes[name]), f"{IMAGE_ROOT}/{name}"))
    return layers


def _tar_layer(parts: Sequence[bytes | FilePart], title: str) -> ReleaseLayer:
    end = bytes(2 * tarfile.BLOCKSIZE)  # two empty blocks end a tar
    return ReleaseLayer(TAR_TYPE, BlobContent((*parts, end)), {TITLE: f"{title}.tar"})


def _folders(names: Sequence[str]) -> Iterator[str]:
    """The folders that the files lie in, outer ones first."""
    found = {f"{IMAGE_ROOT}/"}
    for name in names:
        found |= {f"{IMAGE_ROOT}/{folder}/" for folder in PurePosixPath(name).parents if folder.name}
    return iter(sorted(found))


def _folder_header(name: str) -> bytes:
    info = tarfile.TarInfo(name.rstrip("/"))
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return _header(info)


def _file_entry(directory: Path, name: str, size: int) -> list[bytes | FilePart]:
    info = tarfile.TarInfo(f"{IMAGE_ROOT}/{name}")
    info.size, info.mode = size, 0o644
    padding = -size % tarfile.BLOCKSIZE
    return [_header(info), FilePart(directory / name, 0, size), bytes(padding)]


def _header(info: tarfile.TarInfo) -> bytes:
    """The header; owner root and time 0 by TarInfo's defaults, so that the same release gives the same layers."""
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
