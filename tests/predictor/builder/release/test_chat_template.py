from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from predictor.builder.commands import app
from predictor.builder.errors import BrokenText
from predictor.builder.release.chat_template import DEFAULT_PROMPT, translation_from_chat_template
from predictor.builder.release.text_files import read_text_files
from protocol.command_line import run_app
from tests.predictor.builder.checkpoints import build, edit_json
from tests.predictor.builder.release.test_template_checks import START, VOCAB, starting

CHAT = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|en|>system\nBe brief<|end|>\n"
    "{% endif %}<|en|>{{ message['role'] }}\n{{ message['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|zh|>{% if enable_thinking is defined and not enable_thinking %}x{% endif %}"
    "{% endif %}"
)


@pytest.fixture
def chat(checkpoint: Path) -> Path:
    edit_json(checkpoint / "config.json", eos_token_id=3)
    (checkpoint / "chat_template.jinja").write_text(CHAT)
    return checkpoint


def test_the_template_is_the_rendered_chat_template(chat: Path, tmp_path: Path) -> None:
    document = translation_from_chat_template(chat, ["en", "fr", "zh"], DEFAULT_PROMPT)
    assert (
        document["template"] == f"<|en|>system\nBe brief<|end|>\n<|en|>user\n{DEFAULT_PROMPT}<|end|>\n<|zh|>x"
    )
    assert document["stop_tokens"] == ["<|end|>"]
    assert len(document["pairs"]) == 6
    document["limits"] |= {"max_source_tokens": 60, "max_new_tokens": 60}
    path = tmp_path / "translation.json"
    path.write_text(json.dumps(document))
    assert (
        read_text_files(chat, path, vocab=VOCAB)
        .spec.template_parts("fr", "en")[0]
        .count("French into English")
    )


def test_templates_of_tokenizer_config_json_and_the_start_token_are_taken(chat: Path) -> None:
    starting(chat)
    (chat / "chat_template.jinja").unlink()
    config = {
        "bos_token": {"content": START},
        "chat_template": [{"name": "tools", "template": "no"}, {"name": "default", "template": CHAT}],
    }
    (chat / "tokenizer_config.json").write_text(json.dumps(config))
    assert translation_from_chat_template(chat, ["en", "zh"], "{text}")["template"].startswith(
        f"{START}<|en|>system"
    )
    config["chat_template"] = "{{ bos_token }}" + CHAT
    (chat / "tokenizer_config.json").write_text(json.dumps(config))
    template = translation_from_chat_template(chat, ["en", "zh"], "{text}")["template"]
    assert template.startswith(f"{START}<|en|>system")


@pytest.mark.parametrize(
    ("chat_template", "message"),
    [
        ("{{ raise_exception('no user') }}", "cannot be rendered: no user"),
        ("{% broken", "cannot be rendered"),
        ("{{ messages[0].content | upper }}", "changes the user's message"),
    ],
)
def test_a_chat_template_that_is_of_no_use_is_refused(chat: Path, chat_template: str, message: str) -> None:
    (chat / "chat_template.jinja").write_text(chat_template)
    with pytest.raises(BrokenText, match=message):
        translation_from_chat_template(chat, ["en", "zh"], DEFAULT_PROMPT)


def test_what_is_missing_is_named(chat: Path) -> None:
    with pytest.raises(BrokenText, match="at least two languages"):
        translation_from_chat_template(chat, ["en"], DEFAULT_PROMPT)
    with pytest.raises(BrokenText, match="exactly once"):
        translation_from_chat_template(chat, ["en", "zh"], "Translate")
    (chat / "chat_template.jinja").unlink()
    with pytest.raises(BrokenText, match="take a recipe"):
        translation_from_chat_template(chat, ["en", "zh"], DEFAULT_PROMPT)
    edit_json(chat / "config.json", eos_token_id=None)
    with pytest.raises(BrokenText, match="eos_token_id"):
        translation_from_chat_template(chat, ["en", "zh"], DEFAULT_PROMPT)


