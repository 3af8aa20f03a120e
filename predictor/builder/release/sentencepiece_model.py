"""A ``tokenizer.model``: SentencePiece's vocabulary and rules, as a protobuf message.

The fields and their defaults are those of ``src/sentencepiece_model.proto`` in
https://github.com/google/sentencepiece. They are declared here, since the module that the package brings runs with
newer versions of protobuf alone than KServe allows.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from predictor.builder.errors import BrokenText
from predictor.builder.release.piece_vocabulary import UNKNOWN, Piece

TAKE_ANOTHER = "take the tokenizer.json that the model was published with"
_PACKAGE = "yiwen.sentencepiece"
_UNIGRAM, _BPE = 1, 2
_MESSAGES: Mapping[str, Mapping[str, tuple[int, str, object]]] = {
    "Piece": {"piece": (1, "string", ""), "score": (2, "float", 0.0), "type": (3, "int32", 1)},
    "TrainerSpec": {
        "model_type": (3, "int32", 1),
        "treat_whitespace_as_suffix": (24, "bool", False),
        "byte_fallback": (35, "bool", False),
        "bos_id": (41, "int32", 1),
    },
    "NormalizerSpec": {
        "name": (1, "string", ""),
        "precompiled_charsmap": (2, "bytes", b""),
        "add_dummy_prefix": (3, "bool", True),
        "remove_extra_whitespaces": (4, "bool", True),
        "escape_whitespaces": (5, "bool", True),
    },
    "Model": {
        "pieces": (1, "Piece", None),
        "trainer_spec": (2, "TrainerSpec", None),
        "normalizer_spec": (3, "NormalizerSpec", None),
        "denormalizer_spec": (5, "NormalizerSpec", None),
    },
}
"""Messages, and of each field its number, its type and its default. An enumeration is read as its number."""


@dataclass(frozen=True, slots=True)
class SentencePieceModel:
    """What a file says."""

    path: Path
    pieces: tuple[Piece, ...]
    is_unigram: bool
    """Otherwise it is byte-pair encoding."""
    byte_fallback: bool
    unknown: int
    """Id of the piece for characters that the vocabulary does not have."""
    begin: int
    """Id of the piece that begins a text (BOS); -1 if none."""
    adds_prefix: bool
    """Whether a space is put before every text."""
    trims_spaces: bool
    """Whether spaces at the ends are removed, and several in a row made one."""
    normalization: str
    """The name of how characters are normalized, such as nmt_nfkc."""
    character_map: bytes
    """The same, compiled; empty if they are not."""
    content: bytes
    """Of the file."""

    def unprefixed(self) -> bytes:
        """The content of a file that differs in not putting a space before texts."""
        message = _message_class("Model").FromString(self.content)
        message.normalizer_spec.add_dummy_prefix = False
        content: bytes = message.SerializeToString()  # with the fields that are not declared here
        return content


def read_sentencepiece_model(path: Path) -> SentencePieceModel:
    """Read a file.

    Raises:
        BrokenText: it is no model of SentencePiece, or has a rule that is not followed here.
    """
    content = path.read_bytes()
    if _is_tiktoken(content):
        raise BrokenText(f"{path} is tiktoken's, not SentencePiece's: {TAKE_ANOTHER}")
    try:
        message = _message_class("Model").FromString(content)
    except DecodeError as error:
        raise BrokenText(f"{path} is no model of SentencePiece, or is cut short: fetch it again") from error
    pieces = tuple(Piece(each.piece, each.score, each.type) for each in message.pieces)
    unknown = [piece_id for piece_id, piece in enumerate(pieces) if piece.kind == UNKNOWN]
    if len(unknown) != 1 or len({piece.text for piece in pieces}) != len(pieces):
        raise BrokenText(
            f"{path} has {len(pieces)} pieces, {len(unknown)} of them for unknown characters, or one of them twice: "
            "it is no model of SentencePiece, or broken; fetch it again"
        )
    _check_rules(message, path)
    trainer, normalizer = message.trainer_spec, message.normalizer_spec
    return SentencePieceModel(
        path=path,
        pieces=pieces,
        is_unigram=trainer.model_type == _UNIGRAM,
        byte_fallback=trainer.byte_fallback,
        unknown=unknown[0],
        begin=trainer.bos_id,
        adds_prefix=normalizer.add_dummy_prefix,
        trims_spaces=normalizer.remove_extra_whitespaces,
        normalization=normalizer.name,
        character_map=normalizer.precompiled_charsmap,
        content=content,
    )


def _check_rules(message: Any, path: Path) -> None:  # noqa: ANN401 - a message that protobuf has made
    rules = {
        "model_type": message.trainer_spec.model_type not in (_UNIGRAM, _BPE),
        "treat_whitespace_as_suffix": message.trainer_spec.treat_whitespace_as_suffix,
        "escape_whitespaces": not message.normalizer_spec.escape_whitespaces,
        "denormalizer_spec": bool(message.denormalizer_spec.precompiled_charsmap),
    }
    for name, broken in rules.items():
        if broken:
            raise BrokenText(f"{path}: its {name} is one that is not converted: {TAKE_ANOTHER}")


def _is_tiktoken(content: bytes) -> bool:
    """Whether a file is a list of tokens in base64, each with its rank, as Llama 3's ``tokenizer.model`` is."""
    token, _, rank = content.partition(b"\n")[0].partition(b" ")
    try:
        return rank.strip().isdigit() and bool(base64.b64decode(token, validate=True))
    except binascii.Error:
        return False


@cache
def _message_class(name: str) -> Any:  # noqa: ANN401 - a class that protobuf makes
    file = descriptor_pb2.FileDescriptorProto(
        name="yiwen/sentencepiece.proto", package=_PACKAGE, syntax="proto2"
    )
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for field, (number, kind, default) in fields.items():
            _add_field(described, field, number, kind, default)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


def _add_field(described: Any, name: str, number: int, kind: str, default: object) -> None:  # noqa: ANN401
    field = descriptor_pb2.FieldDescriptorProto
    added = described.field.add(name=name, number=number, label=field.LABEL_OPTIONAL)
    if kind in _MESSAGES:
        added.type, added.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
        added.label = field.LABEL_REPEATED if name == "pieces" else field.LABEL_OPTIONAL
        return
    added.type = getattr(field, f"TYPE_{kind.upper()}")
    if default:
        added.default_value = str(default).lower() if isinstance(default, bool) else str(default)
