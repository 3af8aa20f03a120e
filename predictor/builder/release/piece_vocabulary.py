"""Tokenizers of SentencePiece's vocabularies, as the library ``tokenizers`` runs them.

A ``tokenizer.model`` has such a vocabulary, and so has a GGUF file of a model with one. Source of the rules:
``src/bpe_model.cc``, ``src/unigram_model.cc`` and ``src/normalizer.cc`` of https://github.com/google/sentencepiece.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of pieces, the same numbers in ``sentencepiece_model.proto`` and in GGUF (``llama_token_type``)."""
SPACE = "▁"
"""U+2581, which is written for a space."""


@dataclass(frozen=True, slots=True)
class Piece:
    """An entry of a vocabulary; its id is its place."""

    text: str
    score: float
    kind: int = NORMAL


def bpe_model(pieces: Sequence[Piece], *, unknown: str | None, byte_fallback: bool) -> models.BPE:
    """Byte-pair encoding: of two neighbors that make a piece together, those of the best score are merged first.

    Args:
        pieces: of the vocabulary.
        unknown: the piece for characters that it does not have.
        byte_fallback: whether such characters are written as their UTF-8 bytes.
    """
    vocabulary = {piece.text: piece_id for piece_id, piece in enumerate(pieces)}
    merges = _merges(pieces, vocabulary)
    return models.BPE(
        vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=byte_fallback
    )


def unigram_model(pieces: Sequence[Piece], *, unknown: int, byte_fallback: bool) -> models.Unigram:
    """The segmentation of the best sum of scores.

    ``tokenizers`` looks for every entry of the vocabulary in a text, SentencePiece for pieces of text alone. So the
    others get a score that is worse than that of their characters one by one.

    Args:
        pieces: of the vocabulary.
        unknown: id of the piece for characters that it does not have.
        byte_fallback: whether such characters are written as their UTF-8 bytes.
    """
    least = min((piece.score for piece in pieces if piece.kind == NORMAL), default=0.0)
    longest = max((len(piece.text) for piece in pieces if piece.kind != NORMAL), default=1)
    never = min(least, -1.0) * (longest + 1)
    scores = [(piece.text, piece.score if piece.kind == NORMAL else never) for piece in pieces]
    return models.Unigram(vocab=scores, unk_id=unknown, byte_fallback=byte_fallback)


def piece_decoder(*, leading_spaces: int) -> decoders.Sequence:
    """Joins pieces and bytes to text.

    Args:
        leading_spaces: most spaces that are taken away from the start of a text, since they were added there.
    """
    parts = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*parts, decoders.Strip(" ", leading_spaces, 0)] if leading_spaces else parts)


def space_before(pieces: Sequence[Piece]) -> normalizers.Normalizer:
    """Writes a space before a text, and before what stands between two control tokens.

    Pieces that users have defined are looked for in normalized text, and are normalized themselves before: so a text
    that is nothing but such a piece gets no space.

    Args:
        pieces: of the vocabulary.
    """
    defined = [re.escape(piece.text) for piece in pieces if piece.kind == USER_DEFINED]
    if not defined:
        return normalizers.Prepend(SPACE)
    return normalizers.Replace(Regex(rf"\A(?!(?:{'|'.join(defined)})\z)(?=[\s\S])"), SPACE)


def whole_tokens(pieces: Sequence[Piece], normalizer: normalizers.Normalizer | None) -> dict[str, AddedToken]:
    """The pieces that text is never merged into: control tokens, and those that users have defined.

    Args:
        pieces: of the vocabulary.
        normalizer: that SentencePiece's text goes through before defined pieces are looked for; None: they are looked
            for in the text as it is.
    """
    found = {}
    for piece in pieces:
        if piece.kind == CONTROL:
            found[piece.text] = AddedToken(piece.text, normalized=False, special=True)
        elif piece.kind == USER_DEFINED:
            kept = normalizer is not None and normalizer.normalize_str(piece.text) == piece.text
            found[piece.text] = AddedToken(piece.text, normalized=kept)
    return found


def add_tokens(tokenizer: Tokenizer, tokens: Iterable[AddedToken]) -> None:
    """Declare tokens that are found in a text before it is merged."""
    for special, run in groupby(tokens, lambda token: token.special):
        # By runs, since each call looks at the whole vocabulary.
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(list(run))


def _merges(pieces: Sequence[Piece], vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """Pairs of pieces that make a piece of text, in the order of its score.

    Of equal scores, which runs of spaces have, SentencePiece merges the leftmost: the left one grows.
    """
    pairs = [
        (
            -piece.score,
            -cut,
            -len(piece.text),
            vocabulary[piece.text[:cut]],
            piece.text[:cut],
            piece.text[cut:],
        )
        for piece in pieces
        if piece.kind in (NORMAL, USER_DEFINED)
        for cut in range(1, len(piece.text))
        if piece.text[:cut] in vocabulary and piece.text[cut:] in vocabulary
    ]
    return [(left, right) for *_, left, right in sorted(pairs)]
