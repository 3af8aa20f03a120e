"""Tags come back around what corresponds; whatever the answer is, each once and nested as they were."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.messages import MarkupOptions, TextFormat, TranslateRequest, Translation
from protocol.translation_spec import TranslationSpec
from transformer.errors import UnusableText
from transformer.texts.bounds import TextBounds
from transformer.texts.documents import follow_up_items, translation_of, work_items
from transformer.texts.html_tokens import HtmlTokenizer
from transformer.texts.inline_tags import MAX_DEPTH, MAX_TAGS
from transformer.texts.languages import Languages
from transformer.texts.markup_tokens import TokenKind
from transformer.texts.segments import split_request
from transformer.texts.work_item import WorkItem, WorkResult

HTML, XML = TextFormat.HTML, TextFormat.XML
CHINESE = {
    "blue": "蓝色", "cotton": "纯棉", "shirt": "衬衫", "red": "红色", "hello": "你好", "use": "用", "to": "以",
    "install": "安装", "for": "适合", "men": "男士", "cup": "杯子", "click": "点击", "here": "这里", "and": "和",
}  # fmt: skip


def chinese(text: str) -> str:
    """A translation word by word, with the colour behind the cotton."""
    words = re.findall(r"[A-Za-z]+|[^\sA-Za-z]+", text)
    return "".join(CHINESE.get(word.lower(), word) for word in words).replace("蓝色纯棉", "纯棉蓝色")


def translated(
    source: str,
    spec: TranslationSpec,
    text_format: TextFormat = HTML,
    answers: dict[str, str] | None = None,
    **options: object,
) -> Translation:
    """The answer of a model that translates word by word, but for ``answers``."""
    markup = MarkupOptions(**options)  # type: ignore[arg-type]
    request = TranslateRequest((source,), ("en",), ("zh",), text_format=text_format, markup=markup)
    documents = split_request(request, Languages(spec), TextBounds(1_000))

    def results(items: list[WorkItem]) -> dict[WorkItem, WorkResult]:
        return {item: WorkResult((answers or {}).get(item.text) or chinese(item.text), 1.0) for item in items}

    found = results(work_items(documents))
    found |= results(follow_up_items(documents, found))
    return translation_of(documents[0], found)


PLACED = [
    ("<p>Blue <b>cotton</b> shirt</p>", "<p><b>纯棉</b>蓝色衬衫</p>"),
    ("<b>Blue</b> cotton shirt.", "纯棉<b>蓝色</b>衬衫."),
    ("<p><b>Blue cotton shirt</b></p>", "<p><b>纯棉蓝色衬衫</b></p>"),
    (
        "<a href='x?a=1&amp;b'><b>Blue</b> <i>cotton</i></a> shirt",
        "<a href='x?a=1&amp;b'><i>纯棉</i><b>蓝色</b></a>衬衫",
    ),
    ("Blue <b>  cotton\n </b>shirt", "<b>纯棉</b>蓝色衬衫"),
    ("Hello, <!-- -->blue shirt", "你好,<!-- -->蓝色衬衫"),
    ("<b>B</b>lue shirt", "<b>蓝色</b>衬衫"),
    ("Blue H<sub>2</sub>O cup", "蓝色H<sub>2</sub>O杯子"),
    ("Blue <img src=a>shirt", "蓝色<img src=a>衬衫"),
    ('Blue <x id="1"/>shirt', '蓝色<x id="1"/>衬衫'),
    ("<g id='1'>Blue</g> <b0></b0>cotton shirt", "纯棉<g id='1'>蓝色</g><b0></b0>衬衫"),
    ("<i>Hello. Blue</i> shirt. <u>Red</u> shirt.", "<i>你好. 蓝色</i>衬衫. <u>红色</u>衬衫."),
    ("Blue &lt;<b>cotton</b>&gt; shirt", "蓝色&lt;<b>纯棉</b>&gt;衬衫"),
    (
        "Click <a href=x>here</a>, <a href=y>here</a> and here",
        "点击<a href=x>这里</a>,<a href=y>这里</a>和这里",
    ),
    ("Use <code>npm &amp; i</code> to install", "用<code>npm &amp; i</code>以安装"),
    ("<span class=notranslate>Acme</span> blue shirt", "<span class=notranslate>Acme</span> 蓝色衬衫"),
    ("Blue <b>shirt", "蓝色<b>衬衫"),
    ("Blue</b> shirt", "蓝色</b>衬衫"),
    ("Blue <i><b></b></i>shirt", "蓝色<i><b></b></i>衬衫"),
    ("<b translate=yes>Blue</b> shirt&nbsp;", "<b translate=yes>蓝色</b>衬衫&nbsp;"),
]


@pytest.mark.parametrize(("source", "wanted"), PLACED)
def test_tags_are_put_around_what_corresponds(spec: TranslationSpec, source: str, wanted: str) -> None:
    answer = translated(source, spec, answers={"Use npm & i to install": "用npm & i以安装"})
    assert (answer.text, answer.flags) == (wanted, ())


def test_what_its_own_translation_does_not_find_is_found_by_the_difference(spec: TranslationSpec) -> None:
    answer = translated("Blue <b>cotton</b> shirt", spec, answers={"cotton": "棉花"})
    assert (answer.text, answer.flags) == ("<b>纯棉</b>蓝色衬衫", ())


def test_what_is_not_found_at_all_is_placed_by_its_position_and_flagged(spec: TranslationSpec) -> None:
    answers = {"cotton": "亚麻", "Blue shirt": "天空"}
    answer = translated("Blue <b>cotton</b> shirt", spec, answers=answers)
    assert answer.flags == ("markup",)
    assert re.sub(r"</?b>", "", answer.text) == "纯棉蓝色衬衫"


def test_a_kept_element_that_the_answer_lost_is_put_in_again(spec: TranslationSpec) -> None:
    answer = translated("Use <code>npm</code> to install", spec, answers={"Use npm to install": "用以安装"})
    assert "<code>npm</code>" in answer.text
    assert answer.flags == ("markup",)


def test_template_tags_keep_their_order(spec: TranslationSpec) -> None:
    answer = translated("<% if a %><p>Blue {% if b %}cotton{% endif %} shirt</p><% end %>", spec)
    tags = re.findall(r"<%.*?%>|\{%.*?%\}", answer.text)
    assert tags == ["<% if a %>", "{% if b %}", "{% endif %}", "<% end %>"]


def test_attributes_are_translated_on_demand(spec: TranslationSpec) -> None:
    source = "<p title='blue shirt'>Red <img alt=shirt> cup</p><meta name=description content=\"red 'cup'\">"
    description = '<meta name=description content="红色&#x27;杯子&#x27;">'
    wanted = f"<p title='蓝色衬衫'>红色<img alt=\"衬衫\">杯子</p>{description}"
    assert translated(source, spec, translate_attributes=True).text == wanted
    assert translated(source, spec).text == source.replace(
        "Red <img alt=shirt> cup", "红色<img alt=shirt>杯子"
    )


def test_cdata_is_translated_on_demand(spec: TranslationSpec) -> None:
    source = "<a><![CDATA[<p>Red <b>cup</b></p>]]><c><![CDATA[blue cup]]></c></a>"
    assert translated(source, spec, XML).text == source
    wanted = "<a><![CDATA[<p>红色<b>杯子</b></p>]]><c><![CDATA[蓝色]]]]><![CDATA[>杯子]]></c></a>"
    answers = {"blue cup": "蓝色]]>杯子"}
    assert translated(source, spec, XML, answers, translate_cdata=True).text == wanted


def test_tags_of_a_callers_own_are_kept_or_split_at(spec: TranslationSpec) -> None:
    source = "<d>Blue <keep>red</keep> cup <k>red</k></d>"
    answers = {"Blue red cup red": "蓝色red杯子红色"}
    kept = translated(source, spec, XML, answers, ignore_tags=frozenset({"keep"}))
    assert kept.text == "<d>蓝色<keep>red</keep>杯子<k>红色</k></d>"
    split = translated(
        source, spec, XML, splitting_tags=frozenset({"keep", "k"}), ignore_tags=frozenset({"k"})
    )
    assert split.text == "<d>蓝色 <keep>红色</keep> 杯子 <k>red</k></d>"


@pytest.mark.parametrize("count", [MAX_DEPTH + 1, MAX_TAGS + 1])
def test_too_many_tags_keep_their_order(spec: TranslationSpec, count: int) -> None:
    opening, closing = (
        "".join(f"<b{n}>" for n in range(count)),
        "".join(f"</b{n}>" for n in reversed(range(count))),
    )
    answer = translated(f"Blue {opening}cotton{closing} shirt", spec)
    assert re.findall(r"<[^>]*>", answer.text) == re.findall(r"<[^>]*>", opening + closing)


def test_a_page_written_on_one_line_has_the_same_segments(spec: TranslationSpec) -> None:
    pretty = "<ul>\n  <li>\n    Blue\n    <b>cotton</b>\n    shirt\n  </li>\n</ul>\n<p>\n  Red\n  cup\n</p>"
    minified = "<ul><li>Blue <b>cotton</b> shirt</li></ul><p>Red cup</p>"

    def items(page: str) -> list[WorkItem]:
        request = TranslateRequest((page,), ("en",), ("zh",), text_format=HTML)
        return work_items(split_request(request, Languages(spec), TextBounds(100)))

    assert items(pretty) == items(minified)


FLOODS = {
    "unended": "red <b>" * 5_000,
    "kept": "red <code>x</code> " * 2_000,
    "many elements": ("red <b>cup</b> " * 60 + ". ") * 4,
    "comments": "red <!-- -->" * 5_000,
    "deep": f"{'<b>' * 3_000}red {'</b>' * 3_000}cup",
}


@pytest.mark.parametrize("source", FLOODS.values(), ids=FLOODS)
@pytest.mark.untraced
def test_a_flood_of_tags_takes_no_longer_than_its_length(spec: TranslationSpec, source: str) -> None:
    started = time.thread_time()
    answer = translated(source, spec).text
    assert time.thread_time() - started < 3.0
    assert sorted(tags_of(answer)) == sorted(tags_of(source))


PLAIN = [
    "<p>Blue cotton\n    shirt</p>",
    "<p>Blue cot&shy;ton shirt</p>",
    "Blue cot\u200bton shirt",
    "<p>Blue&nbsp;cotton shirt</p>",
    "\ufeffBlue cotton shirt",
    "<ul><li translate=no>AcmeCorp<li>Blue cotton shirt</ul>",
    "<!-->Blue cotton shirt",
    "Blue <b>cotton</b> shirt",
    "Blue co<!-- -->tton shirt",
    "<b>B</b>lue cotton shirt",
    "<div>\n\tBlue\r\n\tcotton <i>\n shirt</i>\n</div>",
]


@pytest.mark.parametrize("source", PLAIN)
def test_a_sentence_in_a_page_is_the_plain_sentence(spec: TranslationSpec, source: str) -> None:
    request = TranslateRequest((source,), ("en",), ("zh",), text_format=HTML)
    (document,) = split_request(request, Languages(spec), TextBounds(10))
    (segment,) = document.segments
    assert segment.item == WorkItem("Blue cotton shirt", "en", "zh")


WORDS = st.sampled_from(
    ["Blue ", "cotton", " shirt", " ", "Red cup. ", "&amp;", "é ", "\n", "hello", "2", ", "]
)
INLINE = st.sampled_from(["b", "i", "a href='#'", "span", "x1", "em class=c"])
LEAVES = st.one_of(
    WORDS, st.sampled_from(["<br>", "<img alt=red>", "<!-- c -->", "<code>cup</code>", "<x id='1'/>"])
)


def _element(name: str, inner: list[str]) -> str:
    return f"<{name}>{''.join(inner)}</{name.split()[0]}>"


NODES = st.recursive(
    LEAVES, lambda inner: st.builds(_element, INLINE, st.lists(inner, max_size=4)), max_leaves=12
)
BLOCKS = st.builds(_element, st.sampled_from(["p", "li", "td", "h1"]), st.lists(NODES, max_size=5))
PAGES = st.lists(st.one_of(BLOCKS, NODES), max_size=5).map("".join)
ANSWERS = st.sampled_from(["", "蓝色", "cup cup", "<b>", "{x} red", "衬衫。", " a ", "Blue cotton shirt"])


def tags_of(page: str) -> list[str]:
    kinds = (TokenKind.START, TokenKind.END, TokenKind.OTHER, TokenKind.TEMPLATE)
    return [page[each.start : each.end] for each in HtmlTokenizer(page).tokens() if each.kind in kinds]


def is_nested(tags: list[str]) -> bool:
    """Whether each end tag ends the element that began last."""
    names: list[str] = []
    for tag in tags:
        name = re.split(r"[\s/>]", tag.lstrip("</"), maxsplit=1)[0]
        if tag.startswith("</"):
            if not names or names.pop() != name:
                return False
        elif not tag.startswith(("<!", "<br", "<img", "<x ")):
            names.append(name)
    return not names


@given(data=st.data(), page=PAGES)
def test_the_tags_of_any_page_come_back_once_and_nested(
    spec: TranslationSpec, data: st.DataObject, page: str
) -> None:
    request = TranslateRequest((page,), ("en",), ("zh",), text_format=HTML)
    documents = split_request(request, Languages(spec), TextBounds(1_000))
    results: dict[WorkItem, WorkResult] = {}
    for items in (work_items(documents), None):
        for item in items if items is not None else follow_up_items(documents, results):
            answer = data.draw(st.one_of(ANSWERS, st.just(chinese(item.text))))
            results[item] = WorkResult(answer, 1.0)
    answer = translation_of(documents[0], results).text
    assert sorted(tags_of(answer)) == sorted(tags_of(page))
    assert is_nested(tags_of(page))
    assert is_nested(tags_of(answer))


@given(page=PAGES, changes=st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=2)), max_size=4))
def test_a_page_with_changed_bytes_keeps_its_tags(
    spec: TranslationSpec, page: str, changes: list[tuple[int, bytes]]
) -> None:
    data = page.encode()
    for place, new in changes:
        place %= len(data) + 1
        data = data[:place] + new + data[place + 1 :]
    source = data.decode(errors="replace")
    for text_format in (HTML, XML):
        try:
            answer = translated(source, spec, text_format).text
        except UnusableText:
            assert text_format is XML
            continue
        assert sorted(tags_of(answer)) == sorted(tags_of(source)) or text_format is XML
        assert answer.count("<") == source.count("<") or "<" in chinese(source)
