from __future__ import annotations

import hashlib
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from protocol.normal_form import normal_text
from transformer.cache.cache_key import KEY_BYTES, cache_key

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FIELDS = st.tuples(TEXT, TEXT, TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=2))


def key(fields: tuple[str, str, str, str, dict[str, str]]) -> bytes:
    release, source, target, text, options = fields
    return cache_key(release=release, source=source, target=target, options=options, text=text)


@given(FIELDS, FIELDS)
def test_different_fields_never_have_one_key(
    left: tuple[str, str, str, str, dict[str, str]], right: tuple[str, str, str, str, dict[str, str]]
) -> None:
    assert (key(left) == key(right)) == (left == right)


@given(TEXT, st.integers(0, 8))
def test_moving_the_border_between_two_fields_changes_the_key(text: str, at: int) -> None:
    whole = key((text[:at], text[at:], "", "", {}))
    moved = key((text[: at + 1], text[at + 1 :], "", "", {}))
    assert (whole == moved) == (text[at : at + 1] == "")


def test_the_order_of_options_does_not_matter() -> None:
    assert key(("r", "en", "zh", "t", {"a": "1", "b": "2"})) == key(
        ("r", "en", "zh", "t", {"b": "2", "a": "1"})
    )


def test_a_key_covers_each_field_after_its_length() -> None:
    fields = [b"0123456789abcdef", b"en", b"zh", "café".encode(), b"max_new_tokens", b"64"]
    written = b"".join(len(field).to_bytes(8, "big") + field for field in fields)
    expected = hashlib.blake2b(written, digest_size=KEY_BYTES, person=b"yiwen-text-v2").digest()
    assert key(("0123456789abcdef", "en", "zh", "café", {"max_new_tokens": "64"})) == expected


def test_composed_and_decomposed_forms_and_outer_space_are_one_text() -> None:
    decomposed = unicodedata.normalize("NFD", "café")
    assert decomposed != "café"
    assert normal_text(f"\u3000 {decomposed}\n") == normal_text("café") == "café"
