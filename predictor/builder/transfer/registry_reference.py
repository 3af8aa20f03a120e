"""References to content of an OCI registry, such as ``registry.example.com/team/release:v1``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from predictor.builder.errors import TransferFailed

SCHEME = "oci://"
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RegistryReference:
    """A registry, a repository in it, and a tag or a digest."""

    host: str
    """With the port, if one is named."""
    repository: str
    name: str
    """A tag, or ``sha256:...``."""

    @property
    def is_digest(self) -> bool:
        """Whether it names content, which cannot change."""
        return ":" in self.name

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}{'@' if self.is_digest else ':'}{self.name}"


def parse_reference(text: str) -> RegistryReference:
    """Read a reference; ``oci://`` before it is allowed, and the tag is ``latest`` where it has none.

    Raises:
        TransferFailed: it is none, or it does not name the registry.
    """
    plain = text.removeprefix(SCHEME)
    host, slash, rest = plain.partition("/")
    if not slash or not (set(".:") & set(host) or host == "localhost"):
        raise TransferFailed(
            f"{text} does not name its registry: write it as registry.example.com/team/name:tag"
        )
    repository, at, digest = rest.partition("@")
    name = "latest"
    if not at:
        repository, colon, tag = rest.partition(":")
        name = tag if colon else name
    else:
        name = digest
    if not _REPOSITORY.fullmatch(repository):
        raise TransferFailed(
            f"{text}: {repository!r} is no name of a repository: small letters, digits and .-_/"
        )
    if not (_DIGEST if at else _TAG).fullmatch(name):
        raise TransferFailed(f"{text}: {name!r} is no {'digest: sha256: and 64 digits' if at else 'tag'}")
    return RegistryReference(host, repository, name)
