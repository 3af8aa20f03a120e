"""The served prompt has the ids of the whole prompt as one string, on every kind of tokenizer."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.prompt_errors import UnencodableText
from protocol.translation_spec import TranslationSpec, load_translation_spec
from tests.protocol.tokenizer_kinds import CONTROL, END, KINDS, MARKUP, PROMPTS, TEXTS, WRAPPERS, templates
from tests.transformer.release import TRANSLATION

HOSTILE_TEXTS = 3_000


@cache
def trained(kind: str) -> Tokenizer:
    return KINDS[kind]()


def encoder(kind: str, template: str, directory: Path) -> PromptEncoder:
    trained(kind).save(str(directory / "tokenizer.json"))
    return PromptEncoder.load_file(directory / "tokenizer.json", spec(template, directory), 100_000)


def spec(template: str, directory: Path) -> TranslationSpec:
    path = directory / "translation.json"
    document: dict[str, Any] = json.loads(json.dumps(TRANSLATION))
    document |= {"template": template, "stop_tokens": [END]}
    document["limits"]["max_source_tokens"] = 90_000
    for tag, name in (("en", "English"), ("zh", "Chinese")):
        document["languages"][tag]["prompt"] = name
    path.write_text(json.dumps(document))
    return load_translation_spec(path)


def prompts(encoder: PromptEncoder, texts: list[str]) -> list[tuple[int, ...]]:
    return [
        each.token_ids for each in encoder.encode([PromptText(t, "en", "zh", i) for i, t in enumerate(texts)])
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_the_whole_prompt_as_one_string(kind: str, tmp_path: Path) -> None:
    tokenizer = trained(kind)
    compared = 0
    # Phi 3's control tokens take in white space: of a text of nothing else, no token is left.
    texts = [text for text in TEXTS if text.strip()] if kind == "phi3" else TEXTS
    for name, template in templates().items():
        served = prompts(encoder(kind, template, tmp_path), texts)
        for text, ids in zip(texts, served, strict=True):
            whole = tokenizer.encode(template.replace("{text}", text), add_special_tokens=False).ids
            assert list(ids) == whole, (name, text)
            compared += 1
    assert compared == len(PROMPTS) * len(WRAPPERS) * len(texts)


@pytest.mark.parametrize("kind", KINDS)
def test_no_hostile_text_yields_a_control_token(kind: str, tmp_path: Path) -> None:
    tokenizer = trained(kind)
    rng = random.Random(5)
    pieces = [
        *CONTROL,
        *MARKUP,
        "<|",
        "|>",
        "end",
        "<|en",
        "d|>",
        "<",
        ">",
        "|",
        "think",
        " ",
        "\n",
        "a",
        "<s",
        "\u2581",
    ]
    texts = ["".join(rng.choices(pieces, k=rng.randint(1, 8))) for _ in range(HOSTILE_TEXTS)]
    template = WRAPPERS["think"].replace("{prompt}", PROMPTS["lmt"])
    control = {tokenizer.token_to_id(token) for token in [*CONTROL, *MARKUP]}
    own = [id_ for id_ in tokenizer.encode(template, add_special_tokens=False).ids if id_ in control]
    for ids in prompts(encoder(kind, template, tmp_path), texts):
        assert [token_id for token_id in ids if token_id in control] == own


@pytest.mark.parametrize("kind", KINDS)
def test_texts_come_back(kind: str, tmp_path: Path) -> None:
    one = encoder(kind, "{text}", tmp_path)
    sentencepiece = kind not in ("gpt2", "qwen", "llama3")
    for text, ids in zip(TEXTS, prompts(one, TEXTS), strict=True):
        back = one.decode(ids)
        if kind == "qwen":
            assert back == trained(kind).normalizer.normalize_str(text)
        elif kind == "unigram" and text == "<0x0A>":  # which this model takes for the byte
            assert back.lstrip(" ") == "\n"
        elif sentencepiece:  # it writes the same character for a space and for itself
            assert back.lstrip() == text.replace("\u2581", " ").lstrip(), text
        else:
            assert back == text


def test_two_spaces_and_html_are_text_to_gemma(tmp_path: Path) -> None:
    one = encoder("gemma", f"{CONTROL[0]}{{text}}", tmp_path)
    for text in ("a  b", "    x", "<b>x</b> y"):
        (ids,) = prompts(one, [text])
        assert list(ids[1:]) == trained("gemma").encode(text, add_special_tokens=False).ids
        assert one.decode(ids) == text
    assert {trained("gemma").token_to_id(token) for token in ("<b>", "</b>")} <= set(ids)


def test_markup_that_is_not_special_is_written_and_reasoning_is_dropped(tmp_path: Path) -> None:
    one, tokenizer = encoder("qwen", "{text}", tmp_path), trained("qwen")
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    ids = [vocabulary[token] for token in ("<think>", "</think>", "<tool_call>", END)]
    (text,) = prompts(one, ["ok"])
    assert one.decode((*ids[:2], *text, *ids[2:])) == "ok<tool_call>"


def test_a_text_that_its_template_swallows_is_counted_alone(tmp_path: Path) -> None:
    one = encoder("qwen", "{text}\n\nTranslation:", tmp_path)
    (prompt,) = one.encode([PromptText("!", "en", "zh")])
    assert prompt.max_new_tokens == 16 + 3
    with pytest.raises(UnencodableText):
        encoder("qwen", "{text}", tmp_path).encode([PromptText("", "en", "zh")])
