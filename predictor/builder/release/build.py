"""Builds a release directory from a checkpoint.

Everything that can be refused is refused before the first byte is written: config, tensors, tokenizer, disk space.
The parts: graphs (:mod:`predictor.builder.graph`), weights (:mod:`predictor.builder.weights`), publication of the
directory (:mod:`predictor.builder.release.staging`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from predictor.builder.checkpoint.directory import check_directory
from predictor.builder.checkpoint.lora import merge_adapter
from predictor.builder.checkpoint.tensors import Checkpoint, open_checkpoint
from predictor.builder.errors import BrokenText, PrecisionUnavailable, UnsupportedModel
from predictor.builder.families.architecture import Architecture, read_architecture
from predictor.builder.graph.decoder import FLOAT_PRODUCTS, INT8_PRODUCTS, StepOptions, emit_decoder
from predictor.builder.graph.segments import segment_files
from predictor.builder.progress import Reporter
from predictor.builder.release.checkpoint_source import checkpoint_directory
from predictor.builder.release.sentencepiece_tokenizer import SENTENCEPIECE_FILE
from predictor.builder.release.staging import check_target, staged
from predictor.builder.release.text_files import TextFiles, read_text_files
from predictor.builder.weights.conversion import conversion
from predictor.builder.weights.decoder_matrices import DecoderMatrices, Precision, choose_precision
from predictor.builder.weights.file_layout import WeightFileLayout
from predictor.builder.weights.writer import JOURNAL_FILE, MatrixQuantizer, round_to_nearest, write_weights
from protocol.glossary import GLOSSARY_FILE
from protocol.integrity import file_digest
from protocol.release import (
    DECODER_FILE,
    RELEASE_FILE,
    TOKENIZER_DIR,
    TOKENIZER_FILE,
    TRANSLATION_FILE,
    WEIGHTS_FILE,
    Limits,
    Release,
    release_id,
)

DEFAULT_MAX_TOKENS = 4096
"""Default sequence length. The K/V cache of a slot grows with it, and few sentences need more."""
SMALL_FOR_INT4 = 3_000_000_000
"""Parameters below which a build in int4 warns: of a model with 135 million it changed nearly every second choice of
a token, and larger ones have not been measured."""
CANDIDATES = 32
"""Candidates per step: enough for common values of top-k; more costs time in every step."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """Parameters of a release."""

    checkpoint: Path
    out: Path
    precision: str = "float32"
    block_size: int | None = None
    """Neighbours that share a scale in ``int8`` and ``int4``; None: the precision's own."""
    float_activations: bool = False
    """Whether quantized weights are multiplied with float32 activations, not with int8 ones."""
    translation: Path | None = None
    glossary: Path | None = None
    name: str | None = None
    max_tokens: int | None = None
    force: bool = False
    adapter: Path | None = None
    """A LoRA adapter that is merged into the checkpoint."""
    tokenizer: Path | None = None
    """Of a GGUF file: the model's ``tokenizer.json`` or ``tokenizer.model``, or its directory; None: its own."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a build chooses codes of quantized matrices."""

    quantizer: MatrixQuantizer = round_to_nearest
    calibration: Mapping[str, str | int] = field(default_factory=dict)
    """For the provenance: all that determines the codes besides the checkpoint."""


@dataclass(frozen=True, slots=True)
class _PreparedBuild:
    """A build after all checks."""

    request: BuildRequest
    checkpoint: Checkpoint
    architecture: Architecture
    text: TextFiles
    limits: Limits
    precision: Precision
    quantization: Quantization
    weights: WeightFileLayout
    graphs: dict[str, bytes]
    """``decoder.onnx`` and, unless matrices are quantized in blocks, ``segments/``: content by path."""


def build_release(
    request: BuildRequest,
    *,
    built_at: datetime,
    reporter: Reporter,
    quantization: Quantization | None = None,
) -> Release:
    """Build a release and publish it at ``request.out`` atomically; after an error nothing of it is there.

    Args:
        request: parameters of the release.
        built_at: for the provenance.
        reporter: of the progress.
        quantization: of int8 and int4 weights; None rounds to the nearest code.

    Raises:
        BuildError: see :mod:`predictor.builder.errors`.
        ReleaseError: translation.json or glossary.json breaks a rule.
    """
    target = request.out.absolute()
    check_target(target, force=request.force)
    with checkpoint_directory(request.checkpoint, request.tokenizer) as source:
        plan = _prepare(request, source, quantization or Quantization())
        _warn(plan, reporter)
        return _build(plan, target, built_at=built_at, reporter=reporter)


