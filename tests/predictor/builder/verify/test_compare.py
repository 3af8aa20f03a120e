from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from predictor.builder.errors import VerifyFailed
from predictor.builder.progress import SilentReporter
from predictor.builder.verify.compare import PromptChoice, ReleaseGenerator, choose_prompts, compare
from tests.predictor.builder.checkpoints import NOW, build, edit_tensors
from tests.releases import SPECIAL_TOKENS


@pytest.fixture
def release(checkpoint: Path, tmp_path: Path) -> Path:
    build(checkpoint, tmp_path / "release")
    return tmp_path / "release"


def prompt(length: int = 3) -> list[np.ndarray]:
    return [np.arange(length)]


def compared(release: Path, checkpoint: Path, prompts: list[np.ndarray], tokens: int = 2) -> None:
    compare(release, checkpoint, prompts, tokens=tokens, measured_at=NOW, reporter=SilentReporter())


def test_random_prompts_are_the_same_for_the_same_seed(release: Path) -> None:
    first, again = (choose_prompts(release, PromptChoice(5, 9, seed=1)) for _ in range(2))
    other = choose_prompts(release, PromptChoice(5, 9, seed=2))
    assert [row.tolist() for row in first] == [row.tolist() for row in again]
    assert [row.tolist() for row in first] != [row.tolist() for row in other]
    assert all(1 <= len(row) <= 9 for row in first)


def test_texts_become_prompts_by_the_template(release: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("ab\n\n译\n", encoding="utf-8")
    texts = choose_prompts(release, PromptChoice(1, 4, seed=0, texts=tmp_path / "texts.txt"))[1:]
    assert [len(row) for row in texts] == [2 + 2, 2 + 3]
    english, chinese = (SPECIAL_TOKENS.index(token) for token in ("<|en|>", "<|zh|>"))
    assert all((row[0], row[-1]) == (english, chinese) for row in texts)


@pytest.mark.parametrize("content", [None, b"\n \n", b"\xff\xfe\xff"])
def test_texts_that_cannot_be_read_are_refused(release: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "texts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VerifyFailed, match=r"texts\.txt"):
        choose_prompts(release, PromptChoice(1, 4, seed=0, texts=path))


def test_release_of_another_checkpoint_is_refused(release: Path, checkpoint: Path) -> None:
    edit_tensors(checkpoint, {"model.norm.weight": np.ones(96, np.float32)})
    with pytest.raises(VerifyFailed, match="was not built from"):
        compared(release, checkpoint, prompt())


def test_prompt_that_does_not_fit_is_refused(release: Path, checkpoint: Path) -> None:
    with pytest.raises(VerifyFailed, match="takes 256"):
        compared(release, checkpoint, prompt(255))


def test_missing_library_says_what_to_install(
    release: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(VerifyFailed, match=r"torch is not installed: pip install '\.\[dev\]'"):
        compared(release, checkpoint, prompt())


def test_step_session_needs_onnx_runtime(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "predictor.runners.onnx_runtime", raising=False)
    with pytest.raises(VerifyFailed, match=r"onnxruntime is not installed: pip install '\.\[cpu\]'"):
        ReleaseGenerator(release)
