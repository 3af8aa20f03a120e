"""What a translation must keep: each row a text, an answer and what is changed there."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidRequest
from protocol.messages import FinishReason, TranslateRequest
from protocol.translation_spec import GuardSpec, TranslationSpec
from transformer.texts.bounds import TextBounds
from transformer.texts.caller_placeholders import CallerPlaceholders
from transformer.texts.guards import Guards
from transformer.texts.languages import Languages
from transformer.texts.patterns import find_protected
from transformer.texts.placeholders import masked_forms, protected_spans, unmask
from transformer.texts.preservation import changed_kinds
from transformer.texts.segments import split_request

NOTATIONS = [
    "%{name}", "#{name}", "@{name}", "{{{name}}}", "{% if x %}", "<% name %>", "<?php echo 1 ?>", "{ $x }", "{用户}",
    "{0:>10}", "{first name}", "{count, number}", "{d, date, short}", "{n, plural, one {# item} other {# items}}",
    "%d", "%1$s", "%-5.2f", "%ld", "%lld", "%zu", "%,d", "%05d", "%@", "%%", "% d", "%1", "%L1", "%n", "%Y", "%PATH%",
    "$t(x.y)", "$name", "@:a.b", "@user", ":count", ":smile:", "#sale", "<0>", "</0>", "<1/>", "<b>", "[[x]]",
    "__x__", r"\n", r"\t", r"\u00e9", "&nbsp;", "&#39;", "www.example.com/a?b=c",
    "f47ac10b-58cc-4372-a567-0e02b2c3d479", "abcdefab-abcd-abcd-abcd-abcdefabcdef",
    "v2.3.1", "2.3.1", "192.168.0.1", "sku-48213", "a1b2c3d4", "user_name", "MAX_SIZE", "README.md", "--verbose",
    "#ff00a1", "0x1F", "😆", "👩‍💻", "👍🏽", "🇩🇪", "1️⃣", "#️⃣", "*️⃣", "❤️",
]  # fmt: skip


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("frame", ["buy {} now", "订单 {} 。", "({})"])
def test_every_notation_is_one_span_that_must_survive(notation: str, frame: str) -> None:
    text = frame.replace("{}", notation)
    assert [text[start:end] for _, start, end in find_protected(text)] == [notation]
    assert changed_kinds(text, text) == frozenset()
    lost = {"emoji"} if find_kind(notation) == "emoji" else {"placeholder"}
    assert changed_kinds(text, frame.replace("{}", "")) >= lost
    assert changed_kinds(text, frame.replace("{}", f"{notation} {notation}")) >= lost
    for masked in masked_forms(text):
        assert unmask(masked.text, masked) == text


def find_kind(notation: str) -> str:
    return next(find_protected(notation))[0]


@pytest.mark.parametrize(
    "text",
    [
        "50% silk", "50 % de coton", "100%cotton", "C#", "R&D", "a: b", "10:30", "T-shirt", "covid-19", "pre-2000",
        "up-to-500", "size 42", "$5", "$1", "1,299.99", "2024-05-01", "215x10cm", "mp3", "a < b > c", "{a, b}", "1/2",
        "e.g. this", "Acme Corp.", "AT&T", "a@b", "™ © ®",
    ],
)  # fmt: skip
def test_prose_has_no_placeholders(text: str) -> None:
    assert [each for each in protected_spans(text) if each.kind != "quantity"] == []


@pytest.mark.parametrize(
    ("source", "answer", "changed"),
    [
        ("Blue cotton shirt for %{name}", "给{name}的蓝色纯棉衬衫", {"placeholder"}),
        ("Blue cotton shirt for %{name}", "给%{name}的蓝色纯棉衬衫", set()),
        ("Power adapter, %dW", "电源适配器 %d瓦", set()),
        ("Power adapter, %dW", "电源适配器 瓦", {"placeholder"}),
        ("%d%% cotton shirt", "%d%%纯棉衬衫", set()),
        ("%d%% cotton shirt", "%d%纯棉衬衫", {"placeholder"}),
        ("%s of %d", "%d的%s", {"placeholder"}),
        ("%s of %s", "%s的%s", set()),
        ("%1$s of %2$d", "%2$d的%1$s", set()),
        ("{a} of {b}", "{b}的{a}", set()),
        ("{name}", "{name}{name}", {"placeholder"}),
        ("shirt", "{name}衬衫", {"placeholder"}),
        ("{name}", "{ name }", {"placeholder"}),
        ("KJ54", "KJ54-XY", {"placeholder", "number"}),
        ("T 500", "T500", set()),
        ("sku-48213", "kDu-48213", {"placeholder", "number"}),
        ("shirt 😆", "衬衫", {"emoji"}),
        ("shirt 😆", "衬衫😆", set()),
        ("shirt 😆", "衬衫😆😆", {"emoji"}),
        ("I ❤️ tea", "我❤茶", set()),
        ("a 👩‍💻 mug", "👩马克杯", {"emoji"}),
    ],
)
def test_placeholders_are_compared_as_whole_tokens(source: str, answer: str, changed: set[str]) -> None:
    assert changed_kinds(source, answer, (), ("en", "zh")) == changed


@pytest.mark.parametrize(
    ("languages", "source", "answer"),
    [
        (("en", "de"), "$1,299.99", "1.299,99 $"),
        (("en", "fr"), "$1,299.99", "1 299,99 $"),
        (("en", "de"), "$5.00", "5 $"),
        (("en", "hi"), "1,234,567", "12,34,567"),
        (("en", "zh"), "10,000 pieces", "1万件"),
        (("en", "zh"), "1.5 million", "150万"),
        (("zh", "en"), "1.2亿", "120 million"),
        (("en", "zh"), "100000 people", "10万人"),
        (("en", "zh"), "5 people", "五个人"),
        (("en", "zh"), "25 people", "二十五人"),
        (("zh", "en"), "三件套", "3-Piece Set"),
        (("en", "zh"), "two shirts", "2件衬衫"),
        (("en", "zh"), "twenty-five shirts", "25件衬衫"),
        (("en", "zh"), "a pair", "1双"),
        (("de", "en"), "fünf Hemden", "5 shirts"),
        (("en", "zh"), "2nd edition", "第二版"),
        (("en", "zh"), "50%", "百分之五十"),
        (("en", "zh"), "25% off", "75折"),
        (("en", "zh"), "2024-05-01", "2024年5月1日"),
        (("en", "zh"), "May 1, 2024", "2024年5月1日"),
        (("zh", "en"), "2024年5月1日", "May 1, 2024"),
        (("en", "de"), "2024-05-01", "1. Mai 2024"),
        (("en", "de"), "05/01/2024", "01.05.2024"),
        (("en", "zh"), "at 2:30 pm", "下午2:30"),
        (("de", "en"), "um 14:30", "at 2:30 PM"),
        (("en", "zh"), "at 14:30", "14点30分"),
        (("en", "zh"), "at 2:30", "两点半"),
        (("en", "de"), "at 14:30", "um 14 Uhr 30"),
        (("en", "zh"), "$5", "5美元"),
        (("en", "de"), "5%-10%", "5-10 Prozent"),
        (("en", "de"), "+86 138-0013-8000", "+86 138 0013 8000"),
        (("en", "zh"), "call (555) 123-4567", "致电 555-123-4567"),
        (("en", "zh"), "USB 3.0", "USB3.0"),
        (("en", "zh"), "3.5 kg", "３.５公斤"),
        (("en", "ar"), "25 shirts", "٢٥"),
        (("en", "zh"), "Mug, 350ml", "马克杯 350毫升"),
        (("en", "zh"), "size 05", "5码"),
    ],
)
def test_a_number_may_be_formatted_anew_or_written_in_words(
    languages: tuple[str, str], source: str, answer: str
) -> None:
    assert changed_kinds(source, answer, (), languages) == frozenset()


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("50 people, 5 ml of rope", "拖把 50毫升"),
        ("5 ml", "50毫升"),
        ("50 ml", "5毫升"),
        ("$1,299.99", "199.99"),
        ("$1,299.99", "1,299.9"),
        ("$1", "美元"),
        ("2024-05-01", "2024-05岁"),
        ("2024-05-01", "2024年1月5日"),
        ("2024-05-01", "2024-05-02"),
        ("14:30", "12:30"),
        ("14:30", "14:03"),
        ("14:30", "14厘30厘米"),
        ("裙子 2024-05-01", "A skirt, A-Line, 2024-05"),
        ("37%", "37"),
        ("37% or 10%", "37或10%"),
        ("$5", "5"),
        ("5 €", "5"),
        ("3.0", "30"),
        ("0.5", "5"),
        ("1.299,5", "1.299"),
        ("007", "7"),
        ("5", "6"),
        ("5 and 5", "5"),
        ("5", "5和5"),
        ("shirt", "5件衬衫"),
        ("751324626113", "75132462611"),
        ("+86 138-0013-8000", "+86 138-0013-8001"),
        ("1/2", "1/3"),
        ("16:9", "16:10"),
        ("10-20", "10-200"),
        ("5 people", "六个人"),
        ("二十五人", "24 people"),
        ("Size 39", "38码"),
        ("75%", "57%"),
        ("12,34,567", "12,34,576"),
    ],
)
def test_a_number_that_became_another_is_noticed(source: str, answer: str) -> None:
    assert "number" in changed_kinds(source, answer, (), ("en", "zh"))


@pytest.mark.parametrize("number", ["1.23.45k", "12.345.67 million", "1.23.45折", "1'00,00.5千"])
def test_what_is_no_number_before_a_scale_is_compared_as_it_is_written(number: str) -> None:
    assert changed_kinds(f"about {number}", f"大约 {number}", (), ("en", "zh")) == frozenset()
    assert "number" in changed_kinds(f"about {number}", "大约 7", (), ("en", "zh"))


@given(
    st.lists(
        st.sampled_from([*NOTATIONS, "5", "1,299.99", "2024-05-01", "14:30", "shirt", "衬衫", "and"]),
        max_size=6,
    )
)
def test_a_text_keeps_all_that_it_has(parts: list[str]) -> None:
    text = " ".join(parts)
    assert changed_kinds(text, text) == frozenset()


@given(st.text(max_size=40))
def test_any_text_keeps_all_that_it_has(text: str) -> None:
    assert changed_kinds(text, text) == frozenset()


@given(st.integers(0, 10**7), st.data())
def test_a_changed_digit_is_noticed(number: int, data: st.DataObject) -> None:
    digits = str(number)
    place = data.draw(st.integers(0, len(digits) - 1))
    other = data.draw(st.sampled_from([each for each in "23456789" if each != digits[place]]))
    changed = digits[:place] + other + digits[place + 1 :]
    assert changed_kinds(f"Box {digits}", f"盒子 {changed}", (), ("en", "zh"))
    assert not changed_kinds(f"Box {digits}", f"盒子 {digits}", (), ("en", "zh"))


def test_masks_of_numbers_come_off() -> None:
    text = "50 people, 5 ml of {x}"
    assert masked_forms(text, numbers=True)[0].text == "QX10 people, QX11 of QX12"
    for masked in masked_forms(text, numbers=True):
        assert unmask(masked.text, masked) == text


def test_a_callers_own_placeholders_must_survive(spec: TranslationSpec) -> None:
    def terms(text: str, *expressions: str) -> list[str]:
        request = TranslateRequest((text,), ("en",), ("zh",), placeholders=expressions)
        (document,) = split_request(request, Languages(spec), TextBounds(100))
        return [term.text for each in document.segments for term in each.item.terms if term.is_placeholder]

    assert terms("shirt for <<name>> and ~x~", "<<[a-z]+>>", "~.~") == ["<<name>>", "~x~"]
    assert terms("shirt for aab", "a+", "ab") == ["aa"]
    assert terms("shirt for 用户名", "用户.") == ["用户名"]
    assert terms("shirt", "x*") == []
    assert terms("a" * 200, "(a*)*b") == []
    strict = Guards(dataclasses.replace(spec, guards=GuardSpec()))
    kept = CallerPlaceholders(["<<[a-z]+>>"]).terms("shirt for <<name>>")
    stop = FinishReason.STOP
    assert strict.flags("shirt for <<name>>", "给<<name>>的衬衫", "zh", stop, kept) == ()
    assert strict.flags("shirt for <<name>>", "给名字的衬衫", "zh", stop, kept) == ("placeholder",)


@pytest.mark.parametrize("expression", ["(", "(?=a)", "a{1,9999}", r"(a)\1"])
def test_what_is_no_expression_of_re2_is_refused(spec: TranslationSpec, expression: str) -> None:
    request = TranslateRequest(("shirt",), ("en",), ("zh",), placeholders=("a", expression))
    with pytest.raises(InvalidRequest, match=r"placeholders\[1\] is no expression of RE2"):
        split_request(request, Languages(spec), TextBounds(100))
