"""Pieces of a document add up to what it is restored to, however its translations grow."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import InternalFault
from protocol.messages import TextFormat, TranslateRequest
from protocol.translation_spec import TranslationSpec
from transformer.streaming.document_writer import DocumentWriter, Progress
from transformer.texts.bounds import TextBounds
from transformer.texts.documents import Document, follow_up_items, work_items
from transformer.texts.languages import Languages
from transformer.texts.segments import split_request
from transformer.texts.work_item import WorkItem, WorkResult

SENTENCES = st.sampled_from(["One. ", "Two!\n\n", " 三。", "四！", "five", "\u3000Six? ", "12 ", "A (b). "])
TEXTS = st.lists(SENTENCES, max_size=6).map("".join)
MARKUP_PARTS = st.sampled_from(
    ["<p>One. Two.</p>", " &lt;x ", "<br>", "<b>\n three</b>", "<b>five</b> six, "]
)
MARKUP = st.lists(MARKUP_PARTS, max_size=5).map("".join)
TRANSLATIONS = st.text(st.sampled_from("aB9.!?\"'( \n。三¿é\u2028"), max_size=12)


def document_of(spec: TranslationSpec, text: str, text_format: TextFormat, source: str = "en") -> Document:
    target = "zh" if source == "en" else "en"
    request = TranslateRequest((text,), (source,), (target,), text_format=text_format)
    (document,) = split_request(request, Languages(spec), TextBounds(100))
    return document


@settings(max_examples=300)
@given(data=st.data(), source=st.sampled_from(["en", "zh"]), markup=st.booleans())
def test_pieces_add_up_to_the_restored_document(
    spec: TranslationSpec, data: st.DataObject, source: str, markup: bool
) -> None:
    text = data.draw(MARKUP if markup else TEXTS)
    document = document_of(spec, text, TextFormat.HTML if markup else TextFormat.TEXT, source)
    items = work_items([document])
    raw = {item: data.draw(TRANSLATIONS) for item in items}
    more = follow_up_items([document], {item: WorkResult(text.strip(), 1.0) for item, text in raw.items()})
    items += [item for item in more if item not in raw]
    raw |= {item: data.draw(TRANSLATIONS) for item in items if item not in raw}
    whole = {item: translation.strip() for item, translation in raw.items()}
    writer = DocumentWriter(document)
    progress: dict[WorkItem, Progress] = {}
    pieces = [writer.write(progress)]
    while not all(item in progress and progress[item].complete for item in items):
        item = data.draw(st.sampled_from(items))
        known = progress.get(item, Progress("", complete=False))
        if not known.complete:
            size = data.draw(st.integers(len(known.text), len(raw[item])))
            # While it grows it has the white space that the model wrote; the complete one has none outside.
            complete = size == len(raw[item])
            progress[item] = Progress(whole[item] if complete else raw[item][:size], complete)
        pieces.append(writer.write(progress))
    assert "".join(pieces) == document.restore(whole)
    assert writer.is_complete
    assert writer.write(progress) == ""


def test_a_plain_sentence_comes_as_it_grows(spec: TranslationSpec) -> None:
    document = document_of(spec, " One. Two. ", TextFormat.TEXT)
    first, second = document.segments
    writer = DocumentWriter(document)
    assert writer.write({first.item: Progress("  ", complete=False)}) == ""
    assert writer.write({first.item: Progress("ab ", complete=False)}) == " ab"
    assert writer.write({first.item: Progress("ab c", complete=False)}) == " c"
    later = {first.item: Progress("ab c", complete=True), second.item: Progress("(d", complete=False)}
    assert writer.write(later) == " (d"
    assert not writer.is_complete


def test_a_sentence_that_the_model_begins_with_a_space_goes_on_as_it_began(spec: TranslationSpec) -> None:
    document = document_of(spec, "三。One.", TextFormat.TEXT)
    first, second = document.segments
    writer = DocumentWriter(document)
    known = {first.item: Progress("99", complete=True), second.item: Progress(" 9", complete=False)}
    assert writer.write(known) == "99 9"
    assert writer.write(known | {second.item: Progress("98", complete=True)}) == "8"


def test_a_later_sentence_waits_for_the_one_before(spec: TranslationSpec) -> None:
    document = document_of(spec, "One. Two.", TextFormat.TEXT)
    first, second = document.segments
    writer = DocumentWriter(document)
    assert writer.write({second.item: Progress("b", complete=True)}) == ""
    both = {first.item: Progress("a", complete=True), second.item: Progress("b", complete=True)}
    assert writer.write(both) == "a b"


def test_what_needs_no_translation_waits_for_what_does(spec: TranslationSpec) -> None:
    document = document_of(spec, "<p>One</p>", TextFormat.HTML)
    (segment,) = document.segments
    writer = DocumentWriter(document)
    assert writer.write({}) == ""
    assert writer.write({segment.item: Progress("<", complete=True)}) == "<p>&lt;</p>"


def test_a_translation_that_changes_is_a_fault(spec: TranslationSpec) -> None:
    document = document_of(spec, "One.", TextFormat.TEXT)
    (segment,) = document.segments
    writer = DocumentWriter(document)
    writer.write({segment.item: Progress("abc", complete=False)})
    with pytest.raises(InternalFault, match="changed"):
        writer.write({segment.item: Progress("xyz", complete=True)})
