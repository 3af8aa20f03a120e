"""Checkpoints of the demo model whose token ids disagree, and titles with the translation that all of them give.

A text that one release's transformer tokenized and another release's predictor answered is noise, so that a mixed
text shows as a wrong translation.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import ml_dtypes  # noqa: F401 - numpy learns bfloat16
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

PROJECT = Path(__file__).resolve().parent.parent.parent
CHECKPOINT = PROJECT / "examples" / "demo_model" / "checkpoint"
SPECIAL_IDS = 4
EMBEDDING = "model.embed_tokens.weight"
NAME = re.compile(r"[A-Z][a-z]{3,}")
LONGEST = 10
"""Characters of a translation."""


def write_renumbered_checkpoint(directory: Path, shift: int, *, is_noise: bool = False) -> Path:
    """The demo checkpoint with the ids of all tokens but the special ones rotated; it translates as the demo does.

    Args:
        directory: to make.
        shift: added to each id; 0 is the demo itself.
        is_noise: whether the weights stay those of the demo, so that each translation is noise.
    """
    shutil.copytree(CHECKPOINT, directory)
    tokenizer = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    count = len(vocabulary) - SPECIAL_IDS
    renumbered = {
        token: i if i < SPECIAL_IDS else SPECIAL_IDS + (i - SPECIAL_IDS + shift) % count
        for token, i in vocabulary.items()
    }
    tokenizer["model"]["vocab"] = renumbered
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    with safe_open(directory / "model.safetensors", "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        metadata = file.metadata()
    rows = tensors[EMBEDDING]
    if not is_noise:
        rows[SPECIAL_IDS:] = np.roll(rows[SPECIAL_IDS:], shift, axis=0)
    save_file(tensors, directory / "model.safetensors", metadata)
    return directory


def titles(seed: object) -> Iterator[tuple[str, str]]:
    """Short shop titles that the demo model translates, without end, each once; English and Chinese.

    None has a made-up name, which the model misspells once in some thousand titles. Short ones leave the cores of a
    small cluster to what is tested.
    """
    sys.path.insert(0, str(CHECKPOINT.parent))
    import grammar

    seen: set[str] = set()
    for english, chinese in grammar.training_pairs(Random(f"cluster-{seed}")):
        if len(chinese) <= LONGEST and english not in seen and not NAME.search(chinese):
            seen.add(english)
            yield english, chinese


def translations_of_the_model(texts: Sequence[str]) -> dict[str, str]:
    """What the demo model gives for texts when it is asked on this machine: once in ten thousand titles a wrong one.

    Args:
        texts: English titles.

    Raises:
        AssertionError: the release was not built, or not asked.
    """
    with tempfile.TemporaryDirectory() as folder:
        release, questions, answers = (str(Path(folder, name)) for name in ("demo", "titles.tsv", "answers"))
        lines = "".join(f"{text}\t-\n" for text in texts)
        Path(questions).write_text(f"en\tzh\n{lines}", encoding="utf-8")
        for words in (
            ("build", str(CHECKPOINT), "--output", release, "--name", "demo"),
            ("evaluate", release, "--set", questions, "--output", answers),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "cli", "release", *words], cwd=PROJECT, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        given = [json.loads(line) for line in Path(answers).read_text(encoding="utf-8").splitlines()]
    return {each["text"]: each["answers"][0] for each in given}