def _build(plan: _PreparedBuild, target: Path, *, built_at: datetime, reporter: Reporter) -> Release:
    """Write a release.

    Args:
        plan: the build after all checks.
        target: absolute path of the release.
        built_at: for the provenance.
        reporter: of the progress.
    """
    reporter.begin("read checkpoint", plan.checkpoint.bytes())
    source = plan.checkpoint.digest(reporter.advance)
    # The graph names all tensors, their offsets and types; with source and calibration it determines weights.bin.
    content = plan.graphs[DECODER_FILE] + json.dumps(dict(plan.quantization.calibration)).encode()
    key = f"{source[:12]}-{hashlib.sha256(content).hexdigest()[:12]}"
    graph_bytes = sum(len(content) for content in plan.graphs.values())
    tokenizer_bytes = _bytes(plan.text.tokenizer_files) + len(plan.text.converted_tokenizer or "")
    needed = plan.weights.total_bytes + graph_bytes + tokenizer_bytes
    with staged(target, key, needed=needed, force=plan.request.force) as directory:
        return _fill(directory, plan, source, built_at=built_at, reporter=reporter)


def _prepare(request: BuildRequest, source: Path, quantization: Quantization) -> _PreparedBuild:
    """Check everything.

    Args:
        request: parameters of the release.
        source: the directory that the checkpoint is read from.
        quantization: of int8 and int4 weights.
    """
    check_directory(source, with_adapter=request.adapter is not None)
    architecture = read_architecture(source)
    checkpoint = open_checkpoint(source)
    if request.adapter is not None:
        checkpoint = merge_adapter(checkpoint, request.adapter)
    _check_translation(request, source)
    text = read_text_files(
        source, request.translation, vocab=architecture.shape.vocab, glossary=request.glossary
    )
    limits = Limits(
        max_sequence_tokens=_max_tokens(architecture, text, request.max_tokens),
        candidates=min(CANDIDATES, architecture.shape.vocab),
    )
    weights = WeightFileLayout(checkpoint)
    precision = _precision(request)
    tensors = DecoderMatrices(weights, checkpoint, architecture, precision)
    options = StepOptions(
        positions=limits.max_sequence_tokens,
        candidates=limits.candidates,
        accuracy_level=FLOAT_PRODUCTS if request.float_activations else INT8_PRODUCTS,
    )
    graphs = {DECODER_FILE: emit_decoder(architecture, tensors, options).serialized()}
    tensors.check_all_used()
    if precision.linear is None:
        graphs |= segment_files(architecture, weights)
    return _PreparedBuild(
        request, checkpoint, architecture, text, limits, precision, quantization, weights, graphs
    )


def _precision(request: BuildRequest) -> Precision:
    precision = choose_precision(request.precision, request.block_size)
    if request.float_activations and precision.linear is None:
        raise PrecisionUnavailable(
            f"{precision.name} is multiplied in float32 as it is: --activations is for int8 and int4 weights"
        )
    return precision


def _check_translation(request: BuildRequest, source: Path) -> None:
    """Refuse a GGUF file without a word how text becomes a prompt, by its own name."""
    if source == request.checkpoint or request.translation or (source / TRANSLATION_FILE).exists():
        return
    raise BrokenText(
        f"{request.checkpoint} has no {TRANSLATION_FILE}: write one with `yiwen release template "
        f"{request.checkpoint} --languages ...` and name it with --translation, or take a --recipe"
    )


def _max_tokens(architecture: Architecture, text: TextFiles, asked: int | None) -> int:
    """The longest sequence: as requested, else the default or what translation.json needs, as the model allows."""
    if asked is not None and asked > architecture.max_positions:
        raise UnsupportedModel(
            f"--max-tokens {asked} exceeds the model's max_position_embeddings {architecture.max_positions}"
        )
    chosen = asked or min(architecture.max_positions, max(DEFAULT_MAX_TOKENS, text.longest_sequence))
    if chosen < text.longest_sequence:
        raise BrokenText(
            f"{text.translation_file}: its limits and template allow sequences of {text.longest_sequence} tokens, "
            f"but this release would take {chosen}: lower limits.max_source_tokens or max_new_tokens, "
            f"or raise --max-tokens (the model can take {architecture.max_positions})"
        )
    return chosen


