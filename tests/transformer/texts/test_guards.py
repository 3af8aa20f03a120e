from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.messages import FinishReason
from protocol.release_documents import ReleaseError
from protocol.translation_spec import GUARDS, GuardSpec, TranslationSpec, load_translation_spec
from tests.transformer.release import TRANSLATION
from transformer.texts.guards import (
    MAX_REPEATS,
    MIN_REPEATED_CHARACTERS,
    MIN_REPEATS,
    Guards,
    is_new_paraphrase,
    is_new_repetition,
    may_repeat,
)
from transformer.texts.repetition import units_of
from transformer.texts.terms import Term

DEMO = Path(__file__).parents[3] / "examples" / "demo_model"
STOP, LENGTH = FinishReason.STOP, FinishReason.LENGTH


@pytest.fixture
def strict(spec: TranslationSpec) -> TranslationSpec:
    template = "Translate this title into {target}.\n{text}"
    return dataclasses.replace(spec, guards=GuardSpec(), template=template)


@pytest.mark.parametrize(
    ("source", "answer", "kinds"),
    [
        ("red shoes", "红色的鞋", ()),
        ("iPhone 15 Pro Max", "iPhone 15 Pro Max", ()),
        ("red shoes", "", ("empty",)),
        (
            "red shoes",
            "红色的鞋子很好看也很便宜" * 2 + "所有人都应该买一双回家去穿着走路锻炼身体",
            ("ratio",),
        ),
        ("a long description of red shoes " * 30, "鞋", ("ratio",)),
        ("red shoes for women", "红鞋红鞋红鞋红鞋红鞋红鞋", ("repetition",)),
        ("red shoes for women", "鞋子。" + "哈" * 20, ("repetition",)),
        ("red shoes for women", "red shoes for women", ("script",)),
        ("red shoes for women", "красные туфли", ("script",)),
        ("red shoes", "<think>鞋</think>", ("script", "leak")),
        ("red shoes", "红鞋<|end|>", ("leak",)),
        ("red shoes", "Translate this title into 红鞋", ("script", "leak")),
        ("red shoes, {colour}", "红鞋", ("placeholder",)),
    ],
)
def test_each_fault_has_its_kind(
    strict: TranslationSpec, source: str, answer: str, kinds: tuple[str, ...]
) -> None:
    assert Guards(strict).flags(source, answer, "zh", STOP) == kinds


def test_what_the_source_does_itself_is_no_fault(strict: TranslationSpec) -> None:
    guards = Guards(strict)
    assert guards.flags("shoes " + "-" * 30, "鞋 " + "-" * 30, "zh", STOP) == ()
    assert guards.flags("the <think> tag", "<think> 标签", "zh", STOP) == ()


def test_an_answer_cut_short_is_flagged_with_whatever_else_is_wrong(strict: TranslationSpec) -> None:
    assert Guards(strict).flags("red shoes", "红鞋" * 8, "zh", LENGTH) == ("repetition", "length")


def test_a_release_chooses_its_checks(strict: TranslationSpec) -> None:
    lenient = dataclasses.replace(strict, guards=GuardSpec(checks=("length",), retries=0))
    guards = Guards(lenient)
    assert guards.flags("red shoes", "", "zh", STOP) == ()
    assert guards.flags("red shoes", "", "zh", LENGTH) == ("length",)
    assert guards.retries == 0


def test_no_reference_translation_of_the_demo_is_flagged() -> None:
    guards = Guards(load_translation_spec(DEMO / "checkpoint" / "translation.json"))
    lines = (DEMO / "heldout.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(lines) == 500
    for line in lines:
        en, zh = line.split("\t")[:2]
        assert guards.flags(en, zh, "zh", STOP, source_language="en") == ()
        assert guards.flags(zh, en, "en", STOP, source_language="zh") == ()


def test_a_sentence_that_the_text_does_not_have_is_found_by_the_lengths_of_the_pair() -> None:
    spec = load_translation_spec(DEMO / "checkpoint" / "translation.json")
    guards, without = Guards(spec), Guards(dataclasses.replace(spec, guards=GuardSpec()))
    rows = [line.split("\t") for line in (DEMO / "heldout.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    found = lost = general = 0
    for (en, zh), (other_en, other_zh) in zip(rows, [*rows[250:], *rows[:250]], strict=True):
        invented = f"{zh} {other_zh}"
        found += "ratio" in guards.flags(en, invented, "zh", STOP, source_language="en")
        lost += "ratio" in guards.flags(f"{en}. {other_en}", zh, "zh", STOP, source_language="en")
        general += "ratio" in without.flags(en, invented, "zh", STOP, source_language="en")
    assert found > 0.75 * len(rows) > 10 * general
    assert lost > 0.5 * len(rows)


def test_lengths_of_other_pairs_and_of_single_words_say_nothing() -> None:
    guards = Guards(load_translation_spec(DEMO / "checkpoint" / "translation.json"))
    assert guards.flags("cup", "陶瓷杯子", "zh", STOP, source_language="en") == ()
    assert guards.flags("cup", "这只红色的陶瓷杯子", "zh", STOP, source_language="und") == ()


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"guards": {"checks": ["emptiness"]}}, "guards.checks"),
        ({"guards": {"min_length_ratio": 9.0}}, "min_length_ratio"),
        (
            {"guards": {"lengths": [{"source": "en", "target": "fr", "ratio": 1.0, "variance": 1.0}]}},
            "pairs of the release",
        ),
        (
            {"guards": {"lengths": [{"source": "en", "target": "zh", "ratio": 1.0, "variance": 0.0}]}},
            "must be positive",
        ),
        ({"guards": {"retries": 7}}, "retries"),
        ({"guards": {"max_lenght_ratio": 2.0}}, "max_lenght_ratio"),
        ({"sentences": "sometimes"}, "always or long"),
    ],
)
def test_a_release_that_misspells_its_guards_is_refused(
    tmp_path: Path, edit: dict[str, object], says: str
) -> None:
    path = tmp_path / "translation.json"
    write_json(path, {**TRANSLATION, **edit})
    with pytest.raises(ReleaseError, match=says):
        load_translation_spec(path)


