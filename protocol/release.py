"""A release on disk: its files, and what `release.json` says, as frozen types.

::

    <release>/
      release.json      identity, decoder shape, precision, limits, provenance, digests of every file
      translation.json  how text becomes a prompt (protocol.translation_spec)
      glossary.json     optional: terms and their translations (protocol.glossary)
      tokenizer/        Hugging Face tokenizer files
      decoder.onnx      the whole decoder step; its weights lie in weights.bin
      weights.bin
      segments/         the step's matrix products, for TensorRT; no weights either (predictor.segment_index)
      plans/            one TensorRT plan per GPU type, each with its .json
      reports/          parity.json, quality.json

The predictor reads ``release.json`` alone; the transformer reads ``translation.json``, ``glossary.json`` and
``tokenizer/`` as well.
Nothing here knows how a release is built (:mod:`predictor.builder`) or run (:mod:`predictor.runners`).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol.release_documents import RELEASE_FILE as RELEASE_FILE
from protocol.release_documents import STRICT, load_document

RELEASE_SCHEMA = 1

TRANSLATION_FILE = "translation.json"
TOKENIZER_DIR = "tokenizer"
TOKENIZER_FILE = "tokenizer.json"
"""The fast tokenizer, in ``tokenizer/`` of a release and beside the weights of a checkpoint."""
DECODER_FILE = "decoder.onnx"
WEIGHTS_FILE = "weights.bin"
SEGMENTS_DIR = "segments"
PLANS_DIR = "plans"
REPORTS_DIR = "reports"


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """Sizes of a decoder, from which the K/V cache and the weights are computed."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    shared_kv: bool = False
    """Whether keys are the values too (multi-head latent attention): a layer caches one vector for both."""

    @property
    def kv_tensors(self) -> int:
        """Tensors of the K/V cache of a layer."""
        return 1 if self.shared_kv else 2

    @property
    def kv_values_per_token(self) -> int:
        """Number of values per token in the K/V cache of all layers."""
        return self.kv_tensors * self.layers * self.kv_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one sequence."""

    max_sequence_tokens: int
    """Maximum length of prompt and generated tokens together, and of a slot."""
    candidates: int
    """Number of best tokens per step that ``decoder.onnx`` returns for sampling."""


@dataclass(frozen=True, slots=True)
class Release:
    """``release.json``."""

    __pydantic_config__ = STRICT

    id: str
    """Digest over tokenizer, translation.json, weights and precision: 16 hex digits. The cache's namespace."""
    name: str
    """A label; not unique."""
    family: str
    """Hugging Face architecture, e.g. LlamaForCausalLM."""
    precision: str
    """float32, float16, int8 or int4: the weights in ``decoder.onnx``. Plans carry their own."""
    decoder: DecoderShape
    limits: Limits
    stop_token_ids: tuple[int, ...]
    languages: tuple[str, ...]
    provenance: Mapping[str, Any]
    """Source checkpoint and its digest, versions of the tools that built it, when."""
    files: Mapping[str, str]
    """sha256 of each file of the release but release.json, by POSIX path inside it."""

    def to_json(self) -> dict[str, Any]:
        """The document that :func:`load_release` reads back."""
        document = {"schema": RELEASE_SCHEMA, **dataclasses.asdict(self)}
        if not self.decoder.shared_kv:  # absent in releases that earlier versions read too
            del document["decoder"]["shared_kv"]
        return document


def load_release(directory: Path) -> Release:
    """Read and check ``release.json``.

    Raises:
        ReleaseError: there is no such release, or the document is not one this version reads.
    """
    return load_document(
        Release,
        directory / RELEASE_FILE,
        schemas=(RELEASE_SCHEMA,),
        if_missing=f"{directory} is not a release: build one with `yiwen release build`",
        fix="rebuild the release",
    )


def release_id(parts: Mapping[str, str], precision: str) -> str:
    """Id of a release: 16 hex digits of a sha256 over everything that determines its output.

    Args:
        parts: sha256 by path, of the tokenizer's files, translation.json and the weights.
        precision: of the weights.
    """
    digest = hashlib.sha256()
    for path, value in sorted(parts.items()):
        digest.update(f"{path}\0{value}\n".encode())
    digest.update(precision.encode())
    return digest.hexdigest()[:16]
