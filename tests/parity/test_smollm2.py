"""A published checkpoint: its prompts and its answers are those of transformers.

Runs with YIWEN_TEST_NETWORK=1 alone: it downloads 93 MB.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import transformers

from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from predictor.builder.release.chat_template import DEFAULT_PROMPT, translation_from_chat_template
from predictor.builder.release.recipes import load_recipe
from predictor.builder.verify.compare import PromptChoice, choose_prompts, compare
from protocol.files import write_atomically
from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.template_sections import shown
from tests.parity.smollm2 import write_smollm2
from tests.parity.test_families import NOW

SENTENCES = [
    f"{subject} {verb} {rest}"
    for subject, verb, rest in product(
        ("The battery", "My order", "This shirt, size M,", "The 12 W lamp", "Nobody in the shop"),
        ("was not", "will never be", "can be"),
        ("delivered on Monday.", "repaired for $ 20!", "found in the box…", '"as new".'),
    )
][:50]
COMPARED = 10
"""Sentences that are generated for as well."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_smollm2(tmp_path_factory.mktemp("smollm2") / "checkpoint")


@pytest.fixture(scope="module")
def release(checkpoint: Path) -> Path:
    path = checkpoint.with_name("translation.json")
    write_atomically(path, json.dumps(load_recipe("smollm2").translation()))
    out = checkpoint.with_name("release")
    build_release(BuildRequest(checkpoint, out, translation=path), built_at=NOW, reporter=SilentReporter())
    return out


def test_the_recipe_is_the_checkpoints_chat_template(checkpoint: Path) -> None:
    recipe = load_recipe("smollm2").translation()
    written = translation_from_chat_template(checkpoint, list(recipe["languages"]), DEFAULT_PROMPT)
    for field in ("template", "languages", "pairs", "stop_tokens"):
        assert written[field] == recipe[field]


def test_prompts_have_the_ids_of_transformers(checkpoint: Path, release: Path) -> None:
    library: Any = transformers
    tokenizer = library.PreTrainedTokenizerFast(tokenizer_file=str(checkpoint / "tokenizer.json"))
    tokenizer.chat_template = (checkpoint / "chat_template.jinja").read_text()
    encoder = PromptEncoder.load(release)
    prompts = encoder.encode([PromptText(text, "en", "fr") for text in SENTENCES])
    for text, prompt in zip(SENTENCES, prompts, strict=True):
        message = (
            shown(DEFAULT_PROMPT, ()).replace("{source_name}", "English").replace("{target_name}", "French")
        )
        messages = [{"role": "user", "content": message.replace("{text}", text)}]
        wanted = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert list(prompt.token_ids) == wanted


@pytest.mark.timeout(900)
def test_answers_are_those_of_transformers(checkpoint: Path, release: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(SENTENCES[:COMPARED]))
    prompts = choose_prompts(release, PromptChoice(count=2, longest=40, seed=0, texts=texts))
    report = compare(release, checkpoint, prompts, tokens=16, measured_at=NOW, reporter=SilentReporter())
    assert report.passed
    assert report.equal_tokens == report.tokens == (COMPARED + 2) * 16