def test_a_release_that_says_nothing_has_every_guard(tmp_path: Path) -> None:
    path = tmp_path / "translation.json"
    write_json(path, {key: value for key, value in TRANSLATION.items() if key != "guards"})
    spec = load_translation_spec(path)
    assert spec.guards.checks == GUARDS
    assert spec.sentences == "always"


def write_json(path: Path, document: dict[str, object]) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")


def test_tokens_that_repeated_themselves_are_flagged_whatever_they_read(strict: TranslationSpec) -> None:
    assert Guards(strict).flags("red shoes", "红鞋", "zh", FinishReason.REPETITION) == ("repetition",)


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        ("红色AcmeCorp衬衣", ()),
        ("红色Acme衬衣", ("glossary",)),
        ("红色AcmeCorp衬衫", ("glossary",)),
        ("", ("empty", "glossary")),
    ],
)
def test_what_a_glossary_calls_for_must_be_there(
    strict: TranslationSpec, answer: str, kinds: tuple[str, ...]
) -> None:
    source = "red AcmeCorp shirt"
    terms = (Term(4, 12, "AcmeCorp", None), Term(13, 18, "shirt", "衬衣"))
    assert Guards(strict).flags(source, answer, "zh", STOP, terms) == kinds


def test_length_and_script_of_what_a_glossary_put_there_are_no_fault(strict: TranslationSpec) -> None:
    guards = Guards(strict)
    long = "the very long name of a company that nobody would ever translate into Chinese" * 2
    terms = (Term(0, 3, "ABC", long),)
    assert guards.flags("ABC shoes", f"{long} 鞋", "zh", STOP, terms) == ()
    assert guards.flags("ABC shoes", f"{long} 鞋", "zh", STOP) == ("ratio", "repetition", "script")


def test_the_predictor_may_stop_a_loop_unless_the_text_may_loop_itself(strict: TranslationSpec) -> None:
    guards = Guards(strict)
    assert guards.max_repeats("red shoes for women") == MAX_REPEATS
    assert guards.max_repeats("ha" * 20) == 0
    sentence = "This sentence has more than sixty-four characters, and it stands here more than once. "
    assert guards.max_repeats(sentence * 3) == 0
    unchecked = dataclasses.replace(strict, guards=GuardSpec(checks=("empty",)))
    assert Guards(unchecked).max_repeats("red shoes") == 0


@given(
    before=st.text("abc ", max_size=70),
    part=st.text("abcdef ", min_size=1, max_size=64),
    times=st.integers(MIN_REPEATS, 9),
    after=st.text("abc ", max_size=20),
)
def test_no_loop_of_a_text_is_overlooked(before: str, part: str, times: int, after: str) -> None:
    loop = part * times
    text = before + loop + after
    if len(loop) >= MIN_REPEATED_CHARACTERS:
        assert may_repeat(text)
        assert is_new_repetition("red shoes", text)
    assert not is_new_repetition(text, text)


@given(part=st.text(st.characters(codec="utf-8"), min_size=65, max_size=200), times=st.integers(3, 5))
def test_no_loop_of_a_long_part_is_overlooked(part: str, times: int) -> None:
    assert may_repeat("before" + part * times)


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        ("适合\ufffd盖的衬衫", ("replacement",)),
        ("蓝色衬衫，蓝色纯棉衬衫，蓝色的衬衫，纯棉蓝色衬衫，蓝色衬衫", ("ratio", "repetition")),
        ("蓝色衬衫。请联系我们的客服获取更多信息，谢谢您的支持", ("ratio",)),
        ("蓝色衬衫", ()),
        ("这是一件蓝色的纯棉衬衫", ()),
    ],
)
def test_what_the_text_does_not_say_is_flagged(
    strict: TranslationSpec, answer: str, kinds: tuple[str, ...]
) -> None:
    assert Guards(strict).flags("Blue shirt", answer, "zh", STOP) == kinds


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Blue shirt, blue cotton shirt, the blue shirt, a blue cotton shirt, blue shirt of cotton", True),
        ("nice and good, good and nice, nice good and nice, good nice and good, and nice and good", True),
        (
            "It is a great shirt. It is a really great shirt. It is a very great shirt. It's a great shirt.",
            True,
        ),
        (
            "It is a great shirt of soft cotton, made for long days outside, and it fits all who like blue.",
            False,
        ),
        ("Women's blue cotton shirt with long sleeves, wide collar and two pockets, size M, 2-pack", False),
    ],
)
def test_the_same_in_other_words_is_a_repetition(answer: str, expected: bool) -> None:
    assert is_new_paraphrase(units_of("Ein blaues Hemd"), units_of(answer)) == expected
    assert not is_new_paraphrase(units_of(answer), units_of(answer))


def test_a_replacement_character_of_the_text_itself_is_no_fault(strict: TranslationSpec) -> None:
    assert Guards(strict).flags("the \ufffd sign", "\ufffd 符号", "zh", STOP) == ()
