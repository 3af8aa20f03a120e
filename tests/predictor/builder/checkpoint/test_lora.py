"""A LoRA adapter is merged as peft merges it: W + alpha / r * B A, in float32."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from predictor.builder.checkpoint.lora import merge_adapter
from predictor.builder.checkpoint.tensors import Checkpoint, open_checkpoint
from predictor.builder.commands import app
from predictor.builder.errors import BuildError
from protocol.command_line import run_app
from protocol.release import load_release
from tests.predictor.builder.checkpoints import WEIGHTS, build, edit_json

Q, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"
RANK, ALPHA = 4, 6


def write_adapter(checkpoint: Path, directory: Path, *modules: str, **config: Any) -> Path:
    """Random factors for ``modules`` of a checkpoint, with the names that peft saves them under."""
    directory.mkdir(exist_ok=True)
    rng = np.random.default_rng(3)
    base = load_file(checkpoint / WEIGHTS)
    tensors = {}
    for module in modules:
        rows, columns = base[f"{module}.weight"].shape
        name = f"base_model.model.{module}"
        rank = config.get("rank_pattern", {}).get(module.rpartition(".")[2], RANK)
        tensors[f"{name}.lora_A.weight"] = rng.normal(0, 0.3, (rank, columns)).astype(np.float32)
        tensors[f"{name}.lora_B.weight"] = rng.normal(0, 0.3, (rows, rank)).astype(np.float32)
    save_file(tensors, directory / "adapter_model.safetensors")
    document = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": ALPHA,
        "bias": "none",
        "use_dora": False,
        **config,
    }
    (directory / "adapter_config.json").write_text(json.dumps(document))
    return directory


def change_tensors(adapter: Path, changes: Mapping[str, np.ndarray | None]) -> None:
    path = adapter / "adapter_model.safetensors"
    tensors = {**load_file(path), **changes}
    save_file({name: values for name, values in tensors.items() if values is not None}, path)


def read(checkpoint: Checkpoint, name: str) -> np.ndarray:
    return np.concatenate(list(checkpoint.rows(name)))


def factors(adapter: Path, module: str) -> tuple[np.ndarray, np.ndarray]:
    tensors = load_file(adapter / "adapter_model.safetensors")
    name = f"base_model.model.{module}"
    return tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"]


@pytest.mark.parametrize(
    ("config", "scales"),
    [
        ({}, (ALPHA / RANK, ALPHA / RANK)),
        ({"use_rslora": True}, (ALPHA / 2, ALPHA / 2)),
        ({"rank_pattern": {"down_proj": 9}}, (ALPHA / RANK, ALPHA / 9)),
        ({"alpha_pattern": {"layers.0.self_attn.q_proj": 8, "proj": 1}}, (2.0, ALPHA / RANK)),
    ],
)
def test_matrices_are_read_with_the_adapter_merged(
    checkpoint: Path, tmp_path: Path, config: dict[str, Any], scales: tuple[float, float]
) -> None:
    adapter = write_adapter(checkpoint, tmp_path / "adapter", Q, DOWN, **config)
    base = load_file(checkpoint / WEIGHTS)
    merged = merge_adapter(open_checkpoint(checkpoint), adapter)
    for module, scale in zip((Q, DOWN), scales, strict=True):
        a, b = factors(adapter, module)
        expected = base[f"{module}.weight"] + (b @ a) * np.float32(scale)
        np.testing.assert_array_equal(read(merged, f"{module}.weight"), expected)
    other = f"{Q.replace('q_proj', 'k_proj')}.weight"
    np.testing.assert_array_equal(read(merged, other), base[other])


def test_a_release_with_an_adapter_is_that_of_the_merged_checkpoint(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = write_adapter(checkpoint, tmp_path / "adapter", Q, DOWN)
    merged = shutil.copytree(checkpoint, tmp_path / "merged")
    opened = merge_adapter(open_checkpoint(checkpoint), adapter)
    weights = {name: read(opened, name) for name in opened.tensors}
    save_file(weights, merged / WEIGHTS)
    expected = build(merged, tmp_path / "expected")
    plain = build(checkpoint, tmp_path / "plain")
    command = ["build", str(checkpoint), "-o", str(tmp_path / "out"), "--adapter", str(adapter)]
    assert run_app(app, command, prog="release") == 0
    found = load_release(tmp_path / "out")
    assert found.files["weights.bin"] == expected.files["weights.bin"] != plain.files["weights.bin"]
    assert found.id == expected.id
    assert found.provenance["adapter"] == "adapter"
    assert found.provenance["checkpoint_sha256"] != plain.provenance["checkpoint_sha256"]


def test_a_release_with_an_adapter_is_not_compared_with_its_base_alone(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = write_adapter(checkpoint, tmp_path / "adapter", Q, DOWN)
    command = ["build", str(checkpoint), "-o", str(tmp_path / "out"), "--adapter", str(adapter)]
    assert run_app(app, command, prog="release") == 0
    verify = [
        "verify",
        str(tmp_path / "out"),
        "--checkpoint",
        str(checkpoint),
        "--prompts",
        "2",
        "--tokens",
        "8",
    ]
    assert run_app(app, verify, prog="release") == 2
    assert "was built with the adapter adapter: name it with --adapter" in capsys.readouterr().err


def test_an_adapter_may_lie_beside_its_base_and_be_in_bfloat16(checkpoint: Path, tmp_path: Path) -> None:
    write_adapter(checkpoint, checkpoint, Q)
    path = checkpoint / "adapter_model.safetensors"
    save_file({name: each.astype(ml_dtypes.bfloat16) for name, each in load_file(path).items()}, path)
    command = ["build", str(checkpoint), "-o", str(tmp_path / "out"), "--adapter", str(checkpoint)]
    assert run_app(app, command, prog="release") == 0


def no_weights(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")


def cut(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pointer(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid x\n"
    )


def one_factor(adapter: Path) -> None:
    change_tensors(adapter, {f"base_model.model.{Q}.lora_A.weight": None})


def foreign(adapter: Path) -> None:
    name = f"base_model.model.{Q}"
    change_tensors(adapter, {f"{name}.lora_A.weight": np.zeros((RANK, 7), np.float32)})


def embedding(adapter: Path) -> None:
    change_tensors(
        adapter, {"base_model.model.model.embed_tokens.lora_embedding_A": np.zeros((4, 4), np.float32)}
    )


def infinite(adapter: Path) -> None:
    change_tensors(adapter, {f"base_model.model.{Q}.lora_A.weight": np.full((RANK, 96), np.inf, np.float32)})


REFUSED: dict[str, tuple[Any, str]] = {
    "no config": (
        lambda adapter: (adapter / "adapter_config.json").unlink(),
        "adapter_config.json is missing",
    ),
    "pickle": (no_weights, r"is missing, but adapter_model.bin: reading it can run code"),
    "cut": (cut, r"adapter_model.safetensors (has|is no)"),
    "pointer": (pointer, "is a Git LFS pointer"),
    "one factor": (one_factor, r"q_proj has one of lora_A and lora_B alone"),
    "another base": (
        foreign,
        r"of another base: it changes .*q_proj.weight of shape \[96, 7\], and .* \[96, 96\]",
    ),
    "embedding": (embedding, "lora_embedding_A is no factor of a matrix"),
    "infinite": (infinite, "holds NaN or infinity"),
    "rank": ({"r": 5}, r"have ranks 4 and 4, but adapter_config.json says 5"),
    "type": ({"peft_type": "LOHA"}, "its peft_type must be LORA"),
    "dora": ({"use_dora": True}, "use_dora is True, which is not merged exactly"),
    "bias": ({"bias": "all"}, "bias is 'all', which is not merged exactly"),
    "modules": ({"modules_to_save": ["lm_head"]}, r"modules_to_save is \['lm_head'\], which is not merged"),
    "alpha": ({"lora_alpha": "16"}, "lora_alpha must be a positive number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_merged_exactly_is_refused(checkpoint: Path, tmp_path: Path, case: str) -> None:
    change, message = REFUSED[case]
    adapter = write_adapter(checkpoint, tmp_path / "adapter", Q)
    if isinstance(change, dict):
        edit_json(adapter / "adapter_config.json", **change)
    else:
        change(adapter)
    with pytest.raises(BuildError, match=message):
        merge_adapter(open_checkpoint(checkpoint), adapter)
