"""The prompts of recipes with context, terms and style are those that the models' authors publish."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from predictor.builder.release.recipes import load_recipe, recipe_names
from protocol.template_sections import present_sets
from protocol.translation_spec import SamplingAdvice, TranslationSpec, load_translation_spec

TEXT = "It’s on the house."
NEW, OLD = (
    ("<|startoftext|>", "<|extra_0|>"),
    ("<｜hy_begin▁of▁sentence｜><｜hy_User｜>", "<｜hy_Assistant｜>"),
)
MIXTURE = (
    "<｜hy_begin▁of▁sentence｜><｜reasoning_mode｜>reasoning_effort:no_think<｜hy_User｜>",
    "<｜hy_Assistant｜><think></think>",
)
ONLY_ZH = "注意只需要输出翻译后的结果，不要额外解释：\n"


@dataclass(frozen=True)
class Published:
    """A prompt that a README has."""

    recipe: str
    source: str
    target: str
    wrapper: tuple[str, str]
    message: str
    present: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "-".join([self.recipe, self.target, *self.present])


TERMS_EN = "Reference the following translations:\nhouse translates to Haus\nbar translates to Theke\n\n"
PUBLISHED = [
    Published(
        "hy-mt2-7b", "en", "de", NEW,
        f"{TERMS_EN}Translate the following text into German. Note that you must ONLY output the translated result "
        f"without any additional explanation:\n\n{TEXT}",
        ("terms",),
    ),
    Published(
        "hy-mt2-1.8b", "en", "de", OLD,
        "[Background Information]\nAt a bar.\n\nPlease translate the following text into German, taking the provided "
        f"background information into consideration.\n\n[Source Text]\n{TEXT}",
        ("context",),
    ),
    Published(
        "hy-mt2-7b", "en", "de", NEW,
        "Please translate the following text into German. Note that the translation style must strictly conform to "
        f"[informal]:\n\n{TEXT}",
        ("formality", "informal"),
    ),
    Published(
        "hy-mt2-7b", "en", "zh", NEW,
        "参考下面的翻译：\nhouse 翻译成 Haus\nbar 翻译成 Theke\n"
        f"将以下文本翻译为中文，{ONLY_ZH}\n{TEXT}",
        ("terms",),
    ),
    Published(
        "hy-mt2-7b", "en", "zh", NEW,
        f"【背景信息】\nAt a bar.\n\n请结合背景信息将以下文本翻译为中文。\n\n【待翻译文本】\n{TEXT}",
        ("context",),
    ),
    Published(
        "hy-mt2-7b", "en", "zh", NEW,
        f"请将以下文本翻译为中文。\n注意翻译的风格要严格符合【正式】\n\n{TEXT}",
        ("formality", "formal"),
    ),
    Published(
        "hy-mt2-30b-a3b", "en", "de", MIXTURE,
        "Translate the following text into German. Note that you should only output the translated result without "
        f"any additional explanation:\n\n{TEXT}",
    ),
    Published(
        "hy-mt1.5-7b", "en", "zh", NEW,
        f"参考下面的翻译：\nhouse 翻译成 Haus\nbar 翻译成 Theke\n\n将以下文本翻译为中文，{ONLY_ZH}{TEXT}",
        ("terms",),
    ),
    Published(
        "hy-mt1.5-1.8b", "en", "zh", OLD,
        f"At a bar.\n参考上面的信息，把下面的文本翻译成中文，注意不需要翻译上文，也不要额外解释：\n{TEXT}",
        ("context",),
    ),
    Published(
        "hy-mt1.5-1.8b", "en", "zh", OLD,
        "将以下<source></source>之间的文本翻译为中文，注意只需要输出翻译后的结果，不要额外解释，原文中的<sn></sn>标签表示标签内文本包含"
        "格式信息，需要在译文中相应的位置尽量保留该标签。输出格式为：<target>str</target>\n\n"
        f"<source>{TEXT}</source>",
        ("tags",),
    ),
    Published(
        "hy-mt1.5-7b", "fr", "de", NEW,
        f"参考下面的翻译：\nhouse 翻译成 Haus\nbar 翻译成 Theke\n\n将以下文本翻译为德语，{ONLY_ZH}{TEXT}",
        ("terms",),
    ),
]  # fmt: skip


def spec_of(name: str, directory: Path) -> TranslationSpec:
    path = directory / "translation.json"
    path.write_text(json.dumps(load_recipe(name).translation()))
    return load_translation_spec(path)


@pytest.mark.parametrize("published", PUBLISHED, ids=str)
def test_prompts_are_the_published_ones(published: Published, tmp_path: Path) -> None:
    filled = spec_of(published.recipe, tmp_path).filled_template(
        published.source, published.target, published.present
    )
    lines = filled.term_lines([("house", "Haus"), ("bar", "Theke")])
    values = {"text": TEXT, "context": "At a bar.", "terms": lines}
    parts = [filled.literals[0]]
    for slot, literal in zip(filled.slots, filled.literals[1:], strict=True):
        parts += [values[slot], literal]
    before, after = published.wrapper
    assert "".join(parts) == f"{before}{published.message}{after}"


@pytest.mark.parametrize("name", recipe_names())
def test_every_choice_of_sections_makes_a_prompt_without_marks(name: str, tmp_path: Path) -> None:
    spec = spec_of(name, tmp_path)
    for source, target in spec.pairs[:3]:
        for present in present_sets(spec.template_of(source, target)):
            filled = spec.filled_template(source, target, present)
            assert not any(mark in literal for literal in filled.literals for mark in ("{#", "{^", "{/"))
            assert ("context" in filled.slots) == ("context" in present)


def test_the_advice_of_the_authors_is_in_the_recipes(tmp_path: Path) -> None:
    assert spec_of("hy-mt2-7b", tmp_path).sampling == SamplingAdvice(0.7, 0.6, 20, 1.05)
    assert spec_of("hy-mt2-30b-a3b", tmp_path).sampling == SamplingAdvice(temperature=0.7)
    assert spec_of("lmt-60", tmp_path).sampling.params.temperature == 0
