"""Encodes cache entries as bytes; versions of Yiwen with other schemas can share the store.

Layout, big-endian: magic ``Y``, schema version (1 byte), CRC-32 of all that follows (4), confidence (float64),
version of the guards (1), bytes of the release id (2), bytes of the source text (4); then release id, source text and
translation in UTF-8. Where the bytes lie is the business of :mod:`transformer.cache.redis_cache`.
"""

from __future__ import annotations

import struct
import zlib
from enum import Enum

from protocol.translation_spec import GUARD_VERSION
from transformer.cache.entries import CacheEntry
from transformer.metrics import CacheTier

SCHEMA = 2
"""Raised whenever the layout or the meaning of a field changes; up to 255."""

_MAGIC = ord("Y")
_PREFIX = struct.Struct(">BBI")
_HEADER = struct.Struct(">dBHI")

VALUE_OVERHEAD_BYTES = _PREFIX.size + _HEADER.size
"""Fields of a value other than its three texts."""


class DecodeFailure(str, Enum):
    """Reasons why a value cannot be decoded; each is a miss. The values are metric labels."""

    GARBAGE = "garbage"
    """Not written by Yiwen, cut short, or changed on the way."""
    OLDER = "older_schema"
    NEWER = "newer_schema"
    OLDER_GUARDS = "older_guards"
    """A sound entry that guards of an older version let pass."""
    RELEASE = "other_release"
    """A sound entry, but of another release than its key says."""


def encode_entry(entry: CacheEntry, release: str) -> bytes:
    """The value to store for ``entry``, which ``release`` made."""
    name, source = release.encode(), entry.source_text.encode()
    body = b"".join(
        (
            _HEADER.pack(entry.confidence, GUARD_VERSION, len(name), len(source)),
            name,
            source,
            entry.text.encode(),
        )
    )
    return _PREFIX.pack(_MAGIC, SCHEMA, zlib.crc32(body)) + body


def decode_entry(value: bytes, release: str) -> CacheEntry | DecodeFailure:
    """The entry in ``value`` if ``release`` made it, else why not. Never raises, whatever the bytes are.

    The checksum guards the translation, which nothing else could verify; the caller compares the source text.
    """
    if len(value) < VALUE_OVERHEAD_BYTES or value[0] != _MAGIC:
        return DecodeFailure.GARBAGE
    _, schema, checksum = _PREFIX.unpack_from(value)
    if schema != SCHEMA:
        return DecodeFailure.OLDER if schema < SCHEMA else DecodeFailure.NEWER
    body = value[_PREFIX.size :]
    if zlib.crc32(body) != checksum:
        return DecodeFailure.GARBAGE
    return _decode_body(body, release)


def _decode_body(body: bytes, release: str) -> CacheEntry | DecodeFailure:
    confidence, guards, name_bytes, source_bytes = _HEADER.unpack_from(body)
    source_at = _HEADER.size + name_bytes
    text_at = source_at + source_bytes
    if text_at > len(body) or not 0.0 <= confidence <= 1.0:
        return DecodeFailure.GARBAGE
    try:
        name = body[_HEADER.size : source_at].decode()
        source, text = body[source_at:text_at].decode(), body[text_at:].decode()
    except UnicodeDecodeError:
        return DecodeFailure.GARBAGE
    if name != release:
        return DecodeFailure.RELEASE
    if guards < GUARD_VERSION:
        return DecodeFailure.OLDER_GUARDS
    return CacheEntry(source, text, confidence, CacheTier.REDIS)
