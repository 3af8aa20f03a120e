from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from predictor.builder.errors import (
    BrokenCheckpoint,
    BrokenText,
    BuildError,
    TargetUnusable,
    UnsupportedModel,
)
from protocol.integrity import file_digest
from protocol.release import load_release
from tests.predictor.builder.checkpoints import (
    WEIGHTS,
    big_checkpoint,
    build,
    edit_json,
    edit_tensors,
    shard,
)
from tests.releases import TRANSLATION, byte_tokenizer

ROOT = Path(__file__).parents[4]
EMBEDDING = "model.embed_tokens.weight"
VOCAB = byte_tokenizer().get_vocab_size()


def test_release_says_what_it_is(checkpoint: Path, tmp_path: Path) -> None:
    built = build(checkpoint, tmp_path / "release")
    loaded = load_release(tmp_path / "release")
    assert loaded == built
    assert (loaded.family, loaded.precision, loaded.name) == ("LlamaForCausalLM", "float32", "checkpoint")
    assert loaded.languages == ("en", "zh")
    assert (loaded.limits.max_sequence_tokens, loaded.limits.candidates) == (256, 32)
    assert (loaded.decoder.hidden, loaded.decoder.kv_heads, loaded.decoder.head_dim) == (96, 1, 32)
    assert loaded.provenance["checkpoint"] == "checkpoint"
    assert len(loaded.provenance["checkpoint_sha256"]) == 64


