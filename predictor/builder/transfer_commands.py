"""Options of ``release push``, ``release pull`` and ``release fetch``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from predictor.builder.errors import TransferFailed

if TYPE_CHECKING:
    from predictor.builder.transfer.http import TransferHttp
    from predictor.builder.transfer.registry import Registry

TOKEN_FILE_VARIABLE = "YIWEN_TOKEN_FILE"
PlainHttp = Annotated[bool, Option("--plain-http", help="HTTP, for a registry without TLS")]
TokenFile = Annotated[
    Path | None,
    Option(metavar="FILE", help=f"file with a token (for hubs also ${TOKEN_FILE_VARIABLE} or $HF_TOKEN)"),
]
Reference = Annotated[str, Argument(metavar="REF", help="such as registry.example.com/team/release:v1")]


@dataclass(frozen=True, kw_only=True)
class PushOptions:
    """Options of ``release push``."""

    release: Annotated[Path, Argument(metavar="DIR", help="the release")]
    reference: Reference
    image: Annotated[bool, Option("--image", help="push the image that KServe mounts (oci://)")] = False
    base: Annotated[
        str | None,
        Option(
            metavar="REF",
            help="of --image: an image with a shell that /models is added to, such as busybox's",
        ),
    ] = None
    plain_http: PlainHttp = False


@dataclass(frozen=True, kw_only=True)
class PullOptions:
    """Options of ``release pull``."""

    reference: Reference
    release: Annotated[Path, Argument(metavar="DIR", help="the release; must not exist yet")]
    force: Annotated[bool, Option("--force", help="replace a release that exists")] = False
    plain_http: PlainHttp = False


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """Options of ``release fetch``."""

    source: Annotated[
        str,
        Argument(
            metavar="SOURCE", help="hf://org/name[@rev], modelscope://..., s3://..., oci://..., https://..."
        ),
    ]
    directory: Annotated[Path, Argument(metavar="DIR", help="to fetch into; must not exist yet")]
    token_file: TokenFile = None
    endpoint: Annotated[
        str | None, Option(metavar="URL", help="of the hub ($HF_ENDPOINT, $MODELSCOPE_ENDPOINT)")
    ] = None
    plain_http: PlainHttp = False


def run_push(options: PushOptions) -> int:
    """Push a release, or the image that holds it.

    Raises:
        BuildError, ReleaseError: it cannot be read, or the registry refuses.
    """
    from predictor.builder.progress import reporter_for
    from predictor.builder.transfer.base_image import copy_base
    from predictor.builder.transfer.http import TransferHttp
    from predictor.builder.transfer.push import EMPTY_BASES, push_image, push_release
    from predictor.builder.transfer.registry_reference import parse_reference

    reference = parse_reference(options.reference)
    if reference.is_digest:
        raise TransferFailed(f"{reference}: a push names a tag, and the digest follows from the content")
    if options.base is not None and not options.image:
        raise TransferFailed("--base is for --image")
    with TransferHttp() as http, reporter_for(sys.stderr) as reporter, _local_errors():
        registry = _open_registry(http, options.reference, plain_http=options.plain_http)
        if options.image:
            bases = EMPTY_BASES
            if options.base is not None:
                source = _open_registry(http, options.base, plain_http=options.plain_http)
                bases = tuple(copy_base(http, source, parse_reference(options.base).name, registry, reporter))
            digest = push_image(options.release, registry, reference.name, reporter, bases)
        else:
            digest = push_release(options.release, registry, reference.name, reporter)
    print(f"{reference} {digest}")
    return 0


def run_pull(options: PullOptions) -> int:
    """Pull a release.

    Raises:
        BuildError, ReleaseError: there is none, it is damaged, or it cannot be written.
    """
    from predictor.builder.progress import reporter_for
    from predictor.builder.transfer.http import TransferHttp
    from predictor.builder.transfer.pull import pull_release
    from predictor.builder.transfer.registry_reference import parse_reference

    reference = parse_reference(options.reference)
    with TransferHttp() as http, reporter_for(sys.stderr) as reporter:
        registry = _open_registry(http, options.reference, plain_http=options.plain_http)
        release = pull_release(http, registry, reference.name, options.release, reporter, force=options.force)
    print(f"{options.release}: {release.name} {release.id}, {release.family}, {release.precision}")
    return 0


def run_fetch(options: FetchOptions) -> int:
    """Fetch a checkpoint or a release.

    Raises:
        BuildError, ReleaseError: it cannot be fetched or written.
    """
    from predictor.builder.progress import reporter_for
    from predictor.builder.transfer.fetch import FetchAccess, fetch, list_source
    from predictor.builder.transfer.http import TransferHttp
    from predictor.builder.transfer.registry_reference import SCHEME

    if options.source.startswith(SCHEME):
        pull = PullOptions(reference=options.source, release=options.directory, plain_http=options.plain_http)
        return run_pull(pull)
    given = None if options.token_file is None else _read_token(options.token_file)
    access = FetchAccess(options.endpoint, given or _hub_token(options.source, os.environ), web_token=given)
    with TransferHttp() as http, reporter_for(sys.stderr) as reporter:
        listing = list_source(http, options.source, access, os.environ)
        size = fetch(http, listing, options.directory, reporter)
    print(f"{options.directory}: {listing.version}, {len(listing.files)} files, {size / 1e6:,.1f} MB")
    return 0


def _hub_token(source: str, environ: Mapping[str, str]) -> str | None:
    """The token that the environment has for hubs."""
    if path := environ.get(TOKEN_FILE_VARIABLE):
        return _read_token(Path(path))
    return environ.get("HF_TOKEN") if source.startswith("hf://") else None


def _read_token(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise TransferFailed(f"{path}, the file of the token, cannot be read: {error}") from error


def _open_registry(http: TransferHttp, text: str, *, plain_http: bool) -> Registry:
    from predictor.builder.transfer.docker_credentials import find_login
    from predictor.builder.transfer.registry import Registry
    from predictor.builder.transfer.registry_reference import parse_reference

    reference = parse_reference(text)
    return Registry(http, reference, plain_http=plain_http, login=find_login(reference.host, os.environ))


@contextmanager
def _local_errors() -> Iterator[None]:
    """A file of ours that cannot be read becomes an error of the command."""
    try:
        yield
    except OSError as error:
        raise TransferFailed(
            f"{error.filename or 'a file'} cannot be read: {error.strerror or error}"
        ) from error
