from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from predictor.builder.checkpoint import tensors as module
from predictor.builder.checkpoint.tensors import open_checkpoint
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel
from tests.predictor.builder.checkpoints import WEIGHTS, edit_tensors, shard

EMBEDDING = "model.embed_tokens.weight"


def read(directory: Path, name: str) -> np.ndarray:
    return np.concatenate(list(open_checkpoint(directory).rows(name)))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16], ids=["f32", "f16", "bf16"])
def test_every_float_type_is_read_as_exactly_the_same_numbers(tmp_path: Path, dtype: np.dtype) -> None:
    values = np.random.default_rng(0).normal(0, 3, (7, 5)).astype(dtype)
    save_file({"x": values, "y": values[0]}, tmp_path / WEIGHTS)
    np.testing.assert_array_equal(read(tmp_path, "x"), values.astype(np.float32))
    np.testing.assert_array_equal(read(tmp_path, "y"), values[0].astype(np.float32))


def test_large_tensor_comes_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(60, dtype=np.float32).reshape(12, 5)
    save_file({"x": values}, tmp_path / WEIGHTS)
    monkeypatch.setattr(module, "READ_BYTES", 100)
    slices = list(open_checkpoint(tmp_path).rows("x"))
    assert [len(part) for part in slices] == [5, 5, 2]
    np.testing.assert_array_equal(np.concatenate(slices), values)


def test_sharded_checkpoint_reads_like_the_whole_one(checkpoint: Path) -> None:
    whole = load_file(checkpoint / WEIGHTS)
    shard(checkpoint)
    opened = open_checkpoint(checkpoint)
    assert set(opened.tensors) == set(whole)
    for name, values in whole.items():
        np.testing.assert_array_equal(np.concatenate(list(opened.rows(name))), values)


def test_digest_changes_with_any_byte(checkpoint: Path) -> None:
    before = open_checkpoint(checkpoint).digest(lambda count: None)
    assert open_checkpoint(checkpoint).digest(lambda count: None) == before
    with (checkpoint / WEIGHTS).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    assert open_checkpoint(checkpoint).digest(lambda count: None) != before


def test_missing_shard_is_named(checkpoint: Path) -> None:
    gone = shard(checkpoint)[1]
    gone.unlink()
    with pytest.raises(BrokenCheckpoint, match=f"{gone.name} is missing"):
        open_checkpoint(checkpoint)


def test_truncated_shard_is_named(checkpoint: Path) -> None:
    cut = shard(checkpoint)[2]
    whole = cut.stat().st_size
    cut.write_bytes(cut.read_bytes()[:-4])
    with pytest.raises(BrokenCheckpoint, match=rf"{cut.name} has {whole - 4} bytes.* calls for {whole}:"):
        open_checkpoint(checkpoint)


def test_index_that_names_a_tensor_its_shard_lacks_is_refused(checkpoint: Path) -> None:
    paths = shard(checkpoint)
    index = checkpoint / f"{WEIGHTS}.index.json"
    document = json.loads(index.read_text())
    document["weight_map"]["model.extra.weight"] = paths[0].name
    index.write_text(json.dumps(document))
    with pytest.raises(BrokenCheckpoint, match=r"model\.extra\.weight"):
        open_checkpoint(checkpoint)


def test_index_may_not_lead_out_of_the_checkpoint(checkpoint: Path) -> None:
    shard(checkpoint)
    (checkpoint / f"{WEIGHTS}.index.json").write_text(
        json.dumps({"weight_map": {"x": "../other.safetensors"}})
    )
    with pytest.raises(BrokenCheckpoint, match="outside"):
        open_checkpoint(checkpoint)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": {"x": 1}}'])
def test_broken_index_is_named(checkpoint: Path, content: str) -> None:
    (checkpoint / f"{WEIGHTS}.index.json").write_text(content)
    with pytest.raises(BrokenCheckpoint, match="index"):
        open_checkpoint(checkpoint)


@pytest.mark.parametrize("size", [0, 4, 8, 30])
def test_file_cut_in_its_header_is_refused(checkpoint: Path, size: int) -> None:
    path = checkpoint / WEIGHTS
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BrokenCheckpoint, match=WEIGHTS):
        open_checkpoint(checkpoint)


def test_file_that_shrinks_while_it_is_read_is_refused(checkpoint: Path) -> None:
    opened = open_checkpoint(checkpoint)
    (checkpoint / WEIGHTS).write_bytes(b"")
    with pytest.raises(BrokenCheckpoint, match="ends too early"):
        list(opened.rows(EMBEDDING))


def test_checkpoint_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(BrokenCheckpoint, match="safetensors"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(checkpoint: Path, value: float) -> None:
    edit_tensors(checkpoint, {"model.norm.weight": np.full(96, value, np.float32)})
    with pytest.raises(BrokenCheckpoint, match=r"model\.norm\.weight holds NaN"):
        list(open_checkpoint(checkpoint).rows("model.norm.weight"))


def test_unknown_dtype_is_refused_by_name(checkpoint: Path) -> None:
    edit_tensors(checkpoint, {"model.norm.weight": np.zeros(96, np.int8)})
    with pytest.raises(UnsupportedModel, match="I8"):
        open_checkpoint(checkpoint).entry("model.norm.weight", (96,))
