from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.translation_spec import GUARD_VERSION
from transformer.cache.entries import CacheEntry
from transformer.cache.entry_codec import (
    SCHEMA,
    VALUE_OVERHEAD_BYTES,
    DecodeFailure,
    decode_entry,
    encode_entry,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ENTRIES = st.builds(CacheEntry, TEXT, TEXT, st.floats(0.0, 1.0))
VALUE = encode_entry(CacheEntry("red shoes", "红鞋", 0.5), "r1")


def with_schema(value: bytes, schema: int) -> bytes:
    return bytes((value[0], schema)) + value[2:]


@given(ENTRIES, TEXT)
def test_every_entry_comes_back_exactly(entry: CacheEntry, release: str) -> None:
    value = encode_entry(entry, release)
    assert decode_entry(value, release) == entry
    texts = (entry.source_text, entry.text, release)
    assert len(value) == VALUE_OVERHEAD_BYTES + sum(len(text.encode()) for text in texts)


@given(st.binary(max_size=80))
def test_any_bytes_are_an_entry_or_a_reason_never_an_error(value: bytes) -> None:
    assert isinstance(decode_entry(value, "r1"), DecodeFailure)


@given(ENTRIES, st.data())
def test_one_changed_byte_is_never_taken_for_an_entry(entry: CacheEntry, data: st.DataObject) -> None:
    value = bytearray(encode_entry(entry, "r1"))
    place = data.draw(st.integers(0, len(value) - 1))
    value[place] ^= data.draw(st.integers(1, 255))
    assert isinstance(decode_entry(bytes(value), "r1"), DecodeFailure)


@given(st.binary(max_size=60))
def test_a_sound_checksum_over_nonsense_is_no_error_either(body: bytes) -> None:
    value = bytes((VALUE[0], SCHEMA)) + zlib.crc32(body).to_bytes(4, "big") + body
    found = decode_entry(value, "r1")
    assert isinstance(found, DecodeFailure) or encode_entry(found, "r1") == value


@pytest.mark.parametrize("length", range(len(VALUE)))
def test_a_value_cut_short_is_garbage(length: int) -> None:
    assert decode_entry(VALUE[:length], "r1") is DecodeFailure.GARBAGE


@pytest.mark.parametrize(
    ("value", "release", "why"),
    [
        (with_schema(VALUE, SCHEMA - 1), "r1", DecodeFailure.OLDER),
        (with_schema(VALUE, SCHEMA + 1), "r1", DecodeFailure.NEWER),
        (with_schema(VALUE, 255) + b"more", "r1", DecodeFailure.NEWER),
        (VALUE, "r2", DecodeFailure.RELEASE),
        (encode_entry(CacheEntry("a", "b", 1.5), "r1"), "r1", DecodeFailure.GARBAGE),
        (encode_entry(CacheEntry("a", "b", float("nan")), "r1"), "r1", DecodeFailure.GARBAGE),
    ],
)
def test_what_is_not_for_this_process_says_why(value: bytes, release: str, why: DecodeFailure) -> None:
    assert decode_entry(value, release) is why


def test_what_older_guards_let_pass_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decode_entry(VALUE, "r1") == CacheEntry("red shoes", "红鞋", 0.5)
    monkeypatch.setattr("transformer.cache.entry_codec.GUARD_VERSION", GUARD_VERSION + 1)
    assert decode_entry(VALUE, "r1") is DecodeFailure.OLDER_GUARDS
