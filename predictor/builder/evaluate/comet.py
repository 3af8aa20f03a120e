"""COMET scores by ``comet-score`` of the package unbabel-comet, which lives in an environment of its own.

It needs numpy 1, transformers 4 and protobuf 4, none of which can be installed beside Yiwen.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from predictor.builder.errors import EvaluationFailed

PROGRAM = "comet-score"
_ERROR_LINES = 3


@dataclass(frozen=True, slots=True)
class CometModel:
    """The model to score with, and how."""

    name: str
    """A name on the Hugging Face hub, or the path of a ``.ckpt``."""
    program: str = PROGRAM
    download: bool = False
    """Whether a model that is not cached may be fetched."""


def find_comet(model: CometModel) -> str:
    """The path of the program.

    Raises:
        EvaluationFailed: it is not installed.
    """
    found = shutil.which(model.program)
    if found is None:
        raise EvaluationFailed(
            f"{model.program} was not found. COMET needs older packages than Yiwen: install it in an environment of "
            "its own: python3 -m venv comet && comet/bin/pip install unbabel-comet, and name it with "
            "--comet-program comet/bin/comet-score"
        )
    return found


def comet_scores(
    model: CometModel, texts: Sequence[str], references: Sequence[str], answers: Sequence[Sequence[str]]
) -> list[list[float]]:
    """COMET of each answer, for each release.

    Args:
        model: to score with.
        texts: that were translated.
        references: one per text.
        answers: of each release, one per text.

    Raises:
        EvaluationFailed: the program is missing, fails, or writes something else than scores.
    """
    program = find_comet(model)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        columns = {"source": texts, "reference": references}
        columns |= {f"answers-{index}": each for index, each in enumerate(answers)}
        for name, lines in columns.items():
            content = "".join(" ".join(line.split()) + "\n" for line in lines)
            (folder / name).write_text(content, encoding="utf-8")
        names = [f"answers-{index}" for index in range(len(answers))]
        command = [program, "-s", "source", "-t", *names, "-r", "reference", "--model", _model_name(model)]
        command += ["--to_json", "scores.json", "--quiet", "--only_system"]
        offline = {} if model.download else {"HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            command, cwd=folder, env=os.environ | offline, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise EvaluationFailed(_failure(model, done.stderr))
        return _read_scores(folder / "scores.json", len(answers), len(texts))


def _read_scores(path: Path, releases: int, texts: int) -> list[list[float]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        scores = [[float(row["COMET"]) for row in rows] for rows in document.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationFailed(f"{PROGRAM} wrote no scores that can be read: {error!r}") from error
    if [len(each) for each in scores] != [texts] * releases:
        raise EvaluationFailed(f"{PROGRAM} scored other texts than it was given")
    return scores


def _model_name(model: CometModel) -> str:
    path = Path(model.name)
    return str(path.resolve()) if path.exists() else model.name


def _failure(model: CometModel, stderr: str) -> str:
    said = " ".join(stderr.strip().splitlines()[-_ERROR_LINES:])
    hint = "" if model.download else "; if the model is not on this machine, add --download"
    return f"{PROGRAM} failed with the model {model.name}: {said}{hint}"
