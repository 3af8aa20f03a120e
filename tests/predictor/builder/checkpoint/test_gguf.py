"""GGUF files: numbers, codes, configuration, tokenizer, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize, quantize
from safetensors.numpy import load_file
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from predictor.builder.checkpoint import tensors as module
from predictor.builder.checkpoint.gguf_families import gguf_config
from predictor.builder.checkpoint.gguf_file import GgufMatrix, GgufTensor, read_gguf
from predictor.builder.checkpoint.packed import BlockLayout
from predictor.builder.checkpoint.tensors import Checkpoint, open_checkpoint
from predictor.builder.commands import app
from predictor.builder.errors import BrokenCheckpoint, BrokenText, BuildError, UnsupportedModel
from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from predictor.builder.release.gguf_tokenizer import tokenizer_of_gguf
from predictor.builder.release.sentencepiece_model import read_sentencepiece_model
from predictor.builder.release.sentencepiece_tokenizer import tokenizer_of_sentencepiece
from protocol.command_line import run_app
from protocol.release import Release, load_release
from tests.predictor.builder.checkpoint.gguf_files import (
    KINDS,
    byte_vocabulary,
    permuted,
    piece_vocabulary,
    write_gguf,
)
from tests.predictor.builder.checkpoints import NOW, WEIGHTS, edit_json
from tests.predictor.builder.release.sentencepiece_files import write_model
from tests.protocol.tokenizer_kinds import TEXTS as SENTENCE_TEXTS
from tests.releases import write_checkpoint

Q, K, UP = (f"model.layers.1.{part}_proj.weight" for part in ("self_attn.q", "self_attn.k", "mlp.up"))
TEXTS = ["Where is my order No. 12?", "a  b\n\tc", "Où est-il ? 订单", "<|end|> <b>x</b>"]


def build_gguf(
    path: Path, checkpoint: Path, out: Path, precision: str = "float32", **options: Any
) -> Release:
    request = BuildRequest(
        path, out, precision=precision, translation=checkpoint / "translation.json", **options
    )
    return build_release(request, built_at=NOW, reporter=SilentReporter())


def opened(path: Path, directory: Path) -> Checkpoint:
    directory.mkdir(exist_ok=True)
    shutil.copyfile(path, directory / "model.gguf")
    return open_checkpoint(directory)


def read(checkpoint: Checkpoint, name: str) -> np.ndarray:
    return np.concatenate(list(checkpoint.rows(name)))


def quantized_back(values: np.ndarray, kind: Any) -> np.ndarray:
    return np.asarray(dequantize(quantize(values, kind), kind))


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q4_0"])
def test_numbers_are_the_librarys_in_the_order_of_hugging_face(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = write_gguf(tmp_path / "model.gguf", checkpoint, kind=KINDS[kind])
    monkeypatch.setattr(module, "READ_BYTES", 4 * 96 * 7)  # slices that end inside heads
    found = opened(path, tmp_path / "directory")
    for name, values in load_file(checkpoint / WEIGHTS).items():
        in_layers = values.ndim == 2 and "layers" in name
        wanted = quantized_back(values, KINDS[kind]) if in_layers else values
        np.testing.assert_array_equal(read(found, name), wanted)


def halves(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.float16).astype(np.float32)


def published_q8_0(rows: np.ndarray) -> np.ndarray:
    """``dequantize_row_q8_0``: y = d * q, in blocks of a float16 d and 32 int8 q."""
    blocks = rows.reshape(len(rows), -1, 34)
    values = blocks[..., 2:].view(np.int8).astype(np.float32) * halves(blocks[..., :2])
    return np.asarray(values.reshape(len(rows), -1))


def published_q4_0(rows: np.ndarray) -> np.ndarray:
    """``dequantize_row_q4_0``: y[j] = d * ((q[j] & 15) - 8), y[j + 16] = d * ((q[j] >> 4) - 8)."""
    blocks = rows.reshape(len(rows), -1, 18)
    codes = np.concatenate((blocks[..., 2:] & 15, blocks[..., 2:] >> 4), axis=-1).astype(np.float32)
    return np.asarray(((codes - 8) * halves(blocks[..., :2])).reshape(len(rows), -1))


def published_q4_k(rows: np.ndarray) -> np.ndarray:
    """``dequantize_row_q4_K``: eight blocks with 6-bit scales and minima, y = d * scale * q - dmin * minimum."""
    found = np.empty((len(rows), rows.shape[1] // 144 * 256), np.float32)
    for row, data in enumerate(rows.reshape(len(rows), -1, 144)):
        for at, block in enumerate(data):
            d, dmin = halves(block[:4])
            packed, codes = block[4:16].astype(int), block[16:].reshape(4, 32)
            for j in range(8):
                if j < 4:
                    scale, minimum = packed[j] & 63, packed[j + 4] & 63
                else:
                    scale = (packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4)
                    minimum = (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4)
                four = (codes[j // 2] >> (4 * (j % 2))) & 15
                values = d * np.float32(scale) * four.astype(np.float32) - dmin * np.float32(minimum)
                found[row, at * 256 + j * 32 :][:32] = values
    return found


PUBLISHED: dict[str, tuple[int, int, Callable[[np.ndarray], np.ndarray]]] = {
    "Q8_0": (34, 32, published_q8_0),
    "Q4_0": (18, 32, published_q4_0),
    "Q4_K": (144, 256, published_q4_k),
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_blocks_are_read_by_their_published_definition(tmp_path: Path, kind: str) -> None:
    size, values, published = PUBLISHED[kind]
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (8, 2, size), np.uint8)
    blocks[..., :2] = np.array(rng.uniform(0.01, 0.1, (8, 2, 1)), np.float16).view(np.uint8)
    if kind == "Q4_K":
        blocks[..., 2:4] = np.array(rng.uniform(0.01, 0.1, (8, 2, 1)), np.float16).view(np.uint8)
    rows = blocks.reshape(8, -1)
    (tmp_path / "x").write_bytes(b"pad" + rows.tobytes())
    matrix = GgufMatrix(GgufTensor(tmp_path / "x", kind, (8, 2 * values), 3, 2 * size))
    wanted = published(rows)
    np.testing.assert_allclose(matrix.rows(2, 5), wanted[2:7], rtol=1e-6, atol=1e-6)
    alternating = GgufMatrix(matrix.tensor, interleaved=4)
    ordered = wanted.reshape(2, 2, 2, -1).swapaxes(1, 2).reshape(8, -1)  # two heads of four rows
    np.testing.assert_allclose(alternating.rows(3, 4), ordered[3:7], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(permuted(ordered, 2), wanted)


@pytest.mark.parametrize(("kind", "bits"), [("Q8_0", 8), ("Q4_0", 4)])
def test_codes_of_two_forms_are_kept(checkpoint: Path, tmp_path: Path, kind: str, bits: int) -> None:
    path = write_gguf(tmp_path / "model.gguf", checkpoint, kind=KINDS[kind])
    found = opened(path, tmp_path / "directory")
    assert found.layout([Q, K]) == BlockLayout(bits, 32, False)
    for name in (Q, K, UP):
        (block_read,) = found.block_reads(name)
        blocks = block_read()
        values = blocks.codes.astype(np.float32).reshape(len(blocks.codes), -1, 32)
        numbers = (values - blocks.zero_points[..., None]) * blocks.scales[..., None]
        np.testing.assert_array_equal(numbers.reshape(len(values), -1), read(found, name))
    release = build_gguf(path, checkpoint, tmp_path / "release", f"int{bits}")
    assert release.provenance["quantized_checkpoint"] == {"forms": [kind], "kept": 14, "converted": 0}


def test_codes_of_other_forms_are_converted(checkpoint: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", checkpoint, kind=KINDS.Q4_1)
    release = build_gguf(path, checkpoint, tmp_path / "release", "int4")
    assert release.provenance["quantized_checkpoint"] == {"forms": ["Q4_1"], "kept": 0, "converted": 14}


def test_command_builds_a_file_with_its_own_tokenizer_and_verifies_it(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_gguf(tmp_path / "small.gguf", checkpoint, kind=KINDS.Q8_0)
    out, translation = tmp_path / "release", checkpoint / "translation.json"
    command = [
        "build",
        str(path),
        "-o",
        str(out),
        "--precision",
        "int8-weights",
        "--translation",
        str(translation),
    ]
    assert run_app(app, command, prog="release") == 0
    assert "quantized matrices of the checkpoint (Q8_0): all 14 keep their codes" in capsys.readouterr().out
    release = load_release(out)
    assert (release.name, release.provenance["checkpoint"]) == ("small", "small.gguf")
    built = Tokenizer.from_file(str(out / "tokenizer" / "tokenizer.json"))
    given = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    for text in TEXTS:
        assert built.encode(text).ids == given.encode(text).ids
        assert built.decode(built.encode(text).ids) == given.decode(given.encode(text).ids)
    assert run_app(app, ["show", str(out)], prog="release") == 0
    assert "all 14 keep their codes" in " ".join(capsys.readouterr().out.split())


def test_a_tokenizer_that_is_given_is_taken_and_one_of_another_model_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "small.gguf", checkpoint)
    (checkpoint / "tokenizer_config.json").write_text('{"model_max_length": 77}')
    for at, given in enumerate((checkpoint, checkpoint / "tokenizer.json")):
        build_gguf(path, checkpoint, tmp_path / f"release-{at}", tokenizer=given)
        tokenizer = tmp_path / f"release-{at}" / "tokenizer"
        assert (tokenizer / "tokenizer.json").read_bytes() == (checkpoint / "tokenizer.json").read_bytes()
        assert json.loads((tokenizer / "tokenizer_config.json").read_text()) == {"model_max_length": 77}
    with pytest.raises(BrokenText, match=r"nowhere is missing: --tokenizer names a tokenizer\.json"):
        build_gguf(path, checkpoint, tmp_path / "release", tokenizer=tmp_path / "nowhere")
    text = (checkpoint / "tokenizer.json").read_text()
    (checkpoint / "tokenizer.json").write_text(text.replace("<|zh|>", "<|fr|>"))
    with pytest.raises(
        BrokenText, match=r"token 2 is '<\|fr\|>', and '<\|zh\|>' in .*: the tokenizer is another"
    ):
        build_gguf(path, checkpoint, tmp_path / "release", tokenizer=checkpoint)
    with pytest.raises(BrokenText, match="--tokenizer is for GGUF files"):
        build_gguf(checkpoint, checkpoint, tmp_path / "release", tokenizer=checkpoint)


def test_a_directory_with_one_file_is_read_with_what_lies_beside_it(checkpoint: Path, tmp_path: Path) -> None:
    write_gguf(checkpoint / "model-Q8_0.gguf", checkpoint, kind=KINDS.Q8_0)
    plain = build_release(
        BuildRequest(checkpoint, tmp_path / "plain"), built_at=NOW, reporter=SilentReporter()
    )
    (checkpoint / WEIGHTS).unlink()
    found = build_release(
        BuildRequest(checkpoint, tmp_path / "release"), built_at=NOW, reporter=SilentReporter()
    )
    assert found.files["tokenizer/tokenizer.json"] == plain.files["tokenizer/tokenizer.json"]
    assert found.files["translation.json"] == plain.files["translation.json"]
    assert found.files["decoder.onnx"] == plain.files["decoder.onnx"]
    assert found.files["weights.bin"] != plain.files["weights.bin"]


def test_the_template_is_written_from_the_chat_template_in_the_file(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = "{{ bos_token }}{% for m in messages %}<|en|>{{ m.content }}{% endfor %}<|zh|>"
    more = {
        "tokenizer.chat_template": chat,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }
    path = write_gguf(tmp_path / "small.gguf", checkpoint, more=more)
    command = ["template", str(path), "--languages", "en,fr", "--prompt", "Say {text}"]
    assert run_app(app, command, prog="release") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["template"] == "<|pad|><|en|>Say {text}<|zh|>"
    assert document["stop_tokens"] == ["<|end|>"]


def test_llama_3s_scaling_is_found_in_its_divisors(checkpoint: Path, tmp_path: Path) -> None:
    frequencies = 1 / 500_000.0 ** (np.arange(0, 32, 2) / 32)
    wavelengths = 2 * np.pi / frequencies
    smooth = (8192 / wavelengths - 1) / 3
    divisors = np.where(
        wavelengths > 8192, 8, np.where(wavelengths < 2048, 1, 1 / ((1 - smooth) / 8 + smooth))
    )
    more = {"llama.rope.freq_base": 500_000.0}
    for name, values in (("good", divisors), ("other", divisors * np.linspace(1, 1.1, 16))):
        path = tmp_path / f"{name}.gguf"
        write_gguf(path, checkpoint, tensors={"rope_freqs.weight": values.astype(np.float32)}, more=more)
    scaling = gguf_config(read_gguf(tmp_path / "good.gguf"))["rope_scaling"]
    assert scaling == {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    with pytest.raises(UnsupportedModel, match=r"rope_freqs\.weight is not the scaling llama3"):
        gguf_config(read_gguf(tmp_path / "other.gguf"))


PIECES = [
    ("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3),
    *((f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)),
    ("▁a", -1.0, 1), ("▁b", -2.0, 1), ("ab", -3.0, 1), ("▁ab", -0.5, 1), ("▁▁", -4.0, 4),
    ("▁", -10.0, 1), ("a", -11.0, 1), ("b", -12.0, 1), ("c", -13.0, 1),
]  # fmt: skip


def test_sentence_pieces_are_merged_by_their_scores(checkpoint: Path, tmp_path: Path) -> None:
    vocabulary = piece_vocabulary(PIECES, bos_token_id=1, eos_token_id=2, add_space_prefix=True)
    file = read_gguf(write_gguf(tmp_path / "spm.gguf", checkpoint, vocabulary=vocabulary))
    tokenizer = tokenizer_of_gguf(file)
    assert tokenizer.encode("ab c").tokens == ["<s>", "▁ab", "▁", "c"]
    assert tokenizer.encode("é").tokens == ["<s>", "▁", "<0xC3>", "<0xA9>"]
    assert tokenizer.encode("a</s>").tokens == ["<s>", "▁a", "</s>"]
    for text in ("ab c\nü", "订单 👍🏽"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    vocabulary["tokenizer.ggml.add_space_prefix"] = False
    vocabulary["tokenizer.ggml.add_bos_token"] = False
    file = read_gguf(write_gguf(tmp_path / "gemma.gguf", checkpoint, vocabulary=vocabulary))
    assert tokenizer_of_gguf(file).encode("ab  c").tokens == ["ab", "▁▁", "c"]
    assert tokenizer_of_gguf(file).encode("a▁▁c").tokens == ["a", "▁▁", "c"]


def test_a_trained_models_tokenizer_is_that_of_sentencepiece(tmp_path: Path) -> None:
    given = write_model(tmp_path / "given", "llama")
    model = read_sentencepiece_model(given / "tokenizer.model")
    converted = tokenizer_of_sentencepiece(given)
    checkpoint = write_checkpoint(tmp_path / "checkpoint", tokenizer=converted)
    edit_json(checkpoint / "translation.json", template="<s>{source}{text}{target}", stop_tokens=["</s>"])
    languages = {tag: {"name": tag, "prompt": tag, "script": "Latn"} for tag in ("en", "zh")}
    edit_json(checkpoint / "translation.json", languages=languages)
    pieces = [(piece.text, piece.score, piece.kind) for piece in model.pieces]
    vocabulary = piece_vocabulary(pieces, bos_token_id=1, eos_token_id=2, add_space_prefix=True)
    path = write_gguf(tmp_path / "model.gguf", checkpoint, vocabulary=vocabulary)
    own = tokenizer_of_gguf(read_gguf(path))
    library: Any = SentencePieceProcessor(model_proto=model.content)
    for text in SENTENCE_TEXTS:
        assert own.encode(text, add_special_tokens=False).ids == library.encode(text)
    for at, named in enumerate((given, given / "tokenizer.model")):
        build_gguf(path, checkpoint, tmp_path / f"release-{at}", tokenizer=named)
        written = (tmp_path / f"release-{at}" / "tokenizer" / "tokenizer.json").read_text()
        assert json.loads(written) == json.loads(converted.to_str())
    other = write_model(tmp_path / "other", "llama, user-defined")
    with pytest.raises(BrokenText, match=r"token \d+ is '.*the tokenizer is another model's"):
        build_gguf(path, checkpoint, tmp_path / "release", tokenizer=other)


def text_parts(pre: str, text: str, checkpoint: Path, directory: Path) -> list[str]:
    file = read_gguf(write_gguf(directory / f"{pre}.gguf", checkpoint, more={"tokenizer.ggml.pre": pre}))
    tokenizer = tokenizer_of_gguf(file)
    parts = tokenizer.pre_tokenizer.pre_tokenize_str(text)
    return [text[first:last] for _, (first, last) in parts]


@pytest.mark.parametrize(
    ("pre", "parts"),
    [
        ("gpt-2", ["I", "'m", " at", " 2026", "!!", "\n", "\n", "x", "  ", " y"]),
        ("smollm", ["I", "'m", " at", " ", "2", "0", "2", "6", "!!", "\n", "\n", "x", "  ", " y"]),
        ("llama-bpe", ["I", "'m", " at", " ", "202", "6", "!!\n\n", "x", "  ", " y"]),
        ("qwen2", ["I", "'m", " at", " ", "2", "0", "2", "6", "!!\n\n", "x", "  ", " y"]),
        ("deepseek-v3", ["I", "'m", " at", " ", "202", "6", "!!\n\n", "x", "  ", " y"]),
    ],
)
def test_words_are_cut_as_the_name_of_the_rule_says(
    checkpoint: Path, tmp_path: Path, pre: str, parts: list[str]
) -> None:
    assert text_parts(pre, "I'm at 2026!!\n\nx   y", checkpoint, tmp_path) == parts


def change(name: str, value: object) -> dict[str, Any]:
    return {"more": {name: value}}


FAULTS: dict[str, tuple[dict[str, Any], type[BuildError], str]] = {
    "architecture": (
        change("general.architecture", "mamba"), UnsupportedModel,
        "general.architecture is 'mamba'; read from GGUF are llama, .*; take the checkpoint in safetensors",
    ),
    "experts": (change("llama.expert_count", 8), UnsupportedModel, "a mixture of experts"),
    "field": (change("llama.block_count", None), BrokenCheckpoint, r"its metadata has no llama\.block_count"),
    "heads by layer": (change("llama.attention.head_count", [3, 3]), UnsupportedModel, r"head_count is \[3, 3\]"),
    "scaling": (
        change("llama.rope.scaling.type", "yarn"), UnsupportedModel, "scaling.type is .yarn.; read from GGUF",
    ),
    "rotated in part": (change("llama.rope.dimension_count", 16), UnsupportedModel, "partial_rotary_factor is 0.5"),
    "parts": (change("split.count", 3), BrokenCheckpoint, "is one of 3 parts: join them with llama-gguf-split"),
    "tensor": ({"tensors": {"blk.0.odd.weight": np.zeros(3, np.float32)}}, BrokenCheckpoint, r"e\.g\. blk\.0\.odd"),
    "integers": (
        {"tensors": {"blk.0.odd.weight": np.zeros(3, np.int32)}}, UnsupportedModel,
        r"blk\.0\.odd\.weight is I32, which the package gguf does not turn into numbers",
    ),
    "no tokenizer": (change("tokenizer.ggml.model", None), BrokenText, "has no tokenizer: name .* with --tokenizer"),
    "kind of tokenizer": (change("tokenizer.ggml.model", "t5"), BrokenText, "tokenizer.ggml.model is 't5'"),
    "words": (change("tokenizer.ggml.pre", "poro"), BrokenText, "pre is 'poro', and how it cuts words is not known"),
    "tokens": (change("tokenizer.ggml.tokens", ["a", "a"]), BrokenText, "tokens of its tokenizer are missing or rep"),
    "merges": (
        change("tokenizer.ggml.merges", ["nope nothing"]), BrokenText, "its tokenizer cannot be made: .*--tokenizer",
    ),
    "scores": (change("tokenizer.ggml.model", "llama"), BrokenText, "tokens and 0 scores"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_named_and_leaves_nothing(checkpoint: Path, tmp_path: Path, fault: str) -> None:
    changes, error, message = FAULTS[fault]
    path = write_gguf(tmp_path / "model.gguf", checkpoint, **changes)
    with pytest.raises(error, match=message):
        build_gguf(path, checkpoint, tmp_path / "release")
    assert not (tmp_path / "release").exists()


def test_a_file_that_is_cut_or_none_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", checkpoint)
    whole = path.read_bytes()
    for size in (2, 20, 3000, len(whole) - 100):
        path.write_bytes(whole[:size])
        with pytest.raises(
            BrokenCheckpoint, match=r"model\.gguf (cannot be parsed as GGUF, or is cut|does not begin)"
        ):
            build_gguf(path, checkpoint, tmp_path / "release")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n")
    with pytest.raises(BrokenCheckpoint, match=r"model\.gguf is a Git LFS pointer"):
        build_gguf(path, checkpoint, tmp_path / "release")
    path.write_bytes(whole)
    found = opened(path, tmp_path / "directory")
    (tmp_path / "directory" / "model.gguf").write_bytes(whole[:3000])
    with pytest.raises(BrokenCheckpoint, match="is cut short, or was replaced"):
        read(found, UP)


def test_the_other_order_of_bytes_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", checkpoint, endian=gguf.GGUFEndian.BIG)
    with pytest.raises(UnsupportedModel, match="the other order of bytes: take one that is little-endian"):
        build_gguf(path, checkpoint, tmp_path / "release")


def test_without_a_translation_the_way_to_one_is_named(checkpoint: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", checkpoint)
    with pytest.raises(
        BrokenText, match=r"model\.gguf has no translation\.json: .*yiwen release template .*--recipe"
    ):
        build_release(BuildRequest(path, tmp_path / "out"), built_at=NOW, reporter=SilentReporter())


def test_a_tokenizer_that_changes_texts_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    given = byte_vocabulary(checkpoint)
    tokens = ["▁" if token == "Ġ" else token for token in given["tokenizer.ggml.tokens"]]
    path = write_gguf(tmp_path / "model.gguf", checkpoint, more={"tokenizer.ggml.tokens": tokens})
    with pytest.raises(BrokenText, match=r"model\.gguf: 'Où est .* comes back from the tokenizer as 'Oùest"):
        build_gguf(path, checkpoint, tmp_path / "release")
