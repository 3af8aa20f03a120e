from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.translation_spec import Language, TextLimits, TranslationSpec
from transformer.errors import UndetectedLanguage, UnknownLanguage, UnknownPair
from transformer.texts.language_tags import canonical_tag
from transformer.texts.languages import LanguagePair, Languages
from transformer.texts.scripts import has_letters, script_evidence


def speaking(pairs: tuple[tuple[str, str], ...] | None = None, **scripts: str) -> Languages:
    languages = {
        tag.replace("_", "-"): Language(tag, f"<|{tag}|>", script) for tag, script in scripts.items()
    }
    everything = tuple((a, b) for a in languages for b in languages if a != b)
    limits = TextLimits(100, 100, 2.0, 8)
    return Languages(
        TranslationSpec("{source}{text}{target}", languages, pairs or everything, ("<|end|>",), limits)
    )


DEMO = speaking(en="Latn", zh="Hans")
MANY = speaking(
    en="Latn", fr="Latn", de="Latn", zh_Hans="Hans", zh_Hant="Hant", ja="Jpan", ko="Kore", ru="Cyrl", ar="Arab"
)  # fmt: skip

CHINESE = """
iPhone 15 手机壳
Apple iPhone 15 Pro Max 手机壳
2024新款 ins风 oversize T恤
USB-C 数据线
SK-II 神仙水 230ml
MacBook Pro 14英寸 M3 保护套
type-c 转 hdmi 转接头
vans 帆布鞋
app 开发
请问 how much?
今天天气很好。
小米
""".strip().splitlines()
ENGLISH = """
iPhone 15 case
iPhone 15 Pro Max
XL
I love 北京
What does 你好 mean?
GenerationResult in China 中国
the Great Wall (长城) of China
café au lait
α7 IV
μm scale
Women's summer dress
""".strip().splitlines()

HELD_OUT = {  # written after the weights were settled, never used to change them
    "zh": """
大码 hoodie 卫衣
小米14 Ultra 钢化膜
Dyson 吹风机 HD15
nintendo switch 游戏卡
L码 黑色
儿童书包 kids backpack
OPPO Reno11 原装充电器 80W
dior 999 口红
春季新款 polo 衫 男
ThinkPad X1 Carbon 笔记本电脑
一次性手套 100只
hello kitty 水杯
GUCCI 包
手冲咖啡壶 600ml
""".strip().splitlines(),
    "en": """
Samsung Galaxy S24 Ultra case
100% cotton towel
Tea set with the character 福
3-pack socks
Levi's 501 jeans
Learn to write 汉字 in 30 days
Bluetooth 5.3 earbuds
Moutai 茅台 liquor from Guizhou
S/M/L
résumé template
Huawei P60 (华为) phone cover
Lipstick
Kids' toy
12oz mug
""".strip().splitlines(),
}


@pytest.mark.parametrize("text", CHINESE)
def test_titles_with_latin_brands_are_chinese(text: str) -> None:
    assert DEMO.resolve_pair(0, text, None, "en") == LanguagePair("zh", "en", needs_model=True)


@pytest.mark.parametrize("text", ENGLISH)
def test_titles_with_some_other_letters_are_english(text: str) -> None:
    assert DEMO.resolve_pair(0, text, None, "zh") == LanguagePair("en", "zh", needs_model=True)


def test_held_out_titles_are_told_apart() -> None:
    other = {"zh": "en", "en": "zh"}
    wrong = [
        (text, language)
        for language, texts in HELD_OUT.items()
        for text in texts
        if DEMO.resolve_pair(0, text, None, other[language]).source != language
    ]
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize("text", ["", "12-34", "￥199.00", "!?…", "🙂👍🏽", "①", "100%", "+86 138-0013-8000"])
def test_texts_without_letters_need_no_model(text: str) -> None:
    assert DEMO.resolve_pair(0, text, None, "zh") == LanguagePair("und", "zh", needs_model=False)
    assert DEMO.resolve_pair(0, text, "en", "zh") == LanguagePair("en", "zh", needs_model=False)


