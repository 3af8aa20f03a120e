"""Writes a ``translation.json`` from the chat template of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from predictor.builder.checkpoint.directory import check_directory
from predictor.builder.errors import BrokenText
from predictor.builder.release.checkpoint_source import checkpoint_directory
from predictor.builder.release.optional_json import read_optional_json
from predictor.builder.release.recipes import described_languages
from predictor.builder.release.template_checks import end_tokens, start_of_prompts
from predictor.builder.release.text_files import load_tokenizer
from protocol.release import TOKENIZER_FILE
from protocol.template_marks import TEXT
from protocol.translation_spec import translation_schema_of

DEFAULT_PROMPT = (
    "{#context}Context, which is not to be translated:\n{context}\n\n{/context}"
    "{#terms}Terms and their translations:\n{#term}{term} = {translation}\n{/term}\n{/terms}"
    "Translate the following text from {source_name} into {target_name}. "
    "{#formal}Use formal language. {/formal}{#informal}Use informal language. {/informal}"
    "Answer with the translation alone.\n\n{text}"
)
LIMITS = {
    "max_source_tokens": 512,
    "max_new_tokens": 1024,
    "new_tokens_per_source_token": 3.0,
    "extra_new_tokens": 32,
}


def translation_from_chat_template(checkpoint: Path, tags: Sequence[str], prompt: str) -> dict[str, Any]:
    """A ``translation.json`` for all pairs of some languages.

    Args:
        checkpoint: directory with the tokenizer's files and ``config.json``, or a GGUF file.
        tags: of the languages.
        prompt: the user's message, with marks.

    Raises:
        BrokenText: the checkpoint has no chat template or no end token, or the template cannot be rendered.
    """
    if len(set(tags)) < 2:
        raise BrokenText("--languages must name at least two languages, such as en,zh,fr")
    if prompt.count(TEXT) != 1:
        raise BrokenText(f"--prompt must hold {TEXT} exactly once")
    with checkpoint_directory(checkpoint) as directory:
        return _translation(directory, tags, prompt)


def _translation(checkpoint: Path, tags: Sequence[str], prompt: str) -> dict[str, Any]:
    """The document, from the directory of a checkpoint."""
    check_directory(checkpoint)
    tokenizer = load_tokenizer(checkpoint / TOKENIZER_FILE)
    start, stop = start_of_prompts(tokenizer), end_tokens(tokenizer, checkpoint)
    if not stop:
        raise BrokenText(f"{checkpoint}: neither config.json nor generation_config.json has an eos_token_id")
    template = _rendered(checkpoint, prompt)
    document = {
        "template": template if template.startswith(start) else start + template,
        "languages": described_languages(tuple(dict.fromkeys(tags))),
        "pairs": list(permutations(dict.fromkeys(tags), 2)),
        "stop_tokens": stop,
        "sentences": "long",
        "limits": LIMITS,
    }
    return {"schema": translation_schema_of(document), **document}


def _rendered(checkpoint: Path, prompt: str) -> str:
    """The chat template with one message of the user, up to where the answer begins."""
    settings = read_optional_json(checkpoint / "tokenizer_config.json")
    source = _chat_template(checkpoint, settings)
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = _refuse
    tokens = {
        name: token["content"] if isinstance(token, dict) else token
        for name, token in settings.items()
        if name.endswith("_token") and token is not None
    }
    try:
        rendered = environment.from_string(source).render(
            messages=[{"role": "user", "content": prompt}],
            add_generation_prompt=True,
            enable_thinking=False,
            **tokens,
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise BrokenText(
            f"{checkpoint}: the chat template cannot be rendered: {error}; write translation.json by hand"
        ) from error
    if rendered.count(prompt) != 1:
        raise BrokenText(
            f"{checkpoint}: the chat template changes the user's message; write translation.json by hand"
        )
    return rendered


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _chat_template(checkpoint: Path, settings: dict[str, Any]) -> str:
    path = checkpoint / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    found = settings.get("chat_template")
    if isinstance(found, list):
        found = next((each.get("template") for each in found if each.get("name") == "default"), None)
    if not isinstance(found, str):
        raise BrokenText(
            f"{checkpoint} has no chat template: take a recipe (--recipe), or write translation.json by hand"
        )
    return found
