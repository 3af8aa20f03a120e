"""Pulls a release from a registry into a directory that appears when all of it is there and checked."""

from __future__ import annotations

from pathlib import Path

from predictor.builder.errors import TransferFailed
from predictor.builder.progress import Reporter
from predictor.builder.release.integrity import find_faults
from predictor.builder.release.staging import staged
from predictor.builder.transfer.download import download_all
from predictor.builder.transfer.http import TransferHttp
from predictor.builder.transfer.manifests import file_regions
from predictor.builder.transfer.registry import Registry
from protocol.release import RELEASE_FILE, Release, load_release
from protocol.release_documents import ReleaseError


def pull_release(
    http: TransferHttp, registry: Registry, name: str, target: Path, reporter: Reporter, *, force: bool
) -> Release:
    """Pull a release; an interrupted pull of the same manifest to the same directory is continued.

    Args:
        http: to fetch with.
        registry: to pull from.
        name: tag or digest.
        target: the release's directory.
        reporter: of the progress.
        force: replace a release that is there.

    Raises:
        TransferFailed: there is no such release, or a file has another content than its manifest names.
        TransferInterrupted: the connection was lost.
        ReleaseError: the files are not those of one release.
        TargetUnusable: the directory cannot be written.
    """
    manifest = registry.get_manifest(name)
    files = file_regions(manifest.document, name)
    if RELEASE_FILE not in {each.name for each in files}:
        raise TransferFailed(f"{name} holds no {RELEASE_FILE}")
    regions = [registry.blob_region(each.digest, each.size, each.name, each.offset) for each in files]
    key = manifest.digest.hexadecimal[:16]
    needed = sum(region.size for region in regions)
    with staged(target.absolute(), key, needed=needed, force=force) as directory:
        download_all(http, regions, directory, reporter)
        if faults := find_faults(directory, reporter):
            raise ReleaseError(f"{name}: {'; '.join(faults)}: push the release again")
    return load_release(target)