def test_every_file_has_its_digest(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    release = build(checkpoint, out)
    present = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert present - {"release.json"} == set(release.files)
    assert set(release.files) == {
        "decoder.onnx", "weights.bin", "translation.json", "tokenizer/tokenizer.json",
        "segments/qkv.onnx", "segments/attention_output.onnx", "segments/gate_up.onnx", "segments/down.onnx",
        "segments/vocabulary.onnx", "segments/segments.json",
    }  # fmt: skip
    assert all(file_digest(out / name) == digest for name, digest in release.files.items())


def test_same_input_gives_the_same_release(checkpoint: Path, tmp_path: Path) -> None:
    first, second = build(checkpoint, tmp_path / "first"), build(checkpoint, tmp_path / "second")
    assert first == second
    for name in first.files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.mark.parametrize("changed", ["weights", "translation", "glossary", "tokenizer", "precision", "rope"])
def test_whatever_changes_the_output_changes_the_id(checkpoint: Path, tmp_path: Path, changed: str) -> None:
    before = build(checkpoint, tmp_path / "before")
    if changed == "weights":
        edit_tensors(checkpoint, {"model.norm.weight": np.ones(96, np.float32)})
    elif changed == "translation":
        edit_json(checkpoint / "translation.json", template="{source}{text} {target}")
    elif changed == "glossary":
        (checkpoint / "glossary.json").write_text('{"schema": 1, "keep": ["Acme"]}')
    elif changed == "tokenizer":
        (checkpoint / "tokenizer_config.json").write_text("{}")
    elif changed == "rope":
        edit_json(checkpoint / "config.json", rope_theta=20_000.0)
    after = build(checkpoint, tmp_path / "after", "int8" if changed == "precision" else "float32")
    assert after.id != before.id


def test_tied_embedding_is_stored_once_in_every_precision(checkpoint: Path, tmp_path: Path) -> None:
    values = sum(tensor.size for tensor in load_file(checkpoint / WEIGHTS).values())
    for precision, bits in (("float32", 32), ("float16", 16), ("int8", 9.5), ("int4", 10)):
        build(checkpoint, tmp_path / precision, precision)
        size = (tmp_path / precision / "weights.bin").stat().st_size
        tables = 2 * 256 * 16 * 4
        padding = 40 * 4096
        assert size <= values * bits / 8 + tables + padding


def test_longest_sequence_is_the_models_up_to_a_default(checkpoint: Path, tmp_path: Path) -> None:
    edit_json(checkpoint / "config.json", max_position_embeddings=100_000)
    assert build(checkpoint, tmp_path / "release").limits.max_sequence_tokens == 4096


def test_translation_that_needs_more_raises_the_default(checkpoint: Path, tmp_path: Path) -> None:
    edit_json(checkpoint / "config.json", max_position_embeddings=100_000)
    limits = {**TRANSLATION["limits"], "max_source_tokens": 5000}
    edit_json(checkpoint / "translation.json", limits=limits)
    assert build(checkpoint, tmp_path / "release").limits.max_sequence_tokens == 5000 + 96 + 2


Break = Callable[[Path], object]


def without(*names: str) -> Break:
    return lambda checkpoint: edit_tensors(checkpoint, dict.fromkeys(names))


def with_tensor(name: str, values: np.ndarray) -> Break:
    return lambda checkpoint: edit_tensors(checkpoint, {name: values})


def with_config(**fields: object) -> Break:
    return lambda checkpoint: edit_json(checkpoint / "config.json", **fields)


def cut_shard(checkpoint: Path) -> None:
    path = shard(checkpoint)[0]
    path.write_bytes(path.read_bytes()[:-1])


FAULTS: dict[str, tuple[Break, type[BuildError], str]] = {
    "architecture": (with_config(architectures=["GemmaForCausalLM"]), UnsupportedModel, "GemmaForCausalLM"),
    "missing shard": (lambda checkpoint: shard(checkpoint)[0].unlink(), BrokenCheckpoint, "missing"),
    "cut shard": (cut_shard, BrokenCheckpoint, "calls for"),
    "missing tensor": (without("model.norm.weight"), BrokenCheckpoint, "model.norm.weight"),
    "wrong shape": (with_tensor(EMBEDDING, np.zeros((9, 96), np.float32)), BrokenCheckpoint, "shape"),
    "wrong dtype": (with_tensor("model.norm.weight", np.zeros(96, np.int32)), UnsupportedModel, "I32"),
    "no number": (with_tensor("model.norm.weight", np.full(96, np.nan, np.float32)), BrokenCheckpoint, "NaN"),
    "extra tensor": (
        with_tensor("model.layers.0.self_attn.q_proj.bias", np.zeros(96, np.float32)),
        BrokenCheckpoint,
        "q_proj.bias",
    ),
    "untied without a matrix": (with_config(tie_word_embeddings=False), BrokenCheckpoint, "lm_head.weight"),
    "tied with another matrix": (
        with_tensor("lm_head.weight", np.zeros((VOCAB, 96), np.float32)),
        BrokenCheckpoint,
        "tie_word_embeddings",
    ),
    "no tokenizer": (
        lambda checkpoint: (checkpoint / "tokenizer.json").unlink(),
        BrokenText,
        "tokenizer.json",
    ),
    "no translation": (
        lambda checkpoint: (checkpoint / "translation.json").unlink(),
        BrokenText,
        "--translation",
    ),
    "too short a model": (with_config(max_position_embeddings=100), BrokenText, "max_source_tokens"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_named_in_one_line_and_leaves_nothing(checkpoint: Path, tmp_path: Path, fault: str) -> None:
    break_it, error, named = FAULTS[fault]
    break_it(checkpoint)
    target = tmp_path / "releases" / "one"
    with pytest.raises(error) as raised:
        build(checkpoint, target)
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not target.parent.exists() or not list(target.parent.iterdir())


def test_tied_checkpoint_may_repeat_the_same_matrix(checkpoint: Path, tmp_path: Path) -> None:
    plain = build(checkpoint, tmp_path / "plain")
    embedding = load_file(checkpoint / WEIGHTS)[EMBEDDING]
    edit_tensors(checkpoint, {"lm_head.weight": embedding})
    assert build(checkpoint, tmp_path / "repeated").id == plain.id


def test_existing_target_is_refused_before_any_work(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    (checkpoint / "config.json").unlink()
    with pytest.raises(TargetUnusable, match="exists"):
        build(checkpoint, tmp_path / "release")


def run_python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)


KILLED_BUILD = """
import os, signal, sys
from pathlib import Path
from predictor.builder.release.build import BuildRequest, build_release
from predictor.builder.progress import SilentReporter
from tests.predictor.builder.checkpoints import NOW

class Killing(SilentReporter):
    def advance(self, count, item=""):
        if item == "layers.1.mlp.gate_up":
            os.kill(os.getpid(), signal.SIGKILL)

build_release(BuildRequest(Path(sys.argv[1]), Path(sys.argv[2])), built_at=NOW, reporter=Killing())
"""


def test_build_killed_in_mid_write_leaves_no_release_and_is_resumed(checkpoint: Path, tmp_path: Path) -> None:
    whole = build(checkpoint, tmp_path / "whole")
    target = tmp_path / "releases" / "one"

    killed = run_python(KILLED_BUILD, checkpoint, target)

    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    (leftover,) = target.parent.iterdir()
    written = (leftover / "weights.bin").stat()
    assert 0 < written.st_size < (tmp_path / "whole" / "weights.bin").stat().st_size
    assert build(checkpoint, target) == whole
    assert (target / "weights.bin").stat().st_ino == written.st_ino, "the entries were not used again"
    assert (target / "weights.bin").read_bytes() == (tmp_path / "whole" / "weights.bin").read_bytes()
    assert list(target.parent.iterdir()) == [target]


LIMITED_BUILD = """
import resource, sys
from cli.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.exit(main(["release", "build", sys.argv[1], "--output", sys.argv[2]]))
"""


@pytest.mark.untraced
def test_file_that_may_not_grow_ends_the_command_with_one_line(checkpoint: Path, tmp_path: Path) -> None:
    done = run_python(LIMITED_BUILD, checkpoint, tmp_path / "releases" / "one")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("yiwen release build: ")
    assert " needs " in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "releases").iterdir()) == []


MEASURED_BUILD = """
import sys
from pathlib import Path
from tests.predictor.builder.checkpoints import build
build(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) * 1024)
"""


@pytest.mark.parametrize("precision", ["float32", "float16", "int4"])
@pytest.mark.untraced
def test_memory_stays_far_below_the_checkpoint(tmp_path: Path, precision: str) -> None:
    checkpoint = big_checkpoint(tmp_path / "big", vocab=15_360, hidden=1024, inner=4096, layers=4)
    size = os.path.getsize(checkpoint / WEIGHTS)
    assert size > 320e6  # its embedding alone is 63 MB
    measured = run_python(MEASURED_BUILD, checkpoint, tmp_path / "release", precision)
    assert measured.returncode == 0, measured.stderr
    assert int(measured.stdout) < 290e6  # of which half is the interpreter with its libraries
