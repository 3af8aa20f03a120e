"""Downloads files into a directory: continued after an interruption, and refused if a digest differs.

A file is fetched as one or more regions, each from its own URL, with its own digest. How far a region has come stands
in a small file in ``.progress/``, so that a killed download goes on from there. What was fetched before is read again
for the digest.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from predictor.builder.errors import TransferFailed, TransferInterrupted
from predictor.builder.progress import Reporter
from predictor.builder.transfer.digests import ContentDigest
from predictor.builder.transfer.http import HttpAnswer, HttpStream, LostConnection, TransferHttp
from predictor.builder.transfer.threads import SharedProgress, run_all

PROGRESS_DIR = ".progress"
"""In the directory that is being filled; removed when all is there."""
PIECE_BYTES = 1 << 20
_BARREN_TRIES = 6
"""Tries in a row that bring no byte before a download is given up."""


@dataclass(frozen=True, slots=True)
class RemoteRegion:
    """A file on a server, which is a file here, or a part of one."""

    name: str
    """Path of the file here, relative to the directory."""
    url: str
    size: int
    digest: ContentDigest | None
    """None: the server tells none, and only the size is checked."""
    offset: int = 0
    """Where it begins in the file."""
    headers: Callable[[], dict[str, str]] = field(default=dict)
    """Headers of a request for it, made anew for each: tokens expire."""


def download_all(
    http: TransferHttp, regions: Sequence[RemoteRegion], directory: Path, reporter: Reporter
) -> None:
    """Fetch regions into a directory, several at a time.

    Args:
        http: to fetch with.
        regions: in any order; no two of them overlap.
        directory: which exists.
        reporter: of the progress, in bytes.

    Raises:
        TransferInterrupted: a connection was lost too often; what was fetched stays.
        TransferFailed: a server refuses, sends something else, or a name leads out of the directory.
        OSError: a file cannot be written.
    """
    for region in regions:
        _check_name(region.name)
    progress = SharedProgress(reporter, "fetch", sum(region.size for region in regions))
    downloads = [_Download(http, each, directory, progress.advance) for each in regions]
    run_all([download.run for download in downloads], progress)
    shutil.rmtree(directory / PROGRESS_DIR, ignore_errors=True)


def refusal(url: str, answer: HttpAnswer | HttpStream) -> TransferFailed:
    """The error for a status that a server refuses a request with; its message says what may help."""
    reason = {
        401: "it asks for a token (--token-file), or does not know the one that it got, or there is no such thing",
        403: "the token has no access; if the model is gated, accept its terms on its page first",
        404: "there is no such thing, or the token may not see it",
    }.get(answer.status, "run the command again later")
    return TransferFailed(f"{url} answered with status {answer.status}: {reason}")


def _check_name(name: str) -> None:
    """Refuse a name from a server that leads out of the directory, or to a file of our own."""
    parts = name.split("/")
    if not all(parts) or {".", ".."} & set(parts) or "\\" in name or "\0" in name or parts[0] == PROGRESS_DIR:
        raise TransferFailed(
            f"the source names the file {name!r}, which leads out of the directory: not fetched"
        )


class _Download:
    """One region on its way."""

    def __init__(
        self,
        http: TransferHttp,
        region: RemoteRegion,
        directory: Path,
        advance: Callable[[int], None],
    ) -> None:
        self._http, self._region, self._advance = http, region, advance
        self._path = directory / region.name
        key = hashlib.sha256(f"{region.name} {region.offset} {region.size} {region.digest}".encode())
        self._mark = directory / PROGRESS_DIR / key.hexdigest()[:32]
        self._done = 0
        """Bytes that are written."""
        self._hash = self._begun()

    def run(self) -> None:
        """Fetch what is missing, and check it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._mark.parent.mkdir(exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            resumed = self._resume(descriptor)
            self._fetch(descriptor)
            if not self._intact() and resumed:
                # What lay there may have been damaged meanwhile: once more, from its beginning.
                self._restart()
                self._fetch(descriptor)
        finally:
            os.close(descriptor)
        if not self._intact():
            found = self._hash.hexdigest() if self._hash else ""
            self._mark.unlink(missing_ok=True)
            raise TransferFailed(
                f"{self._region.url} does not have the content that {self._region.digest} names: what came has "
                f"{found}. It was damaged on the way or on the server; fetch it again, or push it again"
            )

    def _resume(self, descriptor: int) -> bool:
        """Read what an earlier run has written; whether there was anything."""
        try:
            written = min(int(self._mark.read_text()), self._region.size)
        except (OSError, ValueError):
            return False
        while self._done < written:
            wanted = min(PIECE_BYTES, written - self._done)
            content = os.pread(descriptor, wanted, self._region.offset + self._done)
            if not content:
                break
            self._account(content)
        return self._done > 0

    def _fetch(self, descriptor: int) -> None:
        barren = 0
        while self._done < self._region.size:
            before = self._done
            try:
                self._read_once(descriptor)
                reason = "the server sent too little"
            except LostConnection as error:
                reason = str(error)
            barren = 0 if self._done > before else barren + 1
            if barren >= _BARREN_TRIES:
                raise TransferInterrupted(
                    f"{self._region.url}: {reason}; run the command again, and it goes on at byte {self._done}"
                )
            if self._done < self._region.size:
                self._http.wait(barren + 1)

    def _read_once(self, descriptor: int) -> None:
        region = self._region
        headers = {**region.headers(), "Range": f"bytes={self._done}-{region.size - 1}"}
        with self._http.stream(region.url, headers) as stream:
            if stream.status == 200 and self._done:
                self._restart()  # a server without ranges
            elif stream.status == 206:
                self._check_range(stream.headers.get("content-range", ""))
            elif stream.status in (408, 429) or stream.status >= 500:
                raise LostConnection(f"status {stream.status}")
            elif stream.status != 200:
                raise refusal(region.url, stream)
            for piece in stream.pieces(PIECE_BYTES):
                if self._done + len(piece) > region.size:
                    raise TransferFailed(
                        f"{region.url} has more than the {region.size} bytes that it should have"
                    )
                os.pwrite(descriptor, piece, region.offset + self._done)
                self._account(piece)
                self._write_mark()

    def _check_range(self, content_range: str) -> None:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", content_range)
        if found is None or int(found[1]) != self._done:
            raise TransferFailed(
                f"{self._region.url} was asked for byte {self._done}, but sent {content_range!r}"
            )
        if found[2] != "*" and int(found[2]) != self._region.size:
            raise TransferFailed(
                f"{self._region.url} has {found[2]} bytes, and should have {self._region.size}: it has changed "
                "meanwhile; remove what was fetched, and begin again"
            )

    def _account(self, content: bytes) -> None:
        if self._hash is not None:
            self._hash.update(content)
        self._done += len(content)
        self._advance(len(content))

    def _write_mark(self) -> None:
        """Write how far the region is, in one call and in place: a kill leaves the old number or the new one."""
        descriptor = os.open(self._mark, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, b"%020d" % self._done, 0)
        finally:
            os.close(descriptor)

    def _restart(self) -> None:
        self._advance(-self._done)
        self._done, self._hash = 0, self._begun()

    def _begun(self) -> hashlib._Hash | None:
        return None if self._region.digest is None else self._region.digest.begin(self._region.size)

    def _intact(self) -> bool:
        digest = self._region.digest
        return digest is None or self._hash is None or self._hash.hexdigest() == digest.hexadecimal
