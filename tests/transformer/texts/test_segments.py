from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidRequest
from protocol.messages import Glossary, TextFormat, TranslateRequest
from protocol.normal_form import inner_range
from protocol.translation_spec import TranslationSpec
from transformer.errors import TooManySegments, TooManyTexts, UnusableText
from transformer.generation.item_keys import key_of
from transformer.texts.bounds import TextBounds
from transformer.texts.documents import with_outer_space_of, work_items
from transformer.texts.languages import Languages
from transformer.texts.segments import split_request
from transformer.texts.work_item import WorkItem

SPACE = st.text(" \t\n\u3000\u00a0\u2003", max_size=4)
WORDS = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    .map(str.strip)
    .filter(lambda text: inner_range(text) == (0, len(text)))
)


@given(SPACE, WORDS.filter(bool), SPACE, WORDS)
def test_outer_white_space_is_put_back_exactly(lead: str, words: str, tail: str, translation: str) -> None:
    assert with_outer_space_of(lead + words + tail, translation) == lead + translation + tail


@given(SPACE, WORDS)
def test_white_space_alone_stays_as_it_is(space: str, translation: str) -> None:
    assert with_outer_space_of(space, translation) == space


def asking(*texts: str, source: str | None = "en", target: str = "zh") -> TranslateRequest:
    return TranslateRequest(texts, (source,) * len(texts), (target,) * len(texts))


def item_of(spec: TranslationSpec, max_new_tokens: int | None = None) -> WorkItem:
    request = dataclasses.replace(asking("red shoes"), max_new_tokens=max_new_tokens)
    (item,) = work_items(split_request(request, Languages(spec), TextBounds(10)))
    return item


def test_equal_texts_are_one_item_and_different_pairs_are_two(spec: TranslationSpec) -> None:
    request = TranslateRequest(
        ("red shoes", " red shoes\n", "手机", "red shoes", "12"), (None,) * 5, ("zh", "zh", "en", "zh", "zh")
    )
    documents = split_request(request, Languages(spec), TextBounds(10))
    items = work_items(documents)
    segments = [(document.index, segment.item) for document in documents for segment in document.segments]
    assert [[index for index, each in segments if each is item] for item in items] == [[0, 1, 3], [2]]
    assert [item.index for item in items] == [0, 2]


def test_an_items_key_depends_on_release_and_limit(spec: TranslationSpec) -> None:
    items = [item_of(spec, limit) for limit in (None, None, 16, 17)]
    keys = {key_of(item, release) for item, release in zip(items, "abaa", strict=True)}
    assert len(keys) == 4
    assert key_of(item_of(spec, 16), "a") == key_of(items[2], "a")


def test_a_key_without_a_glossary_is_what_it_always_was(spec: TranslationSpec) -> None:
    """Entries of a Redis that older versions filled stay hits."""
    assert key_of(item_of(spec), "0123456789abcdef").hex() == "e4bd591ec97f05ac203892e7fe10cf74"
    assert key_of(item_of(spec, 16), "0123456789abcdef").hex() == "5a6b0cc3674e48eacdae86308c99be4c"


def test_a_glossary_is_part_of_the_keys_of_segments_that_it_concerns(spec: TranslationSpec) -> None:
    def keys(glossary: Glossary | None) -> list[bytes]:
        request = dataclasses.replace(asking("Red shoes. Blue hat."), glossary=glossary)
        return [
            key_of(item, "a") for item in work_items(split_request(request, Languages(spec), TextBounds(10)))
        ]

    plain = keys(None)
    assert keys(Glossary((("coat", "大衣"),))) == plain
    touched = keys(Glossary((("shoes", "鞋"),)))
    assert touched[0] != plain[0]
    assert touched[1] == plain[1]
    assert keys(Glossary((("shoes", "鞋"), ("coat", "大衣")))) == touched
    assert keys(Glossary((("shoes", "跑鞋"),)))[0] not in (plain[0], touched[0])