@pytest.mark.parametrize(
    ("text", "target"), [("red shoes", "en"), ("红色的鞋", "zh"), ("iPhone 手机壳套装", "zh")]
)
def test_texts_in_the_target_language_need_no_model(text: str, target: str) -> None:
    assert DEMO.resolve_pair(0, text, None, target) == LanguagePair(target, target, needs_model=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bonjour tout le monde", "fr"),
        ("Guten Morgen zusammen", "de"),
        ("无线蓝牙耳机", "zh-Hans"),
        ("無線藍牙耳機", "zh-Hant"),
        ("東京タワー", "ja"),
        ("ありがとう", "ja"),
        ("안녕하세요", "ko"),
        ("Привет", "ru"),
        ("مرحبا بالعالم", "ar"),
    ],
)
def test_script_decides_first_and_letters_within_a_script(text: str, expected: str) -> None:
    assert MANY.resolve_pair(0, text, None, "en").source == expected


@pytest.mark.parametrize("text", ["Привет мир", "안녕하세요 여러분", "สวัสดีชาวโลก", "ありがとうございます"])
def test_a_language_the_release_does_not_read_is_refused_without_quoting_the_text(text: str) -> None:
    with pytest.raises(UndetectedLanguage, match="text 3: its language is none of en, zh") as caught:
        DEMO.resolve_pair(3, text, None, "zh")
    assert text not in str(caught.value)


def test_one_foreign_letter_is_no_language() -> None:
    assert DEMO.resolve_pair(0, "α", None, "zh") == LanguagePair("und", "zh", needs_model=False)


@pytest.mark.parametrize(
    ("tag", "canonical"),
    [
        ("EN", "en"),
        ("zh_hans_cn", "zh-Hans-CN"),
        ("PT-br", "pt-BR"),
        (" de ", "de"),
        ("iw", "he"),
        ("es-419", "es-419"),
    ],
)
def test_tags_get_their_canonical_form(tag: str, canonical: str) -> None:
    assert canonical_tag(tag) == canonical


@pytest.mark.parametrize(
    ("scripts", "tag", "expected"),
    [
        ({"en": "Latn", "zh": "Hans"}, "zh-CN", "zh"),
        ({"en": "Latn", "zh": "Hans"}, "ZH_Hans_CN", "zh"),
        ({"en": "Latn", "zh_Hans": "Hans", "zh_Hant": "Hant"}, "zh-TW", "zh-Hant"),
        ({"en": "Latn", "zh_Hans": "Hans", "zh_Hant": "Hant"}, "zh-cn", "zh-Hans"),
        ({"en": "Latn", "pt_BR": "Latn"}, "pt", "pt-BR"),
    ],
)
def test_a_callers_tag_finds_the_releases(scripts: dict[str, str], tag: str, expected: str) -> None:
    assert speaking(None, **scripts).resolve_pair(0, "text", "en", tag).target == expected


@pytest.mark.parametrize("tag", ["fr", "zh-Hans-x", "e", "", "pt-BR", "zhongwen"])
def test_an_unknown_language_is_answered_with_those_there_are(tag: str) -> None:
    if tag == "zh-Hans-x":  # its shorter forms are tried
        assert DEMO.resolve_pair(0, "text", "en", tag).target == "zh"
        return
    with pytest.raises(UnknownLanguage, match=r"text 2: target language .* speaks: en, zh"):
        DEMO.resolve_pair(2, "text", None, tag)


def test_a_tag_too_long_to_be_kept_means_what_a_short_one_means() -> None:
    for tag in ("zh-Hans-CN", "zh-Hans-CN-x-" + "-".join(["private"] * 6)):
        assert [DEMO.resolve_pair(0, "text", "en", tag).target for _ in range(2)] == ["zh", "zh"]


@given(st.text())
def test_a_text_has_letters_where_anything_speaks_for_a_script(text: str) -> None:
    assert has_letters(text) == bool(script_evidence(text))


@pytest.mark.parametrize("text", ["", "12 ½ ²", "\uab5b", "ªº", "\u1d2b", "ة", "𠮷", "_", "ⅷ", "①"])
def test_rare_characters_are_letters_or_not_as_their_evidence_says(text: str) -> None:
    assert has_letters(text) == bool(script_evidence(text))


def test_a_sentence_sent_as_a_language_is_not_quoted() -> None:
    with pytest.raises(UnknownLanguage) as caught:
        DEMO.resolve_pair(0, "text", "my secret text", "zh")
    assert "secret" not in str(caught.value)


def test_a_bare_language_with_two_longer_forms_is_ambiguous() -> None:
    with pytest.raises(UnknownLanguage):
        speaking(en="Latn", zh_Hans="Hans", zh_Hant="Hant").resolve_pair(0, "text", "en", "zh")


