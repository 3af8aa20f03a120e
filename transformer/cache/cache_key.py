"""Computes cache keys: a digest of all that a translation depends on.

The digest covers the release, the pair of languages, the options and the text, each preceded by its length: no two
different tuples have the same bytes before hashing, wherever one field ends and the next begins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache

_VERSION = b"yiwen-text-v2"
"""Changes when releases answer differently under the same id; 2: prompts are encoded as one string."""
KEY_BYTES = 16
"""128 bits: accidental collisions start at some 10^19 texts, and a hit compares the text anyway."""


def cache_key(*, release: str, source: str, target: str, options: Mapping[str, str], text: str) -> bytes:
    """Digest of one translation's identity.

    Args:
        release: id of the release that answers.
        source: language tag as the release writes it.
        target: language tag as the release writes it.
        options: what else changes the answer, by name; the order does not matter.
        text: as :func:`protocol.normal_form.normal_text` returns it.

    Returns:
        ``KEY_BYTES`` bytes.
    """
    digest = _prefix_digest(release, source, target).copy()
    _add(digest, text)
    for name, value in sorted(options.items()) if options else ():
        _add(digest, name)
        _add(digest, value)
    return digest.digest()


@lru_cache(maxsize=256)
def _prefix_digest(release: str, source: str, target: str) -> hashlib.blake2b:
    """Digest of the fields that all texts of a language pair share. Copy it before updating it."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES, person=_VERSION)
    for field in (release, source, target):
        _add(digest, field)
    return digest


def _add(digest: hashlib.blake2b, field: str) -> None:
    data = field.encode()
    digest.update(len(data).to_bytes(8, "big") + data)
