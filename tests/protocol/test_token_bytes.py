from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from protocol.token_bytes import _NORMALIZERS, DROPS_TEXT, bytes_per_token
from tests.releases import byte_tokenizer
from tests.transformer.release import train_tokenizer

CHARACTERS = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x2FA20))]
"""Up to the last one that has another normal form."""


def with_normalizer(normalizer: normalizers.Normalizer) -> Tokenizer:
    tokenizer = train_tokenizer()
    tokenizer.normalizer = normalizer
    return tokenizer


def sentencepiece() -> Tokenizer:
    """As Llama 2 and Gemma have it: a space is written as another character, unknown characters as bytes."""
    tokens = [*(f"<0x{byte:02X}>" for byte in range(256)), "▁", "r", "e", "d", "re", "red", "▁red"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    merges = [("r", "e"), ("re", "d"), ("▁", "red")]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.ByteFallback()
    return tokenizer


def changed(**model: object) -> Tokenizer:
    document = json.loads(sentencepiece().to_str())
    document["model"].update(model)
    return Tokenizer.from_str(json.dumps(document))


def bound(tokenizer: Tokenizer) -> int:
    return bytes_per_token(json.loads(tokenizer.to_str()))


KEEPING = {
    "byte level": train_tokenizer(),
    "bytes alone": byte_tokenizer(),
    "SentencePiece": sentencepiece(),
    "NFC": with_normalizer(normalizers.NFC()),
    "NFKC": with_normalizer(normalizers.NFKC()),
    "lower case": with_normalizer(normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])),
    "shorter": with_normalizer(normalizers.Replace("red shoes", "rs")),
}
SHRINKING = st.sampled_from(
    ["𝐀", "e\u0301", "ι\u0308\u0301", "각", "\u212a", "red shoes", " " * 40, "<|end|>"]
)
TEXTS = st.lists(
    st.one_of(SHRINKING, st.text(st.characters(exclude_categories=["Cs"]), max_size=8)), max_size=8
).map("".join)


@pytest.mark.parametrize("tokenizer", KEEPING.values(), ids=KEEPING)
@given(text=TEXTS, times=st.integers(1, 50))
def test_no_token_stands_for_more_bytes_than_the_bound(tokenizer: Tokenizer, text: str, times: int) -> None:
    tokenizer.encode_special_tokens = True
    text *= times
    tokens = tokenizer.encode(text, add_special_tokens=False).ids
    assert len(text.encode()) <= len(tokens) * bound(tokenizer)


@pytest.mark.parametrize(
    ("name", "form"), [("NFC", "NFD"), ("NFD", "NFD"), ("NFKC", "NFKD"), ("NFKD", "NFKD")]
)
def test_a_normal_form_is_never_shorter_than_the_table_says(name: str, form: str) -> None:
    for character in CHARACTERS:
        longest = max(len(character.encode()), len(unicodedata.normalize(form, character).encode()))  # type: ignore[arg-type]
        shortest = len(unicodedata.normalize(name, character).encode())  # type: ignore[arg-type]
        assert longest <= _NORMALIZERS[name] * shortest


def test_lower_case_is_never_shorter_than_the_table_says() -> None:
    worst = max(len(each.encode()) / len(each.lower().encode()) for each in CHARACTERS)
    assert worst == _NORMALIZERS["Lowercase"]


def test_the_bound_is_the_longest_token_in_bytes_not_in_its_written_form() -> None:
    assert bound(train_tokenizer()) == max(map(len, train_tokenizer().get_vocab()))
    assert bound(byte_tokenizer()) == len("<|end-0|>")
    assert bound(sentencepiece()) == len("▁red".encode())


@pytest.mark.parametrize(
    "tokenizer",
    [
        with_normalizer(normalizers.Replace(Regex("."), "")),
        with_normalizer(normalizers.StripAccents()),
        Tokenizer(models.WordLevel({"<unk>": 0, "red": 1}, unk_token="<unk>")),
        changed(byte_fallback=False, unk_token="<0x00>"),
    ],
    ids=["removes", "strips accents", "knows words", "fuses unknown"],
)
def test_a_tokenizer_that_may_drop_text_has_room_for_what_it_drops(tokenizer: Tokenizer) -> None:
    longest = max(len(token.encode()) for token in tokenizer.get_vocab())
    assert bound(tokenizer) >= DROPS_TEXT * min(longest, 8)


@pytest.mark.parametrize(
    ("part", "drops"),
    [
        (pre_tokenizers.WhitespaceSplit(), True),
        (pre_tokenizers.Split(" ", "removed"), True),
        (pre_tokenizers.Split(Regex(r"\p{Nd}"), "isolated"), False),
        (pre_tokenizers.Digits(), False),
        (pre_tokenizers.Metaspace(), False),
    ],
)
def test_only_a_pre_tokenizer_that_removes_characters_drops_text(
    part: pre_tokenizers.PreTokenizer, drops: bool
) -> None:
    tokenizer = train_tokenizer()
    plain = bound(tokenizer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [part, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    assert bound(tokenizer) == plain * (DROPS_TEXT if drops else 1)


def test_an_added_token_that_takes_in_the_spaces_beside_it_drops_text() -> None:
    tokenizer = train_tokenizer()
    plain = bound(tokenizer)
    tokenizer.add_tokens([AddedToken("ö", lstrip=True)])
    assert bound(tokenizer) == plain * DROPS_TEXT
