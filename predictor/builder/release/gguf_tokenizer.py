"""The tokenizer that a GGUF file's metadata stands for.

llama.cpp keeps tokens, their types, merges or scores, and a name for the rule that cuts text into words. The rules
here are those of the published ``tokenizer.json`` files that the names stand for (src/llama-vocab.cpp lists them);
others are refused: then the model's own ``tokenizer.json`` has to be given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from predictor.builder.checkpoint.gguf_file import GgufFile
from predictor.builder.errors import BrokenText
from predictor.builder.release.piece_vocabulary import (
    NORMAL,
    SPACE,
    UNUSED,
    Piece,
    add_tokens,
    bpe_model,
    piece_decoder,
    space_before,
    whole_tokens,
)
from predictor.builder.release.template_checks import check_round_trip

GIVE_ONE = "name the model's own tokenizer.json with --tokenizer"
SAMPLES = (
    "Où est ma commande n° 12 ? Elle coûte 1 234,56 €…",
    "订单在哪里？第12号，谢谢！",
    "注文は12番です。 Заказ № 12. الطلب رقم 12",
    "a  b\n\n  c\td 👍🏽",
)
"""Texts that must come back as they were."""

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)


@dataclass(frozen=True, slots=True)
class _Words:
    """How text is cut into words before merging."""

    patterns: Sequence[str]
    composed: bool = False
    """Whether text is brought into NFC before."""
    ignore_merges: bool = False
    """Whether a word that is a token is taken as it is."""
    begins: bool = False
    """Whether texts begin with BOS where the file does not say."""


_LLAMA3 = _Words((_QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|"),), ignore_merges=True, begins=True)
_WORDS: Mapping[str, _Words] = {
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _Words((_QWEN2,), composed=True),
    "gpt-2": _Words((_GPT2,)),
    "smollm": _Words((r"\p{N}", _GPT2)),
    "refact": _Words((r"\p{N}", _GPT2)),
    "deepseek-v3": _Words(_DEEPSEEK3),
    "hunyuan-dense": _Words(_DEEPSEEK3),
}
"""By ``tokenizer.ggml.pre``."""


def tokenizer_of_gguf(file: GgufFile) -> Tokenizer:
    """The tokenizer of a file; texts of several scripts are known to come back from it.

    Raises:
        BrokenText: the metadata has no tokenizer, or one that is not read, or texts do not come back.
    """
    kind = file.value("tokenizer.ggml.model")
    if kind is None:
        raise BrokenText(f"{file.path} has no tokenizer: {GIVE_ONE}")
    if kind not in ("gpt2", "llama"):
        raise BrokenText(
            f"{file.path}: tokenizer.ggml.model is {kind!r}; read are gpt2 and llama: {GIVE_ONE}"
        )
    try:
        tokenizer = _byte_level(file) if kind == "gpt2" else _sentence_pieces(file)
    except BrokenText:
        raise
    except Exception as error:  # tokenizers raises plain Exception for any vocabulary that it cannot take
        raise BrokenText(f"{file.path}: its tokenizer cannot be made: {error}; {GIVE_ONE}") from error
    add_tokens(
        tokenizer, whole_tokens(_pieces(file), tokenizer.normalizer if kind == "llama" else None).values()
    )
    begins = kind == "llama" or _words(file).begins
    bos = file.value("tokenizer.ggml.bos_token_id")
    token = None if bos is None else tokenizer.id_to_token(bos)
    if file.value("tokenizer.ggml.add_bos_token", begins) and token is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[token, "$A"], pair=[token, "$A", "$B"], special_tokens=[(token, bos)]
        )
    check_round_trip(tokenizer, file.path, SAMPLES)
    return tokenizer


def check_same_tokens(tokenizer: Tokenizer, path: Path, file: GgufFile) -> None:
    """Check that a given tokenizer has the tokens of a file, id by id.

    Args:
        tokenizer: that is given.
        path: of its file, for messages.
        file: with the model.

    Raises:
        BrokenText: a token differs.
    """
    types = file.value("tokenizer.ggml.token_type", [])
    for token_id, token in enumerate(_tokens(file)):
        given = tokenizer.id_to_token(token_id)
        unused = token_id < len(types) and types[token_id] == UNUSED
        if given != token and not unused and not (given is None and token.startswith(("[PAD", "<pad"))):
            raise BrokenText(
                f"{path}: token {token_id} is {given!r}, and {token!r} in {file.path}: "
                "the tokenizer is another model's"
            )


def _tokens(file: GgufFile) -> list[str]:
    tokens: list[str] = file.value("tokenizer.ggml.tokens", [])
    if len(set(tokens)) != len(tokens) or not tokens:
        raise BrokenText(f"{file.path}: tokens of its tokenizer are missing or repeated: {GIVE_ONE}")
    return tokens


def _words(file: GgufFile) -> _Words:
    name = file.value("tokenizer.ggml.pre", "default")
    if name not in _WORDS:
        raise BrokenText(
            f"{file.path}: tokenizer.ggml.pre is {name!r}, and how it cuts words is not known here; known are "
            f"{', '.join(_WORDS)}: {GIVE_ONE}"
        )
    return _WORDS[name]


def _byte_level(file: GgufFile) -> Tokenizer:
    """Byte-level BPE, as GPT-2, Llama 3 and Qwen have it."""
    words = _words(file)
    vocabulary = {token: token_id for token_id, token in enumerate(_tokens(file))}
    merges = [tuple(merge.split(" ")) for merge in file.value("tokenizer.ggml.merges", [])]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=words.ignore_merges))
    if words.composed:
        tokenizer.normalizer = normalizers.NFC()
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in words.patterns]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pieces(file: GgufFile) -> list[Piece]:
    """The tokens with their scores and types; what is missing is 0, or a token of text."""
    tokens = _tokens(file)
    scores = file.value("tokenizer.ggml.scores", [0.0] * len(tokens))
    types = file.value("tokenizer.ggml.token_type", [NORMAL] * len(tokens))
    return [Piece(*each) for each in zip(tokens, scores, types, strict=False)]


def _sentence_pieces(file: GgufFile) -> Tokenizer:
    """SentencePiece's BPE, as Llama 2, Mistral and Gemma have it."""
    tokens, scores = _tokens(file), file.value("tokenizer.ggml.scores", [])
    if len(scores) != len(tokens):
        raise BrokenText(
            f"{file.path}: its tokenizer has {len(tokens)} tokens and {len(scores)} scores: {GIVE_ONE}"
        )
    pieces, unknown = _pieces(file), tokens[file.value("tokenizer.ggml.unknown_token_id", 0)]
    tokenizer = Tokenizer(bpe_model(pieces, unknown=unknown, byte_fallback=True))
    prefixed = file.value("tokenizer.ggml.add_space_prefix", True)
    spaces = normalizers.Replace(" ", SPACE)
    tokenizer.normalizer = normalizers.Sequence([space_before(pieces), spaces]) if prefixed else spaces
    tokenizer.decoder = piece_decoder(leading_spaces=1 if prefixed else 0)
    return tokenizer
