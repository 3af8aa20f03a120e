"""Compares a converted tokenizer with the SentencePiece library itself, text by text.

The only module that runs the library.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from predictor.builder.errors import BrokenText
from predictor.builder.release.piece_vocabulary import BYTE, CONTROL, SPACE, USER_DEFINED, Piece
from predictor.builder.release.sentencepiece_model import TAKE_ANOTHER, SentencePieceModel

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Prefix(Enum):
    """Where a space is put that a text does not have."""

    NONE = "none"
    ALWAYS = "always"
    """Before a text, and behind every control token in it."""
    FIRST = "first"
    """Before a text that does not begin with a space, and nowhere else."""


SENTENCES = (
    "Where is my order? It was to arrive on Monday, 12 May, before 17:30.",
    "L'hôtel n'a pas répondu : c'est dommage ! Où êtes-vous ? À Noël, peut-être…",
    "Größe 38, Straße 7 – „Übergrößen“ gibt's für 1.234,56 € (ca. 20 %).",
    "¿Dónde está mi pedido? ¡Llegará mañana! El niño bebió 2 ½ tazas.",
    "Zażółć gęślą jaźń. Příliš žluťoučký kůň. Çiğ köfte, ılık süt; şöyle mi?",
    "Где мой заказ № 12? Съешь ещё этих мягких французских булок, да выпей чаю.",
    "Де моє замовлення? Її під'їзд — за ґанком. Πού είναι η παραγγελία μου;",
    "أين طلبي رقم ١٢؟ شُكْرًا جَزِيلًا، إلى اللقاء. سفارش من کجاست؟ می‌خواهم",
    "איפה ההזמנה שלי? תודה רבה! शुक्रिया, मेरा ऑर्डर कहाँ है? ধন্যবাদ। நன்றி",
    "คำสั่งซื้อของฉันอยู่ที่ไหน ขอบคุณมากครับ Đơn hàng của tôi ở đâu? Cảm ơn rất nhiều.",
    "手机壳，女士红色连衣裙 L码。请不要额外解释：第12号！訂單在哪裡？謝謝您。",
    "注文はどこですか？「ｶﾀｶﾅ」と㈱、１２３ＡＢＣ。내 주문은 어디에 있나요? 감사합니다.",
    "👍🏽 👩‍👩‍👧 🇫🇷 ❤️ 🙂🙂 ☕️ ✅ → ≤ × ÷ № ™ ﷺ ﬁ ½ ²",
    "e\u0301 é n\u0303 ñ A\u030a Å \u1100\u1161 가 \u0915\u093c क़",
    'def f(x):\n    return x + 1  # two  spaces\n\n\tif (a <= b && c != d) { printf("%d\\n", 0x1F); }',
    'https://example.com/a_b?c=1&d=%20#e me@example.com {"key": [1, 2.5e-3, null]} <b>bold</b><br/>&amp;',
    "aaaa bbbbbb hahahahaha -------- ======== ........ !!!!!! 1111111 0000000000 哈哈哈哈哈 нннннн",
)
"""Real text in the scripts that people translate, and what stands between words."""
SPACES = (
    *(" " * count for count in (1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 70)),
    *(f"a{' ' * count}b" for count in (2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 31, 40)),
    " a", "  a", "   a", "a ", "a  ", " a b ", "\n", "\n\n", "\n\n\n\n\n", "a\nb", "a\r\nb\r\n", "\ta\t\tb\t",
    "a \n b", "a\n \n b", "a\u00a0b", "a\u2003b\u3000c", "a\u200bb\u200dc\ufeffd", "a▁b▁▁c", "\u2028a\u0085b",
)  # fmt: skip
_TOKENS = 8
"""Control tokens that stand between texts in the comparison."""


def check_same_ids(tokenizer: Tokenizer, model: SentencePieceModel, prefix: Prefix) -> int:
    """Check that a tokenizer gives texts the ids that the library gives them, and ids the same text.

    A Unigram model may take the same pieces in another order (of eight dots seven and one): their sums of scores are
    equal, and the library, which adds in float32, rounds them.

    Compared are sentences in many scripts, white space, every piece of the vocabulary as a text, the names of control
    tokens and of bytes as text, and texts around control tokens.

    Args:
        tokenizer: that was made of the model. Whether it recognizes control tokens is changed.
        model: the file.
        prefix: where the tokenizer puts a space.

    Returns:
        The number of texts.

    Raises:
        BrokenText: a text has other ids, or comes back as another text.
        ModuleNotFoundError: the package is missing.
    """
    library = _Library(model, prefix)
    texts = [text for text in dict.fromkeys(_texts(tokenizer, model)) if text not in library.defined]
    tokenizer.encode_special_tokens = True
    found = [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
    tokenizer.encode_special_tokens = False
    wanted = library.ids(texts)
    for text, ids, expected in zip(texts, found, wanted, strict=True):
        if not _same(ids, expected, model):
            raise _differs(tokenizer, model, text, ids, expected)
    _check_same_texts(tokenizer, model, library, [ids for ids in wanted if model.unknown not in ids])
    return len(texts) + _check_around_tokens(tokenizer, model, library)


def _check_same_texts(
    tokenizer: Tokenizer, model: SentencePieceModel, library: _Library, ids: list[list[int]]
) -> None:
    decoded = tokenizer.decode_batch(ids, skip_special_tokens=False)
    for found, expected in zip(decoded, library.texts(ids), strict=True):
        if found != expected:
            raise BrokenText(
                f"{model.path}: ids come back from the converted tokenizer as {found!r}, and as {expected!r} from "
                f"SentencePiece: {TAKE_ANOTHER}"
            )


class _Library:
    """SentencePiece, for texts that stand where the tokenizer puts a space, and where it does not."""

    def __init__(self, model: SentencePieceModel, prefix: Prefix) -> None:
        from sentencepiece import SentencePieceProcessor

        self.defined = _defined(model)
        """Pieces that are looked for in a text before it is merged, as text."""
        self._prefix, self._maps_spaces = prefix, bool(model.character_map)
        try:
            self._plain: Any = SentencePieceProcessor(model_proto=model.unprefixed())
            own: Any = SentencePieceProcessor(model_proto=model.content)
        except RuntimeError as error:  # the library's error for all that it does not load
            raise BrokenText(f"{model.path} is refused by SentencePiece: {error}; fetch it again") from error
        self._own = self._plain if prefix is Prefix.NONE else own

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts that stand alone."""
        found: list[list[int]] = self._own.encode(list(texts))
        if self._prefix is Prefix.FIRST:
            # transformers adds no space before a space or such a piece, SentencePiece does.
            others = [at for at, text in enumerate(texts) if not self._begins_with_word(text)]
            for at, ids in zip(others, self._plain.encode([texts[at] for at in others]), strict=True):
                found[at] = ids
        return found

    def _begins_with_word(self, text: str) -> bool:
        begins_with_space = self._maps_spaces and text[:1].isspace()
        return not begins_with_space and not text.startswith((" ", SPACE, *self.defined))

    def ids_behind_token(self, text: str) -> list[int]:
        """The ids of a text behind a control token."""
        library = self._own if self._prefix is Prefix.ALWAYS else self._plain
        found: list[int] = library.encode(text)
        return found

    def texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The texts of ids."""
        found: list[str] = self._own.decode(list(map(list, ids)))
        return found


def _defined(model: SentencePieceModel) -> frozenset[str]:
    defined = [piece.text for piece in model.pieces if piece.kind == USER_DEFINED]
    return frozenset([*defined, *(text.replace(SPACE, " ") for text in defined)])


def _texts(tokenizer: Tokenizer, model: SentencePieceModel) -> Iterator[str]:
    """The texts to compare, which may be repeated."""
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    yield from SENTENCES
    yield from SPACES
    for piece in model.pieces:
        if piece.kind in (CONTROL, BYTE) or piece.text in special:
            # As text it is characters. What a user-defined piece is as text, depends on whether it is special.
            if piece.kind != USER_DEFINED:
                yield from (piece.text, f"a{piece.text}b {piece.text} c")
        elif piece.kind == USER_DEFINED:
            yield from _around_defined(piece)
        else:
            yield piece.text.replace(SPACE, " ")


def _around_defined(piece: Piece) -> Iterator[str]:
    """Texts with a piece that is taken out of a text before it is merged; the first words of a text are not its."""
    text = piece.text.replace(SPACE, " ")
    yield f"a{text}b"
    yield f"a {text} b{text}{text}c"


def _check_around_tokens(tokenizer: Tokenizer, model: SentencePieceModel, library: _Library) -> int:
    """Compare texts before and behind control tokens."""
    added = tokenizer.get_added_tokens_decoder().items()
    chosen = [(at, token) for at, token in added if token.special and not (token.lstrip or token.rstrip)]
    texts = ("Hello", " a  b", SENTENCES[1], "\n", "中文 12")
    pairs = [(first, second) for first in texts for second in texts]
    for token_id, token in chosen[:_TOKENS]:
        for first, second in pairs:
            (before,) = library.ids([first])
            expected = [*before, token_id, *library.ids_behind_token(second)]
            text = f"{first}{token.content}{second}"
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            if not _same(ids, expected, model):
                raise _differs(tokenizer, model, text, ids, expected)
    return len(pairs) * len(chosen[:_TOKENS])


def _same(ids: Sequence[int], expected: Sequence[int], model: SentencePieceModel) -> bool:
    return ids == expected or (model.is_unigram and sorted(ids) == sorted(expected))


def _differs(
    tokenizer: Tokenizer, model: SentencePieceModel, text: str, ids: Sequence[int], expected: Sequence[int]
) -> BrokenText:
    pairs = enumerate(zip(ids, expected, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), min(len(ids), len(expected)))
    found, wanted = (
        [str(tokenizer.id_to_token(each)) for each in some[at : at + 3]] for some in (ids, expected)
    )
    return BrokenText(
        f"{model.path}: {text!r} has other ids when converted: {found} from token {at} on, and {wanted} in "
        f"SentencePiece: {TAKE_ANOTHER}"
    )
