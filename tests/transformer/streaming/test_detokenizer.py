"""Pieces add up to the whole, for the kinds of decoder that releases have, over random ids and random cuts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.token_bytes import byte_token_ids
from tests.releases import byte_tokenizer
from transformer.streaming.detokenizer import Detokenizer

WORDS = ["▁a", "▁", "b", "，", "▁文", "字", "e\u0301", "𝄞", "\ufffd", "▁▁", "c▁"]


def byte_fallback_tokenizer() -> Tokenizer:
    """Words with a mark for spaces, and a token for each byte, as Llama's has them."""
    vocabulary = {token: index for index, token in enumerate([*WORDS, *(f"<0x{i:02X}>" for i in range(256))])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def metaspace_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(WORDS)}, merges=[]))
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


TOKENIZERS = [byte_tokenizer(), byte_fallback_tokenizer(), metaspace_tokenizer()]


def decoder_of(tokenizer: Tokenizer) -> Callable[[Sequence[int]], str]:
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=False)) if ids else ""


def pieces_of(tokenizer: Tokenizer, ids: list[int], cuts: list[int]) -> list[str]:
    detokenizer = Detokenizer(decoder_of(tokenizer), byte_token_ids(tokenizer.get_vocab()))
    pieces = []
    for cut in cuts:
        pieces.append(detokenizer.add(ids[:cut]))
        ids = ids[cut:]
    return [*pieces, detokenizer.add(ids), detokenizer.finish()]


def ids_of(tokenizer: Tokenizer) -> st.SearchStrategy[list[int]]:
    """Random ids, and the bytes of random texts, cut off anywhere."""
    vocabulary = tokenizer.get_vocab()
    byte_ids = {int(token[3:5], 16): i for token, i in vocabulary.items() if i in byte_token_ids(vocabulary)}

    def spell(text: str, length: int) -> list[int]:
        if byte_ids:
            return [byte_ids[byte] for byte in text.encode()][:length]
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids[:length]

    texts = st.builds(spell, st.text(max_size=6), st.integers(0, 20))
    noise = st.lists(st.integers(0, len(vocabulary) - 1), max_size=6)
    return st.lists(texts | noise, max_size=6).map(lambda runs: [i for run in runs for i in run])


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["byte level", "byte fallback", "metaspace"])
@settings(max_examples=150)
@given(data=st.data(), cuts=st.lists(st.integers(0, 4), max_size=40))
def test_pieces_add_up_to_the_text_of_all_tokens(
    tokenizer: Tokenizer, data: st.DataObject, cuts: list[int]
) -> None:
    ids = data.draw(ids_of(tokenizer))
    assert "".join(pieces_of(tokenizer, ids, cuts)) == decoder_of(tokenizer)(ids)


@settings(max_examples=150)
@given(data=st.data(), cuts=st.lists(st.integers(0, 4), max_size=40))
def test_pieces_of_a_releases_tokenizer_add_up_with_control_tokens_among_them(
    tokenizer: PromptEncoder, data: st.DataObject, cuts: list[int]
) -> None:
    def prompt_ids(text: str) -> list[int]:
        """With the template's control tokens around them."""
        return list(tokenizer.encode([PromptText(text, "en", "zh")], None)[0].token_ids)

    noise = st.lists(st.integers(0, 319), max_size=6)
    runs = data.draw(st.lists(st.text(min_size=1, max_size=6).map(prompt_ids) | noise, max_size=5))
    ids = [id_ for run in runs for id_ in run]
    detokenizer = Detokenizer(tokenizer.decode, tokenizer.unsettled_ids)
    pieces, rest = [], ids
    for cut in cuts:
        pieces.append(detokenizer.add(rest[:cut]))
        rest = rest[cut:]
    assert "".join([*pieces, detokenizer.add(rest), detokenizer.finish()]) == tokenizer.decode(ids)


@pytest.mark.parametrize("tokenizer", TOKENIZERS[:2], ids=["byte level", "byte fallback"])
def test_a_character_comes_whole_or_not_at_all(tokenizer: Tokenizer) -> None:
    vocabulary = tokenizer.get_vocab()
    text = "译𝄞é"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    if "<0xE8>" in vocabulary:
        ids = [vocabulary[f"<0x{byte:02X}>"] for byte in text.encode()]
    assert len(ids) == len(text.encode())
    pieces = pieces_of(tokenizer, ids, [1] * len(ids))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_text_is_not_held_back_longer_than_its_last_character() -> None:
    tokenizer = TOKENIZERS[0]
    ids = tokenizer.encode("abc译", add_special_tokens=False).ids
    assert pieces_of(tokenizer, ids, [1] * len(ids)) == ["a", "b", "c", "", "", "译", "", ""]


def test_what_stays_incomplete_comes_with_the_end() -> None:
    tokenizer = TOKENIZERS[0]
    ids = tokenizer.encode("a译", add_special_tokens=False).ids[:-1]
    assert pieces_of(tokenizer, ids, [1] * len(ids))[-1] == "\ufffd"
