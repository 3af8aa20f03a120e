"""Digests by which hubs, buckets and registries name a file's content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContentDigest:
    """A digest and how it is computed: ``sha256``, ``md5``, or ``git-sha1``, git's id of a blob."""

    algorithm: str
    hexadecimal: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hexadecimal}"

    def begin(self, size: int) -> hashlib._Hash:
        """A hash object to update with the content.

        Args:
            size: of the content in bytes, which git puts before it.
        """
        if self.algorithm == "git-sha1":
            return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        return hashlib.new(self.algorithm, usedforsecurity=False)


def sha256(content: bytes) -> ContentDigest:
    """The sha256 of bytes."""
    return ContentDigest("sha256", hashlib.sha256(content).hexdigest())
