"""An OCI registry by the distribution specification 1.1: blobs, uploads, manifests, and the login to it.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md, and for the login
https://distribution.github.io/distribution/spec/auth/token/. The package ``oras`` speaks this too, but it neither
continues a transfer nor compares a digest.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from predictor.builder.errors import TransferFailed, TransferInterrupted
from predictor.builder.transfer.blobs import BlobContent, chunks
from predictor.builder.transfer.digests import ContentDigest, sha256
from predictor.builder.transfer.docker_credentials import RegistryLogin
from predictor.builder.transfer.download import RemoteRegion
from predictor.builder.transfer.http import HttpAnswer, TransferHttp
from predictor.builder.transfer.registry_reference import RegistryReference

CHUNK_BYTES = 32 << 20
"""Bytes of one request of an upload, which are in memory."""
UPLOAD_TRIES = 4
"""Of a blob whose upload the registry has forgotten."""
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_DOCKER_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_TOKEN_LIFE_S = 60.0
"""Where the registry says none; the specification's own default."""
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index as the registry has it."""

    document: Mapping[str, Any]
    digest: ContentDigest


class Registry:
    """One repository of a registry. For several threads."""

    def __init__(
        self,
        http: TransferHttp,
        reference: RegistryReference,
        *,
        plain_http: bool,
        login: RegistryLogin | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to nothing yet.

        Args:
            http: to send with.
            reference: of the repository.
            plain_http: HTTP, not HTTPS.
            login: for the registry, or None.
            clock: seconds, for the life of tokens.
        """
        host = "registry-1.docker.io" if reference.host == "docker.io" else reference.host
        self._http, self._login, self._clock = http, login, clock
        self._repository = reference.repository
        self._base = f"{'http' if plain_http else 'https'}://{host}/v2/"
        self._authorization: str | None = None
        self._expires = float("-inf")
        self._lock = threading.RLock()

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob."""
        answer = self._send("HEAD", self._url(f"blobs/{digest}"))
        if answer.status not in (200, 404):
            raise _refused(answer)
        return answer.status == 200

    def blob_region(self, digest: str, size: int, name: str, offset: int = 0) -> RemoteRegion:
        """Where to fetch a blob.

        Args:
            digest: of the blob.
            size: in bytes.
            name: of the file that it is, or is a part of.
            offset: where it begins in the file.

        Raises:
            TransferFailed: the digest is of another kind than sha256.
        """
        algorithm, _, hexadecimal = digest.partition(":")
        if algorithm != "sha256":
            raise TransferFailed(f"{digest}: only sha256 is read")
        known = ContentDigest(algorithm, hexadecimal)
        return RemoteRegion(name, self._url(f"blobs/{digest}"), size, known, offset, self._headers)

    def upload(self, content: BlobContent, digest: str, advance: Callable[[int], None]) -> None:
        """Send a blob that the repository lacks.

        A registry that keeps what it has of a broken upload is continued there; with any other the blob begins anew.

        Args:
            content: of the blob.
            digest: of the content.
            advance: takes the number of bytes of each chunk; negative if they are sent again.

        Raises:
            TransferFailed: the registry refuses, or found another digest.
            TransferInterrupted: the connection is lost for good.
        """
        for left in reversed(range(UPLOAD_TRIES)):
            sent = 0

            def account(count: int) -> None:
                nonlocal sent
                sent += count
                advance(count)

            try:
                self._upload_once(content, digest, account)
                return
            except _UploadForgotten as error:
                if self.has_blob(digest):  # the answer to the last request was lost, and not the blob
                    advance(content.size - sent)
                    return
                advance(-sent)
                if not left:
                    raise TransferInterrupted(f"{error}; run the command again") from error
                self._http.wait(UPLOAD_TRIES - left)

    def get_manifest(self, name: str) -> Manifest:
        """The manifest or index of a tag or digest, whose digest is checked.

        Raises:
            TransferFailed: there is none, it is no JSON, or has another digest.
        """
        types = ", ".join((MANIFEST_TYPE, INDEX_TYPE, *_DOCKER_TYPES))
        answer = self._send("GET", self._url(f"manifests/{name}"), headers={"Accept": types})
        if answer.status != 200:
            raise _refused(answer)
        found = sha256(answer.body)
        if ":" in name and str(found) != name:
            raise TransferFailed(f"{answer.url} has the digest {found}: the registry sent something else")
        document = answer.json()
        if not isinstance(document, dict):
            raise TransferFailed(f"{answer.url} is no manifest")
        return Manifest(document, found)

    def get_json(self, digest: str) -> Any:  # noqa: ANN401 - any JSON document
        """A small blob as JSON, its digest checked.

        Raises:
            TransferFailed: it is missing, has another digest, or is none.
        """
        answer = self._send("GET", self._url(f"blobs/{digest}"))
        if answer.status != 200:
            raise _refused(answer)
        if str(sha256(answer.body)) != digest:
            raise TransferFailed(f"{answer.url} has another digest: the registry sent something else")
        return answer.json()

    def put_manifest(self, name: str, document: Mapping[str, Any]) -> ContentDigest:
        """Store a manifest or index under a tag or its digest; returns its digest.

        Args:
            name: a tag, or empty for the digest.
            document: with its ``mediaType``.

        Raises:
            TransferFailed: the registry refuses.
        """
        return self.put_manifest_bytes(name, str(document["mediaType"]), manifest_bytes(document))

    def put_manifest_bytes(self, name: str, media_type: str, body: bytes) -> ContentDigest:
        """Store a manifest as somebody else wrote it, so that it keeps its digest; returns the digest.

        Args:
            name: a tag, or empty for the digest.
            media_type: of the manifest.
            body: the manifest.

        Raises:
            TransferFailed: the registry refuses.
        """
        digest = sha256(body)
        url = self._url(f"manifests/{name or digest}")
        answer = self._send("PUT", url, headers={"Content-Type": media_type}, body=body)
        if answer.status not in (200, 201):
            raise _refused(answer)
        return digest

    def _upload_once(self, content: BlobContent, digest: str, advance: Callable[[int], None]) -> None:
        answer = self._send("POST", self._url("blobs/uploads/"))
        if answer.status != 202:
            raise _refused(answer)
        place = _location(answer)
        size = max(CHUNK_BYTES, int(answer.headers.get("oci-chunk-min-length", 0)))
        done, barren = 0, 0
        while done < content.size:
            before = done
            try:
                for chunk in chunks(content, done, size):
                    place = self._send_chunk(place, chunk, done)
                    done += len(chunk)
                    advance(len(chunk))
            except TransferInterrupted:
                place, known = self._continued(place)
                advance(known - done)
                done = known
                barren = 0 if done > before else barren + 1
                if barren >= UPLOAD_TRIES:
                    raise
                self._http.wait(barren + 1)
        answer = self._send("PUT", place, parameters={"digest": digest})
        if answer.status not in (200, 201, 204):
            raise (_forgotten(answer) if answer.status == 404 else _refused(answer))

    def _send_chunk(self, place: str, chunk: bytes, start: int) -> str:
        headers = {
            "Content-Range": f"{start}-{start + len(chunk) - 1}",
            "Content-Type": "application/octet-stream",
        }
        # Once: after a lost connection only the registry knows how much of it has come.
        answer = self._send("PATCH", place, headers=headers, body=chunk, once=True)
        if answer.status in (404, 416):
            raise _forgotten(answer)
        if answer.status == 429 or answer.status >= 500:
            raise TransferInterrupted(
                f"{answer.url.split('?')[0]} answered with status {answer.status}; run the command again"
            )
        if answer.status not in (201, 202, 204):
            raise _refused(answer)
        return _location(answer)

    def _continued(self, place: str) -> tuple[str, int]:
        """Where an upload goes on whose connection broke, and how many bytes the registry has."""
        answer = self._send("GET", place)
        held = re.fullmatch(r"(?:bytes=)?0-(\d+)", answer.headers.get("range", ""))
        if answer.status != 204 or held is None:
            raise _forgotten(answer)
        last = int(held[1])
        return _location(answer), last + 1 if last else 0

    def _send(self, method: str, url: str, *, once: bool = False, **options: Any) -> HttpAnswer:  # noqa: ANN401
        """Send with the login; a token that has ended is replaced once."""
        given = options.pop("headers", {})
        if not url.startswith(self._base):  # an upload at another host, which the login is not for
            return self._http.send(method, url, headers=given, once=once, **options)
        answer = self._http.send(method, url, headers={**given, **self._headers()}, once=once, **options)
        if answer.status != 401:
            return answer
        with self._lock:
            self._log_in(answer)
        return self._http.send(method, url, headers={**given, **self._headers()}, once=once, **options)

    def _headers(self) -> dict[str, str]:
        """The header of the login, which is asked for where there is none yet or it is about to end."""
        with self._lock:  # one thread logs in, the others wait for it
            if self._clock() >= self._expires:
                ping = self._http.send("GET", self._base)
                if ping.status == 401:
                    self._log_in(ping)
                else:
                    self._keep(None, float("inf"))
            authorization = self._authorization
        return {} if authorization is None else {"Authorization": authorization}

    def _log_in(self, refused: HttpAnswer) -> None:
        challenge = refused.headers.get("www-authenticate", "")
        kind, fields = challenge.partition(" ")[0].lower(), dict(_CHALLENGE.findall(challenge))
        if kind == "basic" and self._login is not None:
            self._keep(self._login.basic(), float("inf"))
        elif kind == "bearer" and "realm" in fields:
            self._fetch_token(fields)
        else:
            raise TransferFailed(f"{self._base} asks for a login, and there is none: run docker login first")

    def _fetch_token(self, fields: Mapping[str, str]) -> None:
        scope = f"repository:{self._repository}:pull,push"
        asked = {"service": fields.get("service", ""), "scope": scope}
        realm = urljoin(self._base, fields["realm"])
        if self._login is not None and self._login.is_identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": self._login.password,
                "client_id": "yiwen",
            }
            answer = self._http.send("POST", realm, form={**asked, **form})
        else:
            headers = {} if self._login is None else {"Authorization": self._login.basic()}
            answer = self._http.send("GET", realm, headers=headers, parameters=asked)
        document = answer.json() if answer.status == 200 else {}
        token = document.get("token") or document.get("access_token")
        if not token:
            raise TransferFailed(
                f"{realm} gives no token for {self._repository} (status {answer.status}): run docker login "
                f"{self._base.split('/')[2]} with an account that may use it"
            )
        life = float(document.get("expires_in", _TOKEN_LIFE_S))
        self._keep(f"Bearer {token}", self._clock() + 0.8 * life)

    def _keep(self, authorization: str | None, expires: float) -> None:
        self._authorization, self._expires = authorization, expires

    def _url(self, path: str) -> str:
        return f"{self._base}{self._repository}/{path}"


class _UploadForgotten(Exception):
    """The registry does not know an upload any more, or cannot continue it."""


def _forgotten(answer: HttpAnswer) -> _UploadForgotten:
    return _UploadForgotten(f"{answer.url.split('?')[0]}: the registry lost an upload")


def manifest_bytes(document: Mapping[str, Any]) -> bytes:
    """A manifest as it is stored: the same for the same content."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _location(answer: HttpAnswer) -> str:
    if not (place := answer.headers.get("location")):
        raise TransferFailed(f"{answer.url} does not say where the upload goes on")
    return urljoin(answer.url, place)


def _refused(answer: HttpAnswer) -> TransferFailed:
    """The error for a request that the registry refuses, with what it says about it."""
    try:
        errors = json.loads(answer.body)["errors"]
        said = "; ".join(f"{each['code']} {each.get('message', '')}".strip() for each in errors)
    except (ValueError, KeyError, TypeError):
        said = ""
    hint = {
        401: "the login may not do this, or its password is wrong: run docker login",
        403: "the login may not do this: run docker login with an account that may",
        404: "there is no such thing, or the login may not see it",
    }.get(answer.status, "")
    reasons = "; ".join(each for each in (hint, said) if each) or "run the command again later"
    return TransferFailed(f"{answer.url.split('?')[0]} answered with status {answer.status}: {reasons}")
