"""Prompts with context, terms and formality have the ids of the whole prompt as one string, and no injected token."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from protocol.messages import Formality
from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.prompt_errors import ContextTooLong, TextTooLong
from protocol.release_documents import ReleaseError
from protocol.translation_spec import TranslationSpec, load_translation_spec
from tests.protocol.tokenizer_kinds import ASSISTANT, CONTROL, END, KINDS, MARKUP, START, TEXTS, USER
from tests.transformer.release import TRANSLATION

SECTIONS = (
    "{#terms}Terms:\n{#term}{term} -> {translation}\n{/term}\n{/terms}{#context}About:\n{context}\n\n{/context}"
    "{#formal}Be formal. {/formal}{#informal}Be informal. {/informal}Translate:\n{text}"
)
ONE_TURN = f"{START}{USER}\n{SECTIONS}{END}\n{ASSISTANT}\n"
SYSTEM_TURN = (
    f"{START}{{#context}}{USER}\nAbout: {{context}}{END}\n{{/context}}{USER}\n{{text}}{END}\n{ASSISTANT}\n"
)
"""The context has a turn of its own."""
TERMS = (("cotton shirt", "纯棉衬衫"), ("No. 12", "12号"))
LINES = "cotton shirt -> 纯棉衬衫\nNo. 12 -> 12号\n"
HOSTILE_TEXTS = 300


@cache
def trained(kind: str) -> Tokenizer:
    return KINDS[kind]()


def encoder(kind: str, template: str, directory: Path, **limits: int) -> PromptEncoder:
    trained(kind).save(str(directory / "tokenizer.json"))
    return PromptEncoder.load_file(directory / "tokenizer.json", spec(template, directory, **limits), 100_000)


def spec(template: str, directory: Path, **limits: int) -> TranslationSpec:
    path = directory / "translation.json"
    document: dict[str, Any] = json.loads(json.dumps(TRANSLATION))
    document |= {"template": template, "stop_tokens": [END]}
    document["limits"] |= {"max_source_tokens": 5_000, "max_context_tokens": 5_000, **limits}
    path.write_text(json.dumps(document))
    return load_translation_spec(path)


def asked(text: str, context: str = "", index: int = 0, **more: Any) -> PromptText:
    return PromptText(text, "en", "zh", index, context, **more)


def whole_prompt(text: PromptText) -> str:
    parts = [
        f"Terms:\n{LINES}\n" if text.terms else "",
        f"About:\n{text.context}\n\n" if text.context else "",
        {"formal": "Be formal. ", "informal": "Be informal. ", None: ""}[text.formality.section],
    ]
    return f"{START}{USER}\n{''.join(parts)}Translate:\n{text.text}{END}\n{ASSISTANT}\n"


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_the_whole_prompt_as_one_string(kind: str, tmp_path: Path) -> None:
    one = encoder(kind, ONE_TURN, tmp_path)
    texts = [
        asked(text, context, terms=terms, formality=formality)
        for text, context in zip(TEXTS, ["", *TEXTS], strict=False)
        for terms in ((), TERMS)
        for formality in (Formality.DEFAULT, Formality.MORE, Formality.PREFER_LESS)
        if text.strip()
    ]
    for text, prompt in zip(texts, one.encode(texts), strict=True):
        whole = trained(kind).encode(whole_prompt(text), add_special_tokens=False).ids
        assert list(prompt.token_ids) == whole, text


@pytest.mark.parametrize("kind", KINDS)
def test_a_context_may_have_a_turn_of_its_own(kind: str, tmp_path: Path) -> None:
    one = encoder(kind, SYSTEM_TURN, tmp_path)
    for context in ("", "a  b", "x\n", "\n\n"):
        (prompt,) = one.encode([asked("Where is it?", context)])
        turn = f"{USER}\nAbout: {context}{END}\n" if context else ""
        string = f"{START}{turn}{USER}\nWhere is it?{END}\n{ASSISTANT}\n"
        assert list(prompt.token_ids) == trained(kind).encode(string, add_special_tokens=False).ids


@pytest.mark.parametrize("template", [ONE_TURN, SYSTEM_TURN], ids=["one", "system"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_a_caller_sends_becomes_a_control_token(
    kind: str, template: str, tmp_path: Path
) -> None:
    one, tokenizer = encoder(kind, template, tmp_path), trained(kind)
    rng = random.Random(7)
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
        "think",
        " ",
        "\n",
        "a",
        "\u2581",
    ]

    def hostile() -> str:
        return "".join(rng.choices(pieces, k=rng.randint(1, 8)))

    control = {tokenizer.token_to_id(token) for token in [*CONTROL, *MARKUP]}
    (plain,) = one.encode([asked("a", "b", terms=TERMS)])
    own = [token_id for token_id in plain.token_ids if token_id in control]
    texts = [
        asked(f"a{hostile()}", f"b{hostile()}", terms=((hostile(), hostile()),)) for _ in range(HOSTILE_TEXTS)
    ]
    for prompt in one.encode(texts):
        assert [token_id for token_id in prompt.token_ids if token_id in control] == own


def test_what_the_template_has_no_place_for_changes_nothing(tmp_path: Path) -> None:
    one = encoder("qwen", f"{USER}{{#formal}}Formal. {{/formal}}{{text}}{ASSISTANT}", tmp_path)
    plain, ignored, formal = one.encode(
        [
            asked("a"),
            asked("a", "b", terms=TERMS, formality=Formality.LESS),
            asked("a", formality=Formality.MORE),
        ]
    )
    assert plain == ignored
    assert plain != formal


def test_a_context_that_is_too_long_is_refused_with_its_size(tmp_path: Path) -> None:
    one = encoder("qwen", ONE_TURN, tmp_path, max_context_tokens=20)
    size = one.count_tokens("many words " * 30)
    with pytest.raises(ContextTooLong, match=rf"text 1: its context has {size} tokens.* at most 20;"):
        one.encode([asked("a"), asked("a", "many words " * 30, 1)])
    ok, fault = one.encode_each([asked("a", "few"), asked("a", "many words " * 30, 1)])
    assert not isinstance(ok, ContextTooLong)
    assert isinstance(fault, ContextTooLong)
    assert fault.status == 413
    with pytest.raises(ContextTooLong, match=f"has {one.max_context_bytes + 1} bytes"):
        one.encode([asked("a", "x" * (one.max_context_bytes + 1))])


def test_terms_that_do_not_fit_beside_the_context_are_left_out(tmp_path: Path) -> None:
    one = encoder("qwen", ONE_TURN, tmp_path, max_context_tokens=30)
    many = tuple((f"term {number}", f"begriff {number}") for number in range(100))
    (prompt,) = one.encode([asked("a", terms=many)])
    text = one.decode(prompt.token_ids)
    assert "term 0 -> begriff 0\n" in text
    assert "term 9 " not in text
    lines = text.partition("Terms:\n")[2].partition("\nTranslate")[0]
    assert one.count_tokens(lines) <= 30
    alone = one.encode([asked("a", "context " * 3)])
    assert one.encode([asked("a", "context " * 3, terms=((("long " * 40).strip(), "x"),))]) == alone


def test_limits_and_budgets_count_the_text_alone(tmp_path: Path) -> None:
    one = encoder("qwen", ONE_TURN, tmp_path, max_source_tokens=40)
    text = "hello world " * 3
    (plain,), (full,) = one.encode([asked(text)]), one.encode([asked(text, "a context", terms=TERMS)])
    assert full.max_new_tokens == plain.max_new_tokens
    with pytest.raises(TextTooLong, match=r"text 0: it has .* at most 40;"):
        one.encode([asked("hello world " * 60, "a context")])


def test_the_longest_prompt_has_room_for_context_and_terms(tmp_path: Path) -> None:
    plain = encoder("qwen", f"{USER}{{text}}{ASSISTANT}", tmp_path)
    assert plain.most_prompt_tokens() == plain.template_tokens + 5_000
    one = encoder("qwen", ONE_TURN, tmp_path, max_context_tokens=100)
    (prompt,) = one.encode([asked("a", "context", terms=TERMS, formality=Formality.LESS)])
    rest = one.count_tokens("context") + one.count_tokens(LINES) + one.count_tokens("a")
    assert one.most_prompt_tokens() == pytest.approx(len(prompt.token_ids) - rest + 100 + 5_000, abs=4)


def test_a_control_token_in_the_line_of_a_term_is_refused(tmp_path: Path) -> None:
    template = f"{USER}{{#terms}}{{#term}}{{term}}{END}{{translation}}{{/term}}{{/terms}}{{text}}{ASSISTANT}"
    with pytest.raises(ReleaseError, match=r"a control token within \{#term\}"):
        encoder("qwen", template, tmp_path)


def test_a_text_with_tags_has_its_own_section_in_place_of_the_others(tmp_path: Path) -> None:
    kind = next(iter(KINDS))
    others = SECTIONS.partition("{text}")[0]
    begin, end = f"{START}{USER}\n", f"{END}\n"
    own = encoder(
        kind, f"{begin}{{#tags}}Keep tags: {{/tags}}{{^tags}}{others}{{/tags}}{{text}}{end}", tmp_path
    )
    plain = encoder(kind, f"{begin}Keep tags: {{text}}{end}", tmp_path)
    text = "Red <s1>cotton</s1>"
    (tagged,) = own.encode([asked(text, "a context", terms=TERMS, is_tagged=True)])
    assert [tagged] == plain.encode([asked(text)])
    assert [tagged] != own.encode([asked(text, "a context", terms=TERMS)])
