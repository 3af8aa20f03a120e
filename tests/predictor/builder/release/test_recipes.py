from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from predictor.builder.errors import BrokenText
from predictor.builder.release.recipes import described_languages, load_recipe, recipe_names
from protocol.translation_spec import TranslationSpec, load_translation_spec
from transformer.texts.scripts import COMPATIBLE_SCRIPTS

TEXT = "It’s on the house."
PROMPTS = {
    # the template of the target, and that of the source, with Chinese names; that of all others
    ("hy-mt2-7b", "en", "zh"): (
        "<|startoftext|>将以下文本翻译为中文，注意只需要输出翻译后的结果，不要额外解释：\n\n"
        + TEXT
        + "<|extra_0|>"
    ),
    ("hy-mt2-1.8b", "zh", "fr"): (
        "<｜hy_begin▁of▁sentence｜><｜hy_User｜>将以下文本翻译为法语，注意只需要输出翻译后的结果，不要额外解释：\n\n"
        + TEXT
        + "<｜hy_Assistant｜>"
    ),
    ("hy-mt1.5-1.8b", "de", "en"): (
        "<｜hy_begin▁of▁sentence｜><｜hy_User｜>Translate the following segment into English, without additional "
        f"explanation.\n\n{TEXT}<｜hy_Assistant｜>"
    ),
    # a name that is not the table's
    ("tower-plus", "en", "pt"): (
        "<bos><start_of_turn>user\nTranslate the following English source text to Portuguese (Portugal):\n"
        f"English: {TEXT}\nPortuguese (Portugal): <end_of_turn>\n<start_of_turn>model\n"
    ),
    # codes of languages
    ("seed-x", "en", "zh"): f"<s>Translate the following English sentence into Chinese:\n{TEXT} <zh>",
}
"""One prompt, as the model's card gives it, of each way in which a recipe's template is chosen and filled."""


def spec_of(name: str, directory: Path) -> TranslationSpec:
    path = directory / "translation.json"
    path.write_text(json.dumps(load_recipe(name).translation()))
    return load_translation_spec(path)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_makes_a_translation_file_that_is_read(name: str, tmp_path: Path) -> None:
    recipe, spec = load_recipe(name), spec_of(name, tmp_path)
    assert recipe.models
    assert recipe.license
    assert {language.script for language in spec.languages.values()} <= set(COMPATIBLE_SCRIPTS)
    used = {tag for pair in spec.pairs for tag in pair}
    assert used == set(spec.languages)
    for pair in spec.pairs:
        before, after = spec.template_parts(*pair)
        assert before
        assert after
        assert not re.search(r"[{}]", before + after)


@pytest.mark.parametrize(("case", "prompt"), PROMPTS.items(), ids=map("-".join, PROMPTS))
def test_prompts_are_those_of_the_model_cards(
    case: tuple[str, str, str], prompt: str, tmp_path: Path
) -> None:
    name, source, target = case
    before, after = spec_of(name, tmp_path).template_parts(source, target)
    assert f"{before}{TEXT}{after}" == prompt


def test_pairs_of_a_model_with_hubs_have_one_of_them() -> None:
    assert all({"zh", "en"} & set(pair) for pair in load_recipe("lmt-60").translation()["pairs"])
    assert ["fr", "de"] not in [list(pair) for pair in load_recipe("x-alma").translation()["pairs"]]


def test_an_unknown_recipe_or_language_is_named() -> None:
    with pytest.raises(BrokenText, match=r"no recipe hy-mt2-7, did you mean hy-mt2-7b\?.*seed-x"):
        load_recipe("hy-mt2-7")
    with pytest.raises(BrokenText, match="language xx is not in the table"):
        described_languages(["en", "xx"])
