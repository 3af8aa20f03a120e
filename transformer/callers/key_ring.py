"""The keys that are valid now: the file of keys, read again when it changes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from transformer.callers.key_file import ApiKey, KeyFileError, hash_key, read_keys

CHECK_S = 1.0
"""Seconds after which the file is looked at again; a revoked key is refused that soon."""

_log = logging.getLogger("yiwen.callers")


class KeyRing:
    """Finds the caller of a key. A file that becomes unreadable leaves the keys that were read before it."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            KeyFileError: it cannot be read, or is no file of keys.
        """
        self._path = path
        self._clock = clock
        self._stamp = _stamp(path)
        self._by_hash = _by_hash(path)
        self._checked_at = clock()

    def find(self, secret: str) -> ApiKey | None:
        """The key that ``secret`` is; None if there is none, or it is revoked."""
        now = self._clock()
        if now - self._checked_at >= CHECK_S:
            self._checked_at = now
            self._reload()
        return self._by_hash.get(hash_key(secret))

    def _reload(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._by_hash = _by_hash(self._path)
        except KeyFileError as error:
            _log.error(
                "the file of keys cannot be read; the keys from before stay",
                extra={"fields": {"error": str(error)}},
            )
            return
        _log.info("the file of keys was read again", extra={"fields": {"keys": len(self._by_hash)}})


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when a file is replaced, also one behind the symbolic links of a Secret's volume."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def _by_hash(path: Path) -> Mapping[str, ApiKey]:
    return {key.sha256: key for key in read_keys(path).keys if not key.revoked}