def test_the_command_prints_or_writes_a_translation_file(
    chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(app, ["template", str(chat), "--languages", "en,zh"], prog="release") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["languages"]["zh"]["names"]["zh"] == "中文"
    out = tmp_path / "out.json"
    assert run_app(app, ["template", "--recipe", "seed-x", "-o", str(out)], prog="release") == 0
    assert json.loads(out.read_text())["template"].endswith("<{target_code}>")
    assert run_app(app, ["template"], prog="release") == 2
    assert "CHECKPOINT with --languages, or a --recipe" in capsys.readouterr().err
    argv = ["build", str(chat), "-o", str(tmp_path / "r"), "--recipe", "seed-x", "--translation", str(out)]
    assert run_app(app, argv, prog="release") == 2
    assert "leave one out" in capsys.readouterr().err
    assert run_app(app, [*argv[:6]], prog="release") == 2
    assert "'</s>'" in capsys.readouterr().err


def test_the_prompt_of_a_release_is_shown_token_by_token(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = tmp_path / "release"
    build(checkpoint, release)
    shown = ["show", str(release), "--prompt", "Hi <|end|>", "--to", "zh"]
    assert run_app(app, [*shown, "--json"], prog="release") == 0
    tokens = json.loads(capsys.readouterr().out)["tokens"]
    tokenizer = Tokenizer.from_file(str(release / "tokenizer" / "tokenizer.json"))
    assert tokens[0] == {"id": tokenizer.token_to_id("<|en|>"), "piece": "<|en|>"}
    assert [token["piece"] for token in tokens[1:-1]] == list("HiĠ<|end|>")
    assert run_app(app, shown, prog="release") == 0
    assert "12 tokens" in capsys.readouterr().out
    assert run_app(app, shown[:4], prog="release") == 2
    assert run_app(app, [*shown[:5], "fr"], prog="release") == 2
    assert "does not translate into fr; known are en, zh" in capsys.readouterr().err


def test_what_goes_with_a_text_is_shown_in_its_prompt(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = (
        "<|en|>{#terms}{#term}{term}={translation};{/term}{/terms}{#context}({context}){/context}"
        "{#formal}Sie {/formal}{text}<|zh|>"
    )
    edit_json(
        checkpoint / "translation.json",
        template=template,
        sampling={"temperature": 0.7, "top_k": 20, "repetition_penalty": 1.05},
    )
    limits = json.loads((checkpoint / "translation.json").read_text())["limits"]
    limits |= {"max_source_tokens": 40, "max_new_tokens": 40, "max_context_tokens": 50}
    edit_json(checkpoint / "translation.json", limits=limits)
    release = tmp_path / "release"
    build(checkpoint, release)
    shown = ["show", str(release), "--prompt", "Hi", "--to", "zh", "--json", "--context", "shop"]
    more = ["--formality", "more", "--term", "Hi=Hallo", "--term", "a=b=c"]
    assert run_app(app, [*shown, *more], prog="release") == 0
    pieces = [token["piece"] for token in json.loads(capsys.readouterr().out)["tokens"]]
    assert "".join(pieces) == "<|en|>Hi=Hallo;a=b=c;(shop)SieĠHi<|zh|>"
    assert run_app(app, [*shown, "--formality", "less"], prog="release") == 2
    assert "its template for this pair has no place for formality less" in capsys.readouterr().err
    assert run_app(app, [*shown, "--term", "x"], prog="release") == 2
    assert "--term must be TERM=TRANSLATION" in capsys.readouterr().err
    assert run_app(app, ["show", str(release)], prog="release") == 0
    table = " ".join(capsys.readouterr().out.split())
    assert "with places for context, formal, terms" in table
    assert "temperature 0.7, top_k 20; repetition_penalty 1.05 is not applied" in table
