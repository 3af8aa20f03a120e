from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.texts.patterns import has_words, without_wordless
from transformer.texts.placeholders import (
    MAX_MASKS,
    masked_forms,
    protected_spans,
    unmask,
)
from transformer.texts.preservation import changed_kinds
from transformer.texts.scripts import has_letters

KEPT = [
    ("template", "{name}"),
    ("template", "{}"),
    ("template", "{0:.2f}"),
    ("template", "{{ order.id }}"),
    ("template", "${price}"),
    ("template", "%s"),
    ("template", "%(n)d"),
    ("template", "%1$s"),
    ("template", "%.2f"),
    ("url", "https://shop.example.com/a?b=1&c=%20#d"),
    ("email", "ask.us+now@shop.example.co.uk"),
    ("code", "SKU-48213"),
    ("code", "KJ54"),
    ("code", "AB-1234-XY"),
    ("code", "751324626113"),
    ("quantity", "350ml"),
    ("quantity", "2.5 kg"),
    ("quantity", "350毫升"),
]
WORDS = st.text("abc 中文，。 ", max_size=8)
TEXTS = st.lists(st.tuples(WORDS, st.sampled_from([text for _, text in KEPT])), min_size=1, max_size=8)


@pytest.mark.parametrize(("kind", "text"), KEPT)
@pytest.mark.parametrize("frame", ["{}", "buy {} now", "订单{}。", "({})", "{}, {}"])
def test_each_kind_is_found_whole(kind: str, text: str, frame: str) -> None:
    found = protected_spans(frame.replace("{}", text))
    assert [(each.kind, each.text) for each in found] == [(kind, text)] * frame.count("{}")


@pytest.mark.parametrize(
    "text",
    [
        "50% silk",
        "100%cotton",
        "iPhone case",
        "XL",
        "USB",
        "4K",
        "size 42",
        "{not a name, a set}",
        "a@b",
        "12345",
    ],
)
def test_words_are_not_protected(text: str) -> None:
    assert protected_spans(text) == []


def test_a_quantitys_unit_may_be_translated_but_its_number_stays() -> None:
    assert not changed_kinds("Mug, 350ml", "马克杯 350毫升")
    assert changed_kinds("Mug, 350ml", "马克杯 35毫升") == {"number"}


def test_what_stands_twice_must_survive_twice() -> None:
    assert changed_kinds("{a} and {a}", "{a}") == {"placeholder"}
    assert not changed_kinds("{a} and {a}", "{a}和{a}")


@given(TEXTS)
def test_masks_come_off_byte_for_byte(parts: list[tuple[str, str]]) -> None:
    text = "".join(f"{words} {kept} " for words, kept in parts)
    ways = masked_forms(text)
    assert len(ways) == 2
    for masked in ways:
        assert not any(each.kind in ("template", "url", "email") for each in protected_spans(masked.text))
        assert unmask(masked.text, masked) == text


@given(TEXTS, st.data())
def test_a_mask_that_is_lost_or_doubled_is_noticed(parts: list[tuple[str, str]], data: st.DataObject) -> None:
    masked = masked_forms("".join(f"{words} {kept} " for words, kept in parts))[0]
    code, _ = data.draw(st.sampled_from(masked.originals))
    assert unmask(masked.text.replace(code, ""), masked) is None
    assert unmask(masked.text + code, masked) is None


def test_a_mask_never_looks_like_what_the_text_holds() -> None:
    for masked in masked_forms("QX10 and {a} and 73910010"):
        assert "QX10" not in dict(masked.originals)
        assert unmask(masked.text, masked) == "QX10 and {a} and 73910010"


@pytest.mark.parametrize(
    "text",
    [
        "{a}" * 30_000,
        "{" * 90_000,
        "%(" * 45_000,
        "A-" * 45_000,
        "a@" * 45_000,
        "https://" * 12_000,
        "1" * 90_000,
    ],
)
@pytest.mark.untraced
def test_a_flood_takes_no_longer_than_its_length(text: str) -> None:
    started = time.thread_time()
    spans = protected_spans(text)
    assert bool(changed_kinds(text, "")) == bool(spans or text.isdigit())
    assert time.thread_time() - started < 2.0
    if len(spans) > MAX_MASKS:
        assert masked_forms(text) == []


def test_placeholders_are_no_words() -> None:
    assert without_wordless("{name} %s https://a.example.com a@b.example.com").strip() == ""
    assert without_wordless("red {name}") == "red "


@pytest.mark.parametrize("frame", ["{}", " {}", "{} {} 12", "({}), {}!"])
@pytest.mark.parametrize("text", [text for kind, text in KEPT if kind in ("template", "url", "email")])
def test_a_text_of_placeholders_has_no_words_until_it_has_one(text: str, frame: str) -> None:
    whole = frame.replace("{}", text)
    assert not has_words(whole)
    assert has_words(f"a {whole}")
    assert has_words(f"{whole} é")


@given(TEXTS)
def test_a_text_has_words_where_it_has_letters_besides_placeholders(parts: list[tuple[str, str]]) -> None:
    text = "".join(part for pair in parts for part in pair)
    assert has_words(text) == has_letters(without_wordless(text))
