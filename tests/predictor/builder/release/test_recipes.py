from __future__ import annotations

import json
from pathlib import Path

import pytest

from predictor.builder.errors import BrokenText
from predictor.builder.release.recipes import described_languages, load_recipe, recipe_names
from protocol.release import TranslationSpec, load_translation_spec
from transformer.texts.scripts import COMPATIBLE_SCRIPTS

HY2 = "without any additional explanation:\n\n"
CHATML = "<|im_end|>\n<|im_start|>assistant\n"
GEMMA = "<end_of_turn>\n<start_of_turn>model\n"
PUBLISHED = {
    ("hy-mt2-7b", "en", "fr"): (
        "<|startoftext|>Translate the following text into French. Note that you should only output the translated "
        f"result {HY2}It’s on the house.<|extra_0|>"
    ),
    ("hy-mt2-7b", "en", "zh"): (
        "<|startoftext|>将以下文本翻译为中文，注意只需要输出翻译后的结果，不要额外解释：\n\n"
        "It’s on the house.<|extra_0|>"
    ),
    ("hy-mt2-1.8b", "zh", "fr"): (
        "<｜hy_begin▁of▁sentence｜><｜hy_User｜>将以下文本翻译为法语，注意只需要输出翻译后的结果，不要额外解释：\n\n"
        "It’s on the house.<｜hy_Assistant｜>"
    ),
    ("hy-mt1.5-1.8b", "de", "en"): (
        "<｜hy_begin▁of▁sentence｜><｜hy_User｜>Translate the following segment into English, without additional "
        "explanation.\n\nIt’s on the house.<｜hy_Assistant｜>"
    ),
    ("lmt-60", "en", "zh"): (
        "<|im_start|>user\nTranslate the following text from English into Chinese:\nEnglish: It’s on the house.\n"
        f"Chinese:{CHATML}"
    ),
    ("eurollm", "en", "pt"): (
        "<s><|im_start|>system\n<|im_end|>\n<|im_start|>user\nTranslate the following English source text to "
        f"Portuguese:\nEnglish: It’s on the house.\nPortuguese: {CHATML}"
    ),
    ("salamandra-ta", "es", "ca"): (
        "<s><|im_start|>user\nTranslate the following text from Spanish into Catalan.\nSpanish: It’s on the house.\n"
        f"Catalan:{CHATML}"
    ),
    ("tower-instruct", "pt", "en"): (
        "<s><|im_start|>user\nTranslate the following text from Portuguese into English.\n"
        f"Portuguese: It’s on the house.\nEnglish:{CHATML}"
    ),
    ("tower-plus", "en", "pt"): (
        "<bos><start_of_turn>user\nTranslate the following English source text to Portuguese (Portugal):\n"
        f"English: It’s on the house.\nPortuguese (Portugal): {GEMMA}"
    ),
    ("seed-x", "en", "zh"): (
        "<s>Translate the following English sentence into Chinese:\nIt’s on the house. <zh>"
    ),
    ("translategemma", "cs", "de"): (
        "<bos><start_of_turn>user\nYou are a professional Czech (cs) to German (de) translator. Your goal is to "
        "accurately convey the meaning and nuances of the original Czech text while adhering to German grammar, "
        "vocabulary, and cultural sensitivities.\nProduce only the German translation, without any additional "
        "explanations or commentary. Please translate the following Czech text into German:\n\n\nIt’s on the house."
        f"{GEMMA}"
    ),
    ("milmmt-46", "zh", "en"): (
        "<bos>Translate this from Chinese (Simplified) to English:\nChinese (Simplified): "
        "It’s on the house.\nEnglish:"
    ),
    ("gemmax2-28", "zh", "en"): (
        "<bos>Translate this from Chinese to English:\nChinese: It’s on the house.\nEnglish:"
    ),
    ("x-alma", "zh", "en"): (
        "<s>[INST] Translate this from Chinese to English:\nChinese: It’s on the house.\nEnglish: [/INST]"
    ),
    ("smollm2", "en", "fr"): (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nTranslate the following text from English into French. Answer with the translation alone."
        f"\n\nIt’s on the house.{CHATML}"
    ),
}


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
        assert after or name in ("seed-x",)


@pytest.mark.parametrize("published", PUBLISHED, ids="-".join)
def test_prompts_are_the_published_ones(published: tuple[str, str, str], tmp_path: Path) -> None:
    name, source, target = published
    before, after = spec_of(name, tmp_path).template_parts(source, target)
    assert f"{before}It’s on the house.{after}" == PUBLISHED[published]


def test_pairs_of_a_model_with_hubs_have_one_of_them() -> None:
    assert all({"zh", "en"} & set(pair) for pair in load_recipe("lmt-60").translation()["pairs"])
    assert ["fr", "de"] not in [list(pair) for pair in load_recipe("x-alma").translation()["pairs"]]


def test_an_unknown_recipe_or_language_is_named() -> None:
    with pytest.raises(BrokenText, match=r"no recipe hy-mt2-7, did you mean hy-mt2-7b\?.*seed-x"):
        load_recipe("hy-mt2-7")
    with pytest.raises(BrokenText, match="language xx is not in the table"):
        described_languages(["en", "xx"])
