"""XML documents; the service keeps their markup."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, pairwise

from documents.interface import DocumentLanguages
from documents.markup_parts import UNTRANSLATED_ATTRIBUTES, MarkupPart, MarkupParts, cut, fits
from documents.xml_tree import XmlDocument, XmlElement, decode_xml, parse_xml_text
from protocol.messages import TextFormat


def _parts(document: XmlDocument) -> Iterator[MarkupPart]:
    """The document in parts that are well-formed by themselves, and tags between them."""
    root = document.root
    yield MarkupPart(document.source[: root.start].decode(), is_translated=False)
    yield from _of_element(document, root)
    yield MarkupPart(document.source[root.end :].decode(), is_translated=False)


def _of_element(document: XmlDocument, element: XmlElement) -> Iterator[MarkupPart]:
    raw = document.source[element.start : element.end].decode()
    if fits(raw) or not _is_divisible(document, element):
        yield MarkupPart(raw)
        return
    yield MarkupPart(document.source[element.start : element.children[0].start].decode(), is_translated=False)
    small: list[XmlElement] = []
    for child, following in zip(element.children, [*element.children[1:], None], strict=True):
        text = document.source[child.start : child.end].decode()
        if fits(text):
            small.append(child)
            continue
        yield from _run(document, small, child.start)
        small = []
        yield from _of_element(document, child)
        if following is not None:
            yield MarkupPart(document.source[child.end : following.start].decode(), is_translated=False)
    yield from _run(document, small, element.children[-1].end)
    yield MarkupPart(document.source[element.children[-1].end : element.end].decode(), is_translated=False)


def _run(document: XmlDocument, elements: list[XmlElement], end: int) -> Iterator[MarkupPart]:
    """Neighbouring elements, up to ``end``."""
    if elements:
        raw = document.source[elements[0].start : end].decode()
        starts = [each.start for each in elements]
        lengths = (len(document.source[start:behind].decode()) for start, behind in pairwise(starts))
        yield from cut(raw, accumulate(lengths))


def _is_divisible(document: XmlDocument, element: XmlElement) -> bool:
    """Whether the children of an element may be translated without it: no text between them, no mark on it."""
    if not element.children or any(name in element.attributes for name in UNTRANSLATED_ATTRIBUTES):
        return False
    ends = [element.inner_start, *(child.end for child in element.children)]
    starts = [*(child.start for child in element.children), element.inner_end]
    return not any(document.source[end:start].strip() for end, start in zip(ends, starts, strict=True))


def parse(data: bytes, languages: DocumentLanguages) -> MarkupParts:
    """Read a document, or a part of one.

    Raises:
        FileFormatError: the bytes are not text, or a large document is not well-formed.
    """
    text, encoding = decode_xml(data)
    if fits(text):
        return MarkupParts([MarkupPart(text)], TextFormat.XML, encoding)
    return MarkupParts(list(_parts(parse_xml_text(text, encoding))), TextFormat.XML, encoding)
