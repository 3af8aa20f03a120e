"""What people give that cannot be built exactly, and what they are told; docs/checkpoints.md lists it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, processors

from predictor.builder.commands import app
from protocol.command_line import run_app
from tests.predictor.builder.checkpoint.gguf_files import KINDS, write_gguf
from tests.predictor.builder.checkpoint.quantized_checkpoints import (
    Quantizer,
    awq,
    float8,
    gptq,
    quantize_checkpoint,
)
from tests.predictor.builder.checkpoints import WEIGHTS, edit_json, edit_tensors, shard
from tests.predictor.builder.release.sentencepiece_files import WITHOUT_ANGLE, train
from tests.releases import TRANSLATION

PAGE = Path(__file__).parents[4] / "docs" / "checkpoints.md"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n"
Q_PROJ = "model.layers.0.self_attn.q_proj"
INT4 = {"bits": 4, "group_size": 32}

Change = Callable[[Path], Path | None]
"""Changes a checkpoint; what it returns is given instead."""


def renamed(name: str) -> Change:
    return lambda checkpoint: (checkpoint / WEIGHTS).rename(checkpoint / name).parent


def written(name: str, content: bytes) -> Change:
    def change(checkpoint: Path) -> None:
        (checkpoint / name).write_bytes(content)

    return change


def beside(name: str, content: bytes) -> Change:
    def change(checkpoint: Path) -> Path:
        (checkpoint.parent / name).write_bytes(content)
        return checkpoint.parent / name

    return change


def config(**fields: object) -> Change:
    return lambda checkpoint: edit_json(checkpoint / "config.json", **fields)


def translation(**fields: object) -> Change:
    return lambda checkpoint: edit_json(checkpoint / "translation.json", **fields)


def quantized(quantizer: Quantizer, **fields: object) -> Change:
    def change(checkpoint: Path) -> None:
        quantize_checkpoint(checkpoint, quantizer, **fields)

    return change


def without_index(checkpoint: Path) -> None:
    shard(checkpoint)
    (checkpoint / f"{WEIGHTS}.index.json").unlink()


def cut(checkpoint: Path) -> None:
    path = checkpoint / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])


def two_gguf_files(checkpoint: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        write_gguf(checkpoint / name, checkpoint)
    (checkpoint / WEIGHTS).unlink()


def gguf_file(**more: object) -> Change:
    return lambda checkpoint: write_gguf(checkpoint.parent / "model.gguf", checkpoint, more=more)


def cut_gguf(checkpoint: Path) -> Path:
    path = write_gguf(checkpoint.parent / "model.gguf", checkpoint, kind=KINDS.Q8_0)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def edited_tokenizer(edit: Callable[[Tokenizer], object]) -> Change:
    def change(checkpoint: Path) -> None:
        tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
        edit(tokenizer)
        tokenizer.save(str(checkpoint / "tokenizer.json"))

    return change


def tokenizer_as(name: str, content: Callable[[], bytes] | None = None) -> Callable[[Path], Path]:
    """Another file in place of tokenizer.json; with ``content`` or what that holds."""

    def change(checkpoint: Path) -> Path:
        path = (checkpoint / "tokenizer.json").rename(checkpoint / name)
        if content is not None:
            path.write_bytes(content())
        (checkpoint / "tokenizer_config.json").write_text("{}")
        return checkpoint

    return change


def another_class(checkpoint: Path) -> None:
    tokenizer_as("tokenizer.model")(checkpoint)
    edit_json(checkpoint / "tokenizer_config.json", tokenizer_class="T5Tokenizer")


def metaspace(tokenizer: Tokenizer) -> None:
    tokenizer.decoder = decoders.Metaspace()


def first_token(tokenizer: Tokenizer) -> None:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["<|pad|>", "$A"], special_tokens=[("<|pad|>", 0)]
    )


LIMITS = {**TRANSLATION["limits"], "max_tokens": 4}
NORM = "model.norm.weight"

GIVEN: dict[str, tuple[Change, str]] = {
    # what stands there
    "a hub's name": (
        lambda checkpoint: Path("Qwen/Qwen3-1.7B"),
        r"Qwen3-1\.7B: no such directory; .* hf download",
    ),
    "no directory": (lambda checkpoint: checkpoint / "a" / "b", r"no such directory$"),
    "a file": (beside("model.safetensors", b"x"), r"is no directory: name the one that holds config\.json"),
    "no config.json": (lambda checkpoint: (checkpoint / "config.json").unlink(), r"config\.json is missing"),
    "no weights": (renamed("unrelated.txt"), r"neither .*: save the checkpoint as safetensors"),
    "pytorch_model.bin": (renamed("pytorch_model.bin"), r"but pytorch_model\.bin: reading it can run code"),
    "pickled shards": (
        renamed("pytorch_model-00001-of-00002.bin"),
        r"reading it can run code .*save_pretrained",
    ),
    "consolidated.00.pth": (
        renamed("consolidated.00.pth"),
        r"but consolidated\.00\.pth: reading it can run code",
    ),
    "consolidated.safetensors": (
        renamed("consolidated.safetensors"),
        r"whose tensors have other names: take the",
    ),
    "shards without their index": (
        without_index,
        r"model-00001-of-00003\.safetensors: the index of the shards is",
    ),
    "a shard is missing": (
        lambda checkpoint: shard(checkpoint)[1].unlink(),
        r"is missing, but .* names it: fetch",
    ),
    "a file is cut short": (cut, r"has \d+ bytes, but its header calls for \d+: fetch it again"),
    "Git LFS pointer": (
        written(WEIGHTS, POINTER),
        r"is a Git LFS pointer, not the file itself: run `git lfs pull`",
    ),
    "Git LFS pointer as tokenizer": (
        written("tokenizer.json", POINTER),
        r"tokenizer\.json is a Git LFS pointer",
    ),
    "LoRA adapter": (
        written("adapter_config.json", b'{"peft_type": "LORA"}'),
        r"LoRA adapter, which would be ignored: name it",
    ),
    # its tensors
    "NaN": (
        lambda c: edit_tensors(c, {NORM: np.full(96, np.nan, np.float32)}),
        r"model\.norm\.weight holds NaN",
    ),
    "float64": (lambda c: edit_tensors(c, {NORM: np.ones(96)}), r"has dtype F64; supported: F32, F16, BF16"),
    "a tensor is missing": (
        lambda c: edit_tensors(c, {NORM: None}),
        r"model\.norm\.weight is missing, but config",
    ),
    "a tensor has another shape": (
        lambda c: edit_tensors(c, {NORM: np.ones(9, np.float32)}),
        r"has shape \[9\], but config\.json calls for",
    ),
    "a tensor has no place": (
        lambda c: edit_tensors(c, {"model.odd": np.ones(9, np.float32)}),
        r"1 tensors have no place .*model\.odd",
    ),
    "untied, without lm_head": (
        config(tie_word_embeddings=False),
        r"lm_head\.weight is missing, but config\.json",
    ),
    # config.json
    "another architecture": (
        config(architectures=["MambaForCausalLM"]),
        r"architectures is \['Mamba.*supported: one",
    ),
    "another rope scaling": (
        config(rope_scaling={"rope_type": "longrope", "factor": 4.0}),
        r"rope_type is 'longrope'; supported: default, linear, llama3",
    ),
    "vocabulary too small": (
        config(vocab_size=100),
        r"config\.json's vocab_size is 100: tokenizer and weights are of",
    ),
    # quantized
    "bitsandbytes": (
        config(quantization_config={"quant_method": "bitsandbytes"}),
        r"quant_method is 'bitsandbytes'",
    ),
    "MLX": (config(quantization={"bits": 4}), r"quantization is set: the checkpoint is quantized already"),
    "FP8 without quantization_config": (
        quantized(float8("row")),
        r"has dtype F8_E4M3; .*8-bit floats where config",
    ),
    "FP8 without scales": (
        quantized(float8("row", scale="scale"), quant_method="fp8"),
        r"is in 8-bit floats, but has no scale",
    ),
    "GPTQ without a word how": (
        quantized(gptq()),
        r"qweight instead of .*GPTQ or AWQ.* fetch its .*quantize_config\.json",
    ),
    "GPTQ, another layout": (
        quantized(gptq(), quant_method="gptq", checkpoint_format="marlin", **INT4),
        r"checkpoint_format is 'marlin'",
    ),
    "AWQ, another layout": (
        quantized(awq(), quant_method="awq", version="gemv", **INT4),
        r"version is 'gemv', which is",
    ),
    "NVFP4": (
        config(quantization_config={"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}),
        r"format is 'nvfp4-pack-quantized', which is not read; build from its float32",
    ),
    # GGUF
    "a file that is no GGUF": (
        beside("model.gguf", b"PK\3\4"),
        r"model\.gguf does not begin as a GGUF file does",
    ),
    "GGUF, cut short": (cut_gguf, r"cannot be parsed as GGUF, or is cut short"),
    "GGUF, Git LFS pointer": (beside("model.gguf", POINTER), r"model\.gguf is a Git LFS pointer"),
    "GGUF, several in a directory": (two_gguf_files, r"but a\.gguf and other GGUF files: name one of them"),
    "GGUF in parts": (
        gguf_file(**{"split.count": 3}),
        r"is one of 3 parts: join them with llama-gguf-split --merge",
    ),
    "GGUF, another architecture": (
        gguf_file(**{"general.architecture": "mamba"}),
        r"general\.architecture is 'mamba'; read from GGUF are llama",
    ),
    "GGUF, another tokenizer": (
        gguf_file(**{"tokenizer.ggml.pre": "viking"}),
        r"tokenizer\.ggml\.pre is 'viking', .*tokenizer\.json with --token",
    ),
    "GGUF without translation.json": (
        gguf_file(),
        r"has no translation\.json: write one with `yiwen release template",
    ),
    # tokenizer and translation.json
    "no tokenizer.json, but tekken.json": (
        tokenizer_as("tekken.json"),
        r"tokenizer\.json is missing; tekken\.json is there, which has to be converted: .*save_pretrained",
    ),
    "a broken tokenizer.model": (
        tokenizer_as("tokenizer.model"),
        r"tokenizer\.model is no model of SentencePiece, or is cut short: fetch",
    ),
    "tiktoken's tokenizer.model": (
        tokenizer_as("tokenizer.model", lambda: b"IQ== 0\nIg== 1\n"),
        r"tokenizer\.model is tiktoken's, not SentencePiece's: take the",
    ),
    "tokenizer.model of another class": (
        another_class,
        r"tokenizer_class is 'T5Tokenizer', and what it does with tokenizer\.model",
    ),
    "tokenizer.model, not converted exactly": (
        tokenizer_as(
            "tokenizer.model", lambda: train(WITHOUT_ANGLE, model_type="unigram", byte_fallback=True)
        ),
        r"tokenizer\.model: '.*' has other ids when converted: .* in SentencePiece: take the",
    ),
    "a tokenizer that changes texts": (
        edited_tokenizer(metaspace),
        r"comes back from the tokenizer as .*published with",
    ),
    "no translation.json": (
        lambda checkpoint: (checkpoint / "translation.json").unlink(),
        r"translation\.json is missing: write it with",
    ),
    "an unknown field": (translation(sentnces="long"), r"sentnces"),
    "an unknown field of limits": (translation(limits=LIMITS), r"max_tokens"),
    "an unknown stop token": (
        translation(stop_tokens=["<|nope|>"]),
        r"stop token '<\|nope\|>' is not in the tokenizer",
    ),
    "an unknown control token": (
        translation(template="{source}{text}<|im_ends|>{target}"),
        r"the template has '<\|im_ends\|>', which the tokenizer",
    ),
    "a template without BOS": (
        edited_tokenizer(first_token),
        r"puts '<\|pad\|>' before every prompt, and the template",
    ),
    "stop tokens without eos": (
        config(eos_token_id=1),
        r"stop_tokens lacks '<\|en\|>', which eos_token_id of the",
    ),
}


@pytest.mark.parametrize("given", GIVEN)
def test_what_cannot_be_built_is_named_in_one_line_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    change, message = GIVEN[given]
    source = change(checkpoint) or checkpoint
    out = tmp_path / "releases" / "release"
    out.parent.mkdir()
    assert run_app(app, ["build", str(source), "-o", str(out)], prog="release") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(message, said), said
    assert list(out.parent.iterdir()) == []


def test_the_page_lists_every_case_with_its_message() -> None:
    listed = dict(re.findall(r"^\| (.+?) \| `(.+)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert list(listed) == list(GIVEN)
    for given, (_, message) in GIVEN.items():
        assert re.search(message.replace("`", ""), listed[given].replace(r"\|", "|")), given
