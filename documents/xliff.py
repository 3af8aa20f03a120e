"""XLIFF 1.2 and 2: the sources of units without a translation are translated into their targets.

A target that a person has written stays: only absent and empty targets are filled, and those whose state says
that they are not translated. Inline codes travel as XML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from documents.interface import DocumentLanguages, FileFormatError, TextUnit, UnitTranslation
from documents.splices import Splice
from documents.string_markup import is_icu_message
from documents.xml_tree import XmlDocument, XmlElement, escape_xml, parse_xml
from protocol.messages import TextFormat

_UNTRANSLATED = {"1": ("new", "needs-translation"), "2": ("initial",)}
"""States of targets that may be replaced, by version."""
_TO_REVIEW = "needs-review-translation"
_STATE = re.compile(rb"""(\sstate\s*=\s*)("[^"]*"|'[^']*')""")


@dataclass(frozen=True, slots=True)
class XliffSegment:
    """A source that is to be translated."""

    source: XmlElement
    target: XmlElement | None
    behind: XmlElement
    """The element that a new target follows."""
    place: str
    context: str


class XliffFile:
    """A document of one of the two versions."""

    def __init__(self, document: XmlDocument, languages: DocumentLanguages) -> None:
        self._document, self._languages = document, languages
        version = document.root.attributes.get("version", "")[:1]
        if document.root.local_name != "xliff" or version not in _UNTRANSLATED:
            raise FileFormatError("it is not XLIFF of version 1 or 2")
        self._version = version
        self._segments = list(self._found())
        self.units = [self._unit(each) for each in self._segments]

    def render(self, translations: Sequence[UnitTranslation]) -> bytes:
        """The document with targets; a unit without a translation keeps what it has."""
        splices = [
            self._target(segment, unit, answer)
            for segment, unit, answer in zip(self._segments, self.units, translations, strict=True)
            if answer.text is not None
        ]
        if splices:
            splices += self._language_marks()
        return self._document.with_splices(splices)

    def _found(self) -> Iterator[XliffSegment]:
        unit_name, segment_name = ("trans-unit", None) if self._version == "1" else ("unit", "segment")
        for unit in self._document.root.descendants():
            if unit.local_name != unit_name or not _is_translatable(unit):
                continue
            place = f"unit {unit.attributes.get('id', '')}"
            notes = (self._document.text(each) for each in unit.descendants() if each.local_name == "note")
            context = "\n".join((unit.attributes.get("resname", ""), *notes)).strip()
            segments = [unit] if segment_name is None else unit.children_named(segment_name)
            for segment in segments:
                yield from self._of_segment(segment, place, context)

    def _of_segment(self, segment: XmlElement, place: str, context: str) -> Iterator[XliffSegment]:
        sources, targets = segment.children_named("source"), segment.children_named("target")
        if not sources or not self._document.raw(sources[0]).strip():
            return
        target = targets[0] if targets else None
        if target is not None and self._document.raw(target).strip():
            holder = target if self._version == "1" else segment
            if holder.attributes.get("state") not in _UNTRANSLATED[self._version]:
                return
        behind = (segment.children_named("seg-source") or sources)[0]
        yield XliffSegment(sources[0], target, behind, place, context)

    def _unit(self, segment: XliffSegment) -> TextUnit:
        if segment.source.children:
            raw = self._document.raw(segment.source).decode()
            return TextUnit(raw, TextFormat.XML, segment.place, segment.context)
        text = self._document.text(segment.source)
        text_format = TextFormat.ICU if is_icu_message(text) else TextFormat.TEXT
        return TextUnit(text, text_format, segment.place, segment.context)

    def _target(self, segment: XliffSegment, unit: TextUnit, answer: UnitTranslation) -> Splice:
        text = answer.text or ""
        inner = (text if unit.text_format is TextFormat.XML else escape_xml(text)).encode()
        source = self._document.source
        if segment.target is not None:
            name, old = segment.target.name, source[segment.target.start : segment.target.inner_start]
            start_tag = self._with_state(old.removesuffix(b"/>").rstrip(b">"), answer.is_flagged) + b">"
            element = start_tag + inner + f"</{name}>".encode()
            return Splice(segment.target.start, segment.target.end, element)
        prefix, colon, _ = segment.source.name.rpartition(":")
        name = f"{prefix}{colon}target"
        state = f' state="{_TO_REVIEW}"' if answer.is_flagged and self._version == "1" else ""
        element = f"<{name}{state}>".encode() + inner + f"</{name}>".encode()
        return Splice(segment.behind.end, segment.behind.end, _indentation(source, segment.source) + element)

    def _with_state(self, start_tag: bytes, is_flagged: bool) -> bytes:
        if self._version != "1":
            return start_tag
        state = _TO_REVIEW if is_flagged else "translated"
        if _STATE.search(start_tag):
            return _STATE.sub(lambda found: found[1] + f'"{state}"'.encode(), start_tag)
        return start_tag + (f' state="{state}"'.encode() if is_flagged else b"")

    def _language_marks(self) -> Iterator[Splice]:
        """Start tags with the target's language, where it is not stated."""
        root = self._document.root
        holders = root.children_named("file") if self._version == "1" else [root]
        name = "target-language" if self._version == "1" else "trgLang"
        for holder in holders:
            if name not in holder.attributes:
                yield self._document.with_attribute(holder, name, self._languages.target)


def _is_translatable(unit: XmlElement) -> bool:
    if unit.attributes.get("approved") == "yes":
        return False
    holder: XmlElement | None = unit
    while holder is not None:
        stated = holder.attributes.get("translate")
        if stated is not None:
            return stated != "no"
        holder = holder.parent
    return True


def _indentation(source: bytes, element: XmlElement) -> bytes:
    """White space before an element, from the line end on."""
    space = source[source.rfind(b">", 0, element.start) + 1 : element.start]
    return space[space.rfind(b"\n") :] if b"\n" in space and not space.strip() else b""


def parse(data: bytes, languages: DocumentLanguages) -> XliffFile:
    """Read an XLIFF document.

    Raises:
        FileFormatError: it is not well-formed, or not XLIFF.
    """
    return XliffFile(parse_xml(data), languages)