def _warn(plan: _PreparedBuild, reporter: Reporter) -> None:
    if plan.text.converted_tokenizer is not None:
        reporter.info(f"{SENTENCEPIECE_FILE} was converted; its ids are those of the SentencePiece library")
    used = plan.weights.used_sources()
    parameters = sum(math.prod(plan.checkpoint.tensors[name].shape) for name in used)
    if plan.precision.name == "int4" and parameters < SMALL_FOR_INT4:
        reporter.info(
            f"int4 changes many answers of a model with {parameters / 1e6:,.0f} million parameters: --compensate "
            "helps, --measure says how many; int8-weights changes few"
        )


def _fill(
    directory: Path, plan: _PreparedBuild, source: str, *, built_at: datetime, reporter: Reporter
) -> Release:
    """Write all files of the release into ``directory``."""
    _clear_but_weights(directory)
    weights_file, quantizer = directory / WEIGHTS_FILE, plan.quantization.quantizer
    files = {WEIGHTS_FILE: write_weights(plan.weights, plan.checkpoint, weights_file, reporter, quantizer)}
    for name, content in plan.graphs.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(content)
    shutil.copyfile(plan.text.translation_file, directory / TRANSLATION_FILE)
    if plan.text.glossary_file is not None:
        shutil.copyfile(plan.text.glossary_file, directory / GLOSSARY_FILE)
    (directory / TOKENIZER_DIR).mkdir()
    for path in plan.text.tokenizer_files:
        shutil.copyfile(path, directory / TOKENIZER_DIR / path.name)
    if plan.text.converted_tokenizer is not None:
        (directory / TOKENIZER_DIR / TOKENIZER_FILE).write_text(
            plan.text.converted_tokenizer, encoding="utf-8"
        )
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and name not in files:
            files[name] = file_digest(path)
    release = _release(plan, files, _provenance(plan, source, built_at))
    document = json.dumps(release.to_json(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (directory / RELEASE_FILE).write_text(document, encoding="utf-8")
    return release


def _release(plan: _PreparedBuild, files: dict[str, str], provenance: dict[str, Any]) -> Release:
    request = plan.request
    return Release(
        id=release_id(files, request.precision),
        name=request.name or request.checkpoint.resolve().name.removesuffix(".gguf"),
        family=plan.architecture.family,
        precision=request.precision,
        decoder=plan.architecture.shape,
        limits=plan.limits,
        stop_token_ids=plan.text.stop_token_ids,
        languages=tuple(sorted(plan.text.spec.languages)),
        provenance=provenance,
        files=dict(sorted(files.items())),
    )


def _provenance(plan: _PreparedBuild, source: str, built_at: datetime) -> dict[str, Any]:
    adapter = plan.request.adapter
    quantized = conversion(plan.weights, plan.checkpoint)
    return {
        "checkpoint": plan.request.checkpoint.resolve().name,
        "checkpoint_sha256": source,
        **({} if adapter is None else {"adapter": adapter.resolve().name}),
        **({} if quantized is None else {"quantized_checkpoint": quantized.to_json()}),
        **({} if plan.text.converted_tokenizer is None else {"converted_tokenizer": SENTENCEPIECE_FILE}),
        "checkpoint_bytes": plan.checkpoint.bytes(),
        **_quantization(plan),
        "built_at": built_at.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in ("yiwen", "numpy", "onnx", "tokenizers")},
    }


def _quantization(plan: _PreparedBuild) -> dict[str, Any]:
    """How quantized weights are stored and multiplied; empty for others."""
    if plan.precision.block is None:
        return {}
    activations = "float32" if plan.request.float_activations else "int8"
    chosen = {"block_size": plan.precision.block, "activations": activations}
    return {"quantization": {**chosen, **plan.quantization.calibration}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"  # yiwen, run from its source tree


def _bytes(paths: tuple[Path, ...]) -> int:
    return sum(path.stat().st_size for path in paths)


def _clear_but_weights(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (WEIGHTS_FILE, JOURNAL_FILE):
            os.unlink(path)
