"""The demo model, step by step as on a GPU: the translations are still the right ones, to the letter."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from predictor.batch import Batch
from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from predictor.runners.base import execute
from predictor.runners.onnx_runtime import OnnxRuntimeRunner
from predictor.runners.reference import open_reference_runner
from protocol.release import TOKENIZER_DIR, TRANSLATION_FILE, load_release
from protocol.translation_spec import TranslationSpec, load_translation_spec
from tests.predictor.runners.steps import assert_close, run_behind, run_forced, script

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo_model"
TITLES = 10
"""Per direction."""
MOST_TOKENS = 64


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "release"
    request = BuildRequest(DEMO / "checkpoint", out, precision="float16")
    build_release(request, built_at=datetime(2026, 1, 1, tzinfo=timezone.utc), reporter=SilentReporter())
    return out


@pytest.fixture(scope="module")
def tokenizer(demo: Path) -> Tokenizer:
    return Tokenizer.from_file(str(demo / TOKENIZER_DIR / "tokenizer.json"))


def titles(spec: TranslationSpec, tokenizer: Tokenizer) -> list[tuple[tuple[int, ...], str]]:
    """Prompt and translation of titles from all over the held-out ones, in both directions."""
    lines = (DEMO / "heldout.tsv").read_text(encoding="utf-8").splitlines()[1:]
    pairs = [line.split("\t") for line in lines[:: len(lines) // TITLES][:TITLES]]
    asks = []
    for source, target in (("en", "zh"), ("zh", "en")):
        before, after = spec.template_parts(source, target)
        for english, chinese in pairs:
            text, wanted = (english, chinese) if source == "en" else (chinese, english)
            ids = tokenizer.encode(before + text + after, add_special_tokens=False).ids
            asks.append((tuple(ids), wanted))
    return asks


def test_titles_are_translated_exactly(demo: Path, tokenizer: Tokenizer) -> None:
    release = load_release(demo)
    asks = titles(load_translation_spec(demo / TRANSLATION_FILE), tokenizer)
    slots = np.arange(len(asks))
    # Passes are small enough that the prompts need several.
    runner = open_reference_runner(demo, release, slots=len(asks), threads=1, max_tokens=100, max_rows=16)
    lengths = np.array([len(prompt) for prompt, _ in asks])
    newest = execute(runner, Batch.of_prompts(slots.tolist(), [prompt for prompt, _ in asks])).candidate_ids
    tokens = [newest[:, 0]]
    while len(tokens) < MOST_TOKENS and not np.isin(tokens, release.stop_token_ids).any(axis=0).all():
        batch = Batch.of_tokens(slots, tokens[-1], lengths + len(tokens) - 1)
        tokens.append(execute(runner, batch).candidate_ids[:, 0].copy())
    for answer, (_, wanted) in zip(np.stack(tokens, axis=1).tolist(), asks, strict=True):
        stop = next(index for index, token in enumerate(answer) if token in release.stop_token_ids)
        assert tokenizer.decode(answer[:stop], skip_special_tokens=False) == wanted


def test_candidates_are_those_of_onnx_runtime(demo: Path, tokenizer: Tokenizer) -> None:
    release = load_release(demo)
    prompts = [prompt for prompt, _ in titles(load_translation_spec(demo / TRANSLATION_FILE), tokenizer)]
    batches = script(0, slots=6, steps=40, prompts=prompts)
    wanted = run_behind(OnnxRuntimeRunner(demo, release, slots=6, threads=1, spin=False), batches)
    runner = open_reference_runner(demo, release, slots=6, threads=1)
    assert_close(run_forced(runner, batches, wanted), wanted)
