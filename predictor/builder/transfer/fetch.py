"""Fetches a checkpoint or a release from a hub, a bucket or a web server into a new directory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from predictor.builder.errors import TargetUnusable, TransferFailed
from predictor.builder.progress import Reporter
from predictor.builder.release.integrity import find_faults
from predictor.builder.release.staging import staged
from predictor.builder.transfer import hugging_face, modelscope
from predictor.builder.transfer.download import download_all
from predictor.builder.transfer.http import TransferHttp
from predictor.builder.transfer.hugging_face import hugging_face_listing
from predictor.builder.transfer.listing import SourceListing
from predictor.builder.transfer.modelscope import modelscope_listing
from predictor.builder.transfer.s3 import s3_listing
from predictor.builder.transfer.web import web_listing
from protocol.release import RELEASE_FILE
from protocol.release_documents import ReleaseError

_HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@(.+))?")
FORMS = (
    "hf://org/name[@revision], modelscope://org/name[@revision], s3://bucket/folder, oci://REF or https://..."
)


@dataclass(frozen=True, slots=True)
class FetchAccess:
    """How a source is reached."""

    endpoint: str | None
    """URL of the hub in its default's place."""
    token: str | None
    """Of hubs."""
    web_token: str | None
    """Of a web server: only one that was given for it."""


def list_source(
    http: TransferHttp, source: str, access: FetchAccess, environ: Mapping[str, str]
) -> SourceListing:
    """The files that ``source`` has for a build.

    Args:
        http: to ask with.
        source: as the command line has it.
        access: endpoint and token.
        environ: the process's environment, for endpoints.

    Raises:
        TransferFailed: it is no source, cannot be reached, or holds nothing that can be built.
    """
    scheme, _, rest = source.partition("://")
    if scheme in ("http", "https") and rest:
        return web_listing(http, source, token=access.web_token)
    if scheme in ("hf", "modelscope"):
        found = _HUB_NAME.fullmatch(rest)
        if found is None:
            raise TransferFailed(
                f"{source} is no name on a hub: write it as {scheme}://org/name or .../name@revision"
            )
        module, listing = (
            (hugging_face, hugging_face_listing) if scheme == "hf" else (modelscope, modelscope_listing)
        )
        endpoint = access.endpoint or environ.get(module.ENDPOINT_VARIABLE) or module.ENDPOINT
        return listing(http, found[1], found[2], endpoint=endpoint.rstrip("/"), token=access.token)
    if scheme == "s3":
        bucket, _, folder = rest.partition("/")
        if not bucket:
            raise TransferFailed(f"{source} names no bucket: write it as s3://bucket/folder")
        return s3_listing(bucket, folder.strip("/"), endpoint=access.endpoint)
    raise TransferFailed(f"{source} is no source: {FORMS}")


def fetch(http: TransferHttp, listing: SourceListing, target: Path, reporter: Reporter) -> int:
    """Fetch all files of a listing; an interrupted fetch of the same version is continued. Returns their bytes.

    Args:
        http: to fetch with.
        listing: of the source.
        target: the directory, which appears when all files are there and checked.
        reporter: of the progress.

    Raises:
        TransferFailed: a file cannot be fetched, or has another content than the source says.
        TargetUnusable: the directory exists or cannot be written.
        ReleaseError: the source holds a release whose files do not fit each other.
    """
    if target.exists():
        raise TargetUnusable(f"{target} exists: remove it, or name another directory")
    unnamed = sorted(file.name for file in listing.files if file.digest is None)
    if unnamed:
        reporter.info(f"only the size is checked of {', '.join(unnamed)}: the source tells no digest")
    named = "\n".join(f"{file.name} {file.size} {file.digest}" for file in listing.files)
    key = hashlib.sha256(f"{listing.version}\n{named}".encode()).hexdigest()[:16]
    size = sum(file.size for file in listing.files)
    with staged(target.absolute(), key, needed=size, force=False) as directory:
        download_all(http, listing.regions(), directory, reporter)
        if (directory / RELEASE_FILE).is_file() and (faults := find_faults(directory, reporter)):
            raise ReleaseError(f"{listing.version}: {'; '.join(faults)}")
    return size