def test_pairs_the_release_was_not_trained_for_are_refused_with_those_it_was() -> None:
    one_way = speaking(pairs=(("en", "zh"),), en="Latn", zh="Hans")
    with pytest.raises(UnknownLanguage, match="speaks: zh"):
        one_way.resolve_pair(0, "手机", None, "en")
    three = speaking(pairs=(("en", "zh"), ("zh", "en"), ("fr", "en")), en="Latn", zh="Hans", fr="Latn")
    with pytest.raises(
        UnknownPair, match="does not translate fr to zh; it translates en to zh, zh to en, fr to en"
    ):
        three.resolve_pair(0, "texte", "fr", "zh")


def test_a_source_that_is_the_target_needs_no_model() -> None:
    assert DEMO.resolve_pair(1, "手机", "zh-CN", "zh") == LanguagePair("zh", "zh", needs_model=False)


@pytest.mark.parametrize(
    ("tag", "canonical"),
    [
        ("zho", "zh"), ("chi", "zh"), ("eng", "en"), ("deu", "de"), ("ger", "de"), ("en_US.UTF-8", "en-US"),
        ("zh_CN.UTF-8", "zh-CN"), ("en-US@posix", "en-US"), ("sr_RS@latin", "sr-Latn-RS"), ("zh-CHT", "zh-Hant"),
        ("zh-CHS", "zh-Hans"), ("zh-yue", "yue"), ("zh-cmn-Hans", "zh-Hans"), ("sh", "sr-Latn"), ("no", "nb"),
        ("in", "id"), ("ja_JP.eucJP", "ja-JP"), ("zh-cmn", "zh"),
    ],
)  # fmt: skip
def test_codes_and_locales_are_tags_too(tag: str, canonical: str) -> None:
    assert canonical_tag(tag) == canonical


@pytest.mark.parametrize(
    "tag",
    [
        "zh-TW", "zh-Hant", "zh-Hant-TW", "zh-HK", "zh-CHT", "zh-yue", "yue", "zh-Latn", "zh-MO",
        "cmn-Hant", "zho-TW", "en-Cyrl", "en-Shaw",
    ],
)  # fmt: skip
@pytest.mark.parametrize("role", ["source", "target"])
def test_a_variant_that_the_release_does_not_have_is_refused_by_name(tag: str, role: str) -> None:
    source, target = ("en", tag) if role == "target" else (tag, "en" if "zh" in tag else "zh")
    with pytest.raises(UnknownLanguage, match=f"text 0: {role} language '?\"?{tag}.* speaks: en, zh"):
        DEMO.resolve_pair(0, "text", source, target)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("zh-TW", "zh-Hant"), ("zh-HK", "zh-Hant"), ("zh-Hant-TW", "zh-Hant"), ("zh-CN", "zh-Hans"),
        ("zh_SG", "zh-Hans"), ("zho-CN", "zh-Hans"), ("sr-Latn", "sr-Latn"), ("sr", "sr"), ("sr-RS", "sr"),
        ("sr-Cyrl", "sr"), ("sr-ME", "sr-Latn"), ("sr_RS@latin", "sr-Latn"), ("en-GB", "en"), ("eng", "en"),
    ],
)  # fmt: skip
def test_a_release_with_variants_serves_each_by_its_name(tag: str, expected: str) -> None:
    release = speaking(en="Latn", zh_Hans="Hans", zh_Hant="Hant", sr="Cyrl", sr_Latn="Latn", de="Latn")
    assert release.resolve_pair(0, "ein Text", "de", tag).target == expected


def test_serbian_in_another_script_is_refused() -> None:
    cyrillic = speaking(en="Latn", sr="Cyrl")
    assert cyrillic.resolve_pair(0, "text", "en", "sr-RS").target == "sr"
    for tag in ("sr-Latn", "sr-Latn-RS", "sr_RS@latin", "sh", "sr-ME"):
        with pytest.raises(UnknownLanguage):
            cyrillic.resolve_pair(0, "text", "en", tag)


@pytest.mark.parametrize("source", ["auto", "AUTO", "und", "", None])
def test_a_source_may_be_left_to_detection(source: str | None) -> None:
    assert DEMO.resolve_pair(0, "red shoes", source, "zh") == LanguagePair("en", "zh", needs_model=True)
    assert DEMO.resolve_pair(0, "红色的鞋", source, "en") == LanguagePair("zh", "en", needs_model=True)
