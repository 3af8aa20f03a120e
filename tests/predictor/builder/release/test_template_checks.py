from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, processors

from predictor.builder.errors import BrokenText
from predictor.builder.release.template_checks import start_of_prompts
from predictor.builder.release.text_files import read_text_files
from protocol.release_documents import ReleaseError
from protocol.translation_spec import load_translation_spec
from tests.predictor.builder.checkpoints import edit_json
from tests.releases import SPECIAL_TOKENS, TRANSLATION

VOCAB = len(SPECIAL_TOKENS) + 256
START = "<|pad|>"


def starting(checkpoint: Path) -> Path:
    """The checkpoint with a tokenizer that puts a token before every prompt."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, tokenizer.token_to_id(START))]
    )
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    return checkpoint


def translation(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps({**TRANSLATION, **changes}))
    return path


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("<|im_ends|>{text}<|en|>", r"'<\|im_ends\|>', which the tokenizer does not know"),
        ("<|en|>{text}<|ennd|>", r"'<\|ennd\|>'.*did you mean <\|end\|>"),
        ("<start_of_turn>{text}", "'<start_of_turn>'"),
        ("<｜User｜>{text}", "'<｜User｜>'"),
    ],
)
def test_a_template_with_an_unknown_control_token_is_refused(
    checkpoint: Path, template: str, message: str
) -> None:
    edit_json(checkpoint / "translation.json", template=template)
    with pytest.raises(BrokenText, match=message):
        read_text_files(checkpoint, None, vocab=VOCAB)


def test_tags_that_no_tokenizer_has_as_tokens_are_text(checkpoint: Path) -> None:
    edit_json(checkpoint / "translation.json", template="<source>{text}</source> <fr> a < b | c >")
    assert read_text_files(checkpoint, None, vocab=VOCAB).spec.template.startswith("<source>")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{source}{text}{target}", "does not begin with it"),
        (f"{START}{START}{{text}}", "twice: remove one"),
    ],
)
def test_a_template_without_the_start_token_or_with_two_is_refused(
    checkpoint: Path, template: str, message: str
) -> None:
    edit_json(starting(checkpoint) / "translation.json", template=template)
    with pytest.raises(BrokenText, match=message):
        read_text_files(checkpoint, None, vocab=VOCAB)


def test_a_template_that_begins_with_the_start_token_is_taken(checkpoint: Path) -> None:
    edit_json(starting(checkpoint) / "translation.json", template=f"{START}{{source}}{{text}}")
    assert read_text_files(checkpoint, None, vocab=VOCAB).longest_sequence == 96 + 96 + 2
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    assert start_of_prompts(tokenizer) == START


@pytest.mark.parametrize(
    ("file", "ids", "missing"),
    [("config.json", 1, "'<|en|>'"), ("generation_config.json", [3, 0, 2], "'<|pad|>', '<|zh|>'")],
)
def test_stop_tokens_that_lack_an_end_token_of_the_checkpoint_are_refused(
    checkpoint: Path, file: str, ids: Any, missing: str
) -> None:
    document = json.loads((checkpoint / file).read_text()) if (checkpoint / file).exists() else {}
    (checkpoint / file).write_text(json.dumps({**document, "eos_token_id": ids}))
    with pytest.raises(BrokenText) as raised:
        read_text_files(checkpoint, None, vocab=VOCAB)
    assert f"stop_tokens lacks {missing}" in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"template": "{text} {taget}"}, r"unknown mark \{taget\}, did you mean target\?"),
        (
            {"templates": [{"template": "{source}"}]},
            r"templates\[0\].template must hold \{text\} exactly once",
        ),
        ({"template": "{text}{target_name:zh}"}, "names languages in 'zh'"),
        ({"templates": [{"template": "{text}", "targets": ["fr"]}]}, "known languages only"),
        ({"templates": [{"template": "{text}", "from": "fr"}]}, "unknown field from"),
    ],
)
def test_broken_rules_of_templates_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ReleaseError, match=message):
        load_translation_spec(translation(tmp_path / "translation.json", **changes))


def test_marks_become_names_and_codes_in_any_language(tmp_path: Path) -> None:
    languages = {
        "en": {"name": "English", "prompt": "English", "script": "Latn", "names": {"zh": "英语"}},
        "zh": {"name": "Chinese", "prompt": "<zh>", "script": "Hans", "code": "zho", "names": {"zh": "中文"}},
    }
    spec = load_translation_spec(
        translation(
            tmp_path / "translation.json",
            languages=languages,
            template='{target_name:zh} {source}: {text} {"a": {b c}} <{target_code}>',
            templates=[{"template": "{source_code} {target_name:en} {text}", "sources": ["zh"]}],
        )
    )
    assert spec.template_parts("en", "zh") == ("中文 English: ", ' {"a": {b c}} <zho>')
    assert spec.template_parts("zh", "en") == ("zho English ", "")
