from __future__ import annotations

from pathlib import Path

from safetensors.numpy import load_file

from predictor.builder.checkpoint.tensors import open_checkpoint
from tests.predictor.builder.checkpoints import WEIGHTS


def test_a_small_real_file_is_no_pointer(checkpoint: Path) -> None:
    assert set(open_checkpoint(checkpoint).tensors) == set(load_file(checkpoint / WEIGHTS))