def test_requests_that_cannot_be_taken_are_refused(spec: TranslationSpec) -> None:
    languages = Languages(spec)
    with pytest.raises(TooManyTexts, match="3 texts, at most 2"):
        split_request(asking("a", "b", "c"), languages, TextBounds(2))
    with pytest.raises(UnusableText, match=r"text 1: .*surrogate"):
        split_request(asking("a", "b\ud800"), languages, TextBounds(2))
    with pytest.raises(InvalidRequest, match="same length"):
        split_request(TranslateRequest(("a",), (None, None), ("zh",)), languages, TextBounds(2))


def restored(
    text: str, spec: TranslationSpec, text_format: TextFormat = TextFormat.TEXT, **words: str
) -> str:
    """``text`` with some of its segments translated as ``words`` says, the others as they are."""
    request = TranslateRequest((text,), (None,), ("zh",), text_format=text_format)
    (document,) = split_request(request, Languages(spec), TextBounds(100))
    return document.restore(
        {part.item: words.get(part.item.text, part.item.text) for part in document.segments}
    )


SENTENCES = st.lists(
    st.sampled_from(["It is red.", "Do you?", "{a}", "12", "你好。", " ", "\n\n", "\u3000", "Yes"])
)


@given(SENTENCES.map("".join))
def test_a_text_whose_sentences_stay_stays(spec: TranslationSpec, text: str) -> None:
    assert "".join(restored(text, spec).split()) == "".join(text.split())


@given(
    st.lists(
        st.sampled_from(["It is red.  ", "Do you?\r\n", " Yes.  ", "Red 12. ", "No {a}. ", "Wow! "])
    ).map("".join)
)
def test_sentences_are_joined_with_the_white_space_that_was_there(spec: TranslationSpec, text: str) -> None:
    assert restored(text, spec) == text


def test_chinese_sentences_get_a_space_when_they_become_english(spec: TranslationSpec) -> None:
    request = TranslateRequest(("你好。多少钱？好",), ("zh",), ("en",))
    (document,) = split_request(request, Languages(spec), TextBounds(100))
    english = {"你好。": "Hello.", "多少钱？": "How much?", "好": "Good"}
    translations = {part.item: english[part.item.text] for part in document.segments}
    assert document.restore(translations) == "Hello. How much? Good"


def test_a_release_may_keep_texts_whole_that_are_not_too_long(spec: TranslationSpec) -> None:
    text = "It is red. Do you like it?"
    for whole, segments in ((True, 1), (False, 2)):
        is_whole = {text: whole}.__getitem__
        (document,) = split_request(asking(text), Languages(spec), TextBounds(10), is_whole)
        assert len(list(document.segments)) == segments


MARKED_UP = [
    ('<p title="red">red</p>\n<b>{a}</b> 12', '<p title="red">红 &lt;&amp;</p>\n<b>{a}</b> 12'),
    ("<pre>red</pre>&nbsp;red&#160;<!-- red -->", "<pre>red</pre>&nbsp;红 &lt;&amp;&#160;<!-- red -->"),
    ("bl&#117;e <p>red</p>", "bl&#117;e <p>红 &lt;&amp;</p>"),
]


@pytest.mark.parametrize(("source", "translated"), MARKED_UP)
def test_markup_stays_in_place_and_only_translations_are_escaped(
    spec: TranslationSpec, source: str, translated: str
) -> None:
    assert restored(source, spec, TextFormat.HTML, red="红 <&") == translated


def test_what_holds_no_words_of_its_own_needs_no_model(spec: TranslationSpec) -> None:
    request = TranslateRequest(
        ("{name}", "https://example.com", "<b title='red'></b>"),
        (None,) * 3,
        ("zh",) * 3,
        text_format=TextFormat.HTML,
    )
    assert work_items(split_request(request, Languages(spec), TextBounds(10))) == []


def test_a_request_that_comes_to_too_many_sentences_is_refused(spec: TranslationSpec) -> None:
    with pytest.raises(TooManySegments, match="11 sentences or text nodes, at most 10"):
        split_request(asking("It is red. " * 11), Languages(spec), TextBounds(10))


def test_malformed_xml_names_its_text_and_place(spec: TranslationSpec) -> None:
    request = TranslateRequest(("<a/>", "<a>"), ("en",) * 2, ("zh",) * 2, text_format=TextFormat.XML)
    with pytest.raises(UnusableText, match=r"text 1: .*xml: line 1"):
        split_request(request, Languages(spec), TextBounds(10))
