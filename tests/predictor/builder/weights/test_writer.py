from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from predictor.builder.checkpoint.tensors import Checkpoint, open_checkpoint
from predictor.builder.errors import UnsupportedModel
from predictor.builder.progress import SilentReporter
from predictor.builder.weights.block_quantize import QuantFormat, quantize_rows
from predictor.builder.weights.file_layout import WeightFileLayout
from predictor.builder.weights.writer import JOURNAL_FILE, write_weights
from tests.predictor.builder.checkpoints import WEIGHTS, edit_tensors
from tests.releases import byte_tokenizer

VOCAB, HIDDEN = byte_tokenizer().get_vocab_size(), 96
NAMES = ("model.embed_tokens.weight", "model.norm.weight", "model.layers.0.mlp.down_proj.weight")
SHAPES = ((VOCAB, HIDDEN), (HIDDEN,), (HIDDEN, 2 * HIDDEN))


def planned(checkpoint: Checkpoint) -> WeightFileLayout:
    plan = WeightFileLayout(checkpoint)
    plan.dense("embedding", NAMES[:1], SHAPES[:1])
    plan.table("cos", np.linspace(0, 1, 6, dtype=np.float32).reshape(3, 2))
    plan.quantized("down", NAMES[2:], SHAPES[2:], QuantFormat(4, 32))
    plan.dense("norm", NAMES[1:2], SHAPES[1:2])
    plan.dense("embedding.half", NAMES[:1], SHAPES[:1], "float16")
    return plan


class Counting(SilentReporter):
    """Remembers which entries were written, and when not to go on."""

    def __init__(self, stop_at: str = "") -> None:
        self.items: list[str] = []
        self._stop_at = stop_at

    def advance(self, count: int, item: str = "") -> None:
        if count:
            self.items.append(item)
        if item and item == self._stop_at:
            raise KeyboardInterrupt


def test_file_holds_every_tensor_where_the_plan_says(checkpoint: Path, tmp_path: Path) -> None:
    source = open_checkpoint(checkpoint)
    plan, path = planned(source), tmp_path / "weights.bin"

    digest = write_weights(plan, source, path, SilentReporter())

    content = path.read_bytes()
    assert len(content) == plan.total_bytes
    assert hashlib.sha256(content).hexdigest() == digest
    down = np.concatenate(list(source.rows(NAMES[2])))
    codes, scales = quantize_rows(down, QuantFormat(4, 32))
    wanted = {
        "embedding": np.concatenate(list(source.rows(NAMES[0]))),
        "cos": np.linspace(0, 1, 6, dtype=np.float32),
        "down": codes,
        "down.scales": scales,
        "norm": np.concatenate(list(source.rows(NAMES[1]))),
        "embedding.half": np.concatenate(list(source.rows(NAMES[0]))).astype(np.float16),
    }
    stored = {tensor.name: tensor for entry in plan.entries for tensor in entry.tensors}
    assert set(stored) == set(wanted)
    for name, tensor in stored.items():
        assert content[tensor.offset : tensor.offset + tensor.nbytes] == wanted[name].tobytes()
    assert not (tmp_path / JOURNAL_FILE).exists()


def test_interrupted_file_is_finished_without_writing_again_what_was_done(
    checkpoint: Path, tmp_path: Path
) -> None:
    source = open_checkpoint(checkpoint)
    whole = write_weights(planned(source), source, tmp_path / "whole.bin", SilentReporter())
    path = tmp_path / "weights.bin"
    with pytest.raises(KeyboardInterrupt):
        write_weights(planned(source), source, path, Counting(stop_at="down"))
    resumed = Counting()
    assert write_weights(planned(source), source, path, resumed) == whole
    assert set(resumed.items) == {"", "down", "norm", "embedding.half"}
    assert path.read_bytes() == (tmp_path / "whole.bin").read_bytes()


@pytest.mark.parametrize("damage", ["bytes", "journal", "cut"])
def test_damaged_leftover_is_written_again(checkpoint: Path, tmp_path: Path, damage: str) -> None:
    source = open_checkpoint(checkpoint)
    whole = write_weights(planned(source), source, tmp_path / "whole.bin", SilentReporter())
    path, journal = tmp_path / "weights.bin", tmp_path / JOURNAL_FILE
    with pytest.raises(KeyboardInterrupt):
        write_weights(planned(source), source, path, Counting(stop_at="norm"))
    if damage == "bytes":
        with path.open("r+b") as file:
            file.seek(100)
            file.write(b"\xff\xff")
    elif damage == "journal":
        journal.write_bytes(b'{"end": 1}\n{"en')
    else:
        path.write_bytes(path.read_bytes()[:50])
    assert write_weights(planned(source), source, path, SilentReporter()) == whole
    assert path.read_bytes() == (tmp_path / "whole.bin").read_bytes()


def test_number_beyond_float16_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    values = load_file(checkpoint / WEIGHTS)[NAMES[0]]
    values[5, 7] = -65_505.0
    edit_tensors(checkpoint, {NAMES[0]: values})
    source = open_checkpoint(checkpoint)
    with pytest.raises(UnsupportedModel, match=r"embedding\.half holds 65505, .* --precision float32"):
        write_weights(planned(source), source, tmp_path / "weights.bin", SilentReporter())


def test_limit_on_the_size_of_files_is_an_error_of_the_system(checkpoint: Path, tmp_path: Path) -> None:
    program = f"""
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from predictor.builder.checkpoint.tensors import open_checkpoint
from predictor.builder.errors import UnsupportedModel
from predictor.builder.progress import SilentReporter
from predictor.builder.weights.writer import write_weights
from tests.predictor.builder.weights.test_writer import planned
source = open_checkpoint(Path({str(checkpoint)!r}))
try:
    write_weights(planned(source), source, Path({str(tmp_path / "weights.bin")!r}), SilentReporter())
except OSError as error:
    sys.exit(error.errno)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[4])
    assert done.returncode == errno.EFBIG
    assert os.path.getsize(tmp_path / "weights.bin") <= 20_000


def test_rows_of_two_sources_alternate(checkpoint: Path, tmp_path: Path) -> None:
    source = open_checkpoint(checkpoint)
    plan, path = WeightFileLayout(source), tmp_path / "weights.bin"
    names = [f"model.layers.0.mlp.{part}_proj.weight" for part in ("gate", "up")]
    shapes = [(2 * HIDDEN, HIDDEN)] * 2
    plan.dense("both", names, shapes, alternating=True)
    plan.quantized("codes", names, shapes, QuantFormat(8, 32), alternating=True)
    write_weights(plan, source, path, SilentReporter())
    gate, up = (np.concatenate(list(source.rows(name))) for name in names)
    rows = np.stack((gate, up), axis=1).reshape(-1, HIDDEN)
    codes, _ = quantize_rows(rows, QuantFormat(8, 32))
    (both, stored) = (entry.tensors[0] for entry in plan.entries)
    content = path.read_bytes()
    assert content[both.offset : both.offset + both.nbytes] == rows.tobytes()
    assert content[stored.offset : stored.offset + stored.nbytes] == codes.tobytes()
