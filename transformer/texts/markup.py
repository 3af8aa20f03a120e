"""Takes HTML and XML apart: what is kept byte for byte, and runs of text with the tags that stand within them. Pure.

A run is the text between two tags that a sentence ends at, as a browser shows it: entities resolved, white space
collapsed, across the tags inside of it (``Blue <b>cotton</b> shirt``). Everything has its place in the source.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from protocol.messages import DEFAULT_MARKUP, MarkupOptions, TextFormat
from transformer.texts import elements
from transformer.texts.html_tokens import HtmlTokenizer
from transformer.texts.markdown_writing import MarkdownWriting
from transformer.texts.markup_tokens import AttributeRange, MarkupToken, TokenKind, attributes_of
from transformer.texts.open_elements import HtmlElements, XmlElements
from transformer.texts.xml_tokens import xml_tokens

_ENTITY = r"&(?:#[0-9]+;?|#[xX][0-9A-Fa-f]+;?|[A-Za-z][A-Za-z0-9]{0,31};?)"
_NOT_LITERAL = re.compile(rf"{_ENTITY}|[ \t\n\f\r]{{2,}}|[\t\n\f\r]")
_ENTITIES = re.compile(_ENTITY)
_SPACE = " \t\n\f\r"
_MAY_SAY = re.compile(r"transl|xml:space", re.IGNORECASE)
_PROSE_ATTRIBUTES = frozenset({"alt", "title", "placeholder", "aria-label"})
_DESCRIPTIONS = elements.names(
    "description og:title og:description og:image:alt twitter:title twitter:description"
)
_UNSEEN = elements.names("noscript plaintext script style svg template textarea iframe noembed noframes")
"""Kept elements whose content is no part of the sentence around them."""
_HTML_IN_CDATA = re.compile(r"<[A-Za-z/!]|&[#A-Za-z]")


class InlineKind(Enum):
    """What a tag within a run is."""

    OPEN = "open"
    CLOSE = "close"
    POINT = "point"
    """An element without text."""
    COMMENT = "comment"
    """A comment, or a declaration: its place matters to no reader."""
    TEMPLATE = "template"
    """A template tag: its place among others like it matters."""
    KEPT = "kept"
    """An element whose text is not translated."""


_INLINE_KINDS = {
    TokenKind.START: InlineKind.OPEN,
    TokenKind.END: InlineKind.CLOSE,
    TokenKind.TEMPLATE: InlineKind.TEMPLATE,
    TokenKind.OTHER: InlineKind.COMMENT,
}


@dataclass(frozen=True, slots=True)
class InlineTag:
    """A tag within a run of text, or all of an element there that is kept."""

    kind: InlineKind
    offset: int
    """Its place in the text of the run."""
    start: int
    end: int
    """Range in the source."""
    name: str = ""
    text_end: int = -1
    """Where its text ends, in the text of the run; negative for none."""
    attributes: tuple[AttributeRange, ...] = ()
    """Those that are translated, in order."""


@dataclass(frozen=True, slots=True)
class KeptPart:
    """A range of the source that is kept."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class AttributePart:
    """The value of an attribute that is translated."""

    value: AttributeRange


@dataclass(frozen=True, slots=True)
class CdataPart:
    """The content of a CDATA section that is translated as plain text."""

    start: int
    end: int


@dataclass(slots=True)
class TextRun:
    """Text that sentences are made of, with the tags within it."""

    start: int
    end: int = 0
    text: str = ""
    tags: list[InlineTag] = field(default_factory=list)
    """In the order of the source."""
    offsets: list[int] = field(default_factory=list)
    sources: list[tuple[int, int]] = field(default_factory=list)
    """Of each stretch of text its offset, and its range in the source: as long as the text unless it is written
    otherwise, as an entity or with more white space."""
    writing: MarkdownWriting | None = None
    """How translations are written into it; None for HTML and XML."""
    first_writing: MarkdownWriting | None = None
    """The same for one that stands at its beginning."""

    def source_start(self, offset: int) -> int:
        """Where the character at ``offset`` begins in the source."""
        at = bisect_right(self.offsets, offset) - 1
        start, end = self.sources[at]
        return start + offset - self.offsets[at] if end - start == self._length(at) else start

    def source_end(self, offset: int) -> int:
        """Where the character before ``offset`` ends in the source."""
        at = bisect_right(self.offsets, offset - 1) - 1
        start, end = self.sources[at]
        return start + offset - self.offsets[at] if end - start == self._length(at) else end

    def _length(self, at: int) -> int:
        following = self.offsets[at + 1] if at + 1 < len(self.offsets) else len(self.text)
        return following - self.offsets[at]

    @property
    def prose(self) -> str:
        """The text without what is kept."""
        parts, at = [], 0
        for tag in self.tags:
            if tag.kind is InlineKind.KEPT and tag.text_end > at:
                parts.append(self.text[at : tag.offset])
                at = tag.text_end
        return "".join([*parts, self.text[at:]])


MarkupPart = KeptPart | AttributePart | CdataPart | TextRun


def parse_markup(
    source: str, text_format: TextFormat, options: MarkupOptions = DEFAULT_MARKUP
) -> list[MarkupPart]:
    """The parts of ``source``, in order; their ranges, joined, are all of it.

    HTML is parsed leniently, as browsers do; what they cannot parse is kept. XML must be well-formed.

    Raises:
        MarkupError: XML is not well-formed or declares entities, or a tag is too long.
    """
    builder = _PartsBuilder(source, options, is_html=text_format is TextFormat.HTML)
    return builder.of_xml() if text_format is TextFormat.XML else builder.of_html(0, len(source))


def escape_text(text: str) -> str:
    """``text`` with ``&``, ``<`` and ``>`` escaped."""
    return html.escape(text, quote=False)


@dataclass(slots=True)
class _KeptRegion:
    """Tokens that are kept one after another."""

    start: int
    is_seen: bool
    end: int = 0
    depth: int = 0
    splits: bool = False
    texts: list[str] = field(default_factory=list)

    def add(self, token: MarkupToken, source: str, *, is_empty: bool, splits: bool) -> None:
        self.end = token.end
        if token.kind is TokenKind.START:
            self.depth += not is_empty
        elif token.kind is TokenKind.END:
            self.depth -= 1
        elif token.kind is TokenKind.TEXT:
            self.texts.append(html.unescape(source[token.start : token.end]))
        elif token.kind is TokenKind.CDATA:
            self.texts.append(source[token.start + 9 : token.end - 3])
        self.splits = self.splits or splits or self.depth < 0

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split()) if self.is_seen else ""


def _says(attributes: Mapping[str, str]) -> bool | None:
    """Whether attributes say that an element's content is translated; None if they say nothing."""
    said = {attributes.get(name) for name in ("translate", "its:translate", "translatable")}
    if said & {"no", "false"} or "notranslate" in attributes.get("class", "").split():
        return False
    return True if said & {"yes", "true", ""} else None


class _PartsBuilder:
    """Makes the parts of one source."""

    def __init__(self, source: str, options: MarkupOptions, *, is_html: bool) -> None:
        self._source = source
        self._options = options
        self._is_html = is_html
        self._elements: XmlElements = HtmlElements() if is_html else XmlElements()
        self._parts: list[MarkupPart] = []
        self._run = TextRun(0)
        self._texts: list[str] = []
        self._length = 0
        self._region: _KeptRegion | None = None

    def of_html(self, start: int, end: int) -> list[MarkupPart]:
        """The parts of a range of the source."""
        self._elements = stack = HtmlElements()
        self._run = TextRun(start)
        tokenizer = HtmlTokenizer(self._source[start:end])
        for token in tokenizer.tokens():
            self._take(replace(token, start=token.start + start, end=token.end + start) if start else token)
            tokenizer.in_foreign = stack.in_foreign
        return self._finished(end)

    def of_xml(self) -> list[MarkupPart]:
        """The parts of the source."""
        for token in xml_tokens(self._source):
            self._take(token)
        return self._finished(len(self._source))

    def _finished(self, end: int) -> list[MarkupPart]:
        self._end_region()
        self._end_run(end)
        return self._parts

    def _take(self, token: MarkupToken) -> None:
        was_kept = self._elements.is_kept
        splits = is_empty = False
        attributes: tuple[AttributeRange, ...] = ()
        if token.kind is TokenKind.START:
            splits, is_empty = self._splits(token.name), self._is_empty(token)
            attributes = self._start(token, is_empty)
        elif token.kind is TokenKind.END:
            splits = self._splits(token.name)
            self._elements.end(token.name)
        elif token.kind is TokenKind.TEXT and not self._source[token.start : token.end].isspace():
            self._elements.text()
        if was_kept or self._elements.is_kept or token.kind is TokenKind.RAW_TEXT:
            self._keep(token, is_empty=is_empty, splits=splits)
            return
        self._end_region()
        if token.kind is TokenKind.TEXT:
            self._add_text(token)
        elif token.kind is TokenKind.CDATA:
            self._add_cdata(token)
        elif splits:
            self._end_run(token.start)
            self._emit(token.start, token.end, attributes)
            self._run = TextRun(token.end)
        else:
            self._add_tag(token, is_empty, attributes)

    def _start(self, token: MarkupToken, is_empty: bool) -> tuple[AttributeRange, ...]:
        """Open the element of a start tag; returns its attributes that are translated."""
        tag = self._source[token.start : token.end]
        says: bool | None = False if self._is_kept_by_name(token.name) else None
        is_preformatted: bool | None = None
        may_say = _MAY_SAY.search(tag) is not None
        translates = self._options.translate_attributes
        values = list(attributes_of(self._source, token)) if may_say or translates else []
        if may_say:
            named = {each.name: self._value(each) for each in reversed(values)}  # the first of a name counts
            said = _says(named)
            says = says if said is None else said
            if "xml:space" in named:
                is_preformatted = named["xml:space"] == "preserve"
        self._elements.start(token.name, says=says, is_empty=is_empty, is_preformatted=is_preformatted)
        if not translates or says is False or self._elements.is_kept:
            return ()
        return tuple(self._prose_attributes(token.name, values))

    def _prose_attributes(self, name: str, values: Sequence[AttributeRange]) -> Iterator[AttributeRange]:
        of_description = name == "meta" and any(
            each.name in ("name", "property") and self._value(each) in _DESCRIPTIONS for each in values
        )
        for each in values:
            if each.name in _PROSE_ATTRIBUTES or (of_description and each.name == "content"):
                yield each

    def _value(self, attribute: AttributeRange) -> str:
        return html.unescape(self._source[attribute.start : attribute.end]).strip(_SPACE).lower()

    def _is_kept_by_name(self, name: str) -> bool:
        return name in self._options.ignore_tags or name in (
            elements.KEPT if self._is_html else elements.XML_KEPT
        )

    def _is_empty(self, token: MarkupToken) -> bool:
        if not self._is_html:
            return token.is_empty
        if token.name in elements.VOID:
            return True
        # HTML ignores the slash, but callers write <x id="1"/> for a placeholder of theirs.
        return token.is_empty and (self._elements.in_foreign or token.name not in elements.NEVER_EMPTY)

    def _splits(self, name: str) -> bool:
        if name in self._options.splitting_tags:
            return True
        if name in self._options.non_splitting_tags:
            return False
        if self._is_html:
            return name in elements.SPLITTING
        if not self._options.outline_detection:
            return False
        return not (name in self._options.ignore_tags or elements.is_xml_inline(name))

    def _keep(self, token: MarkupToken, *, is_empty: bool, splits: bool) -> None:
        if self._region is None:
            self._region = _KeptRegion(token.start, token.name not in _UNSEEN)
        self._region.add(token, self._source, is_empty=is_empty, splits=splits)

    def _end_region(self) -> None:
        region, self._region = self._region, None
        if region is None:
            return
        if region.splits or region.depth:
            self._end_run(region.start)
            self._emit(region.start, region.end)
            self._run = TextRun(region.end)
            return
        text, offset = region.text, self._length
        if text:
            self._append(text, region.start, region.end)
        kind = InlineKind.KEPT if text else InlineKind.POINT
        self._run.tags.append(
            InlineTag(kind, offset, region.start, region.end, text_end=self._length if text else -1)
        )

    def _add_tag(self, token: MarkupToken, is_empty: bool, attributes: tuple[AttributeRange, ...]) -> None:
        kind = _INLINE_KINDS.get(token.kind, InlineKind.POINT)
        if kind is InlineKind.OPEN and is_empty:
            kind = InlineKind.POINT
        self._run.tags.append(
            InlineTag(kind, self._length, token.start, token.end, token.name, attributes=attributes)
        )

    def _add_cdata(self, token: MarkupToken) -> None:
        start, end = token.start + len("<![CDATA["), token.end - len("]]>")
        if not self._options.translate_cdata:
            text = " ".join(self._source[start:end].split())
            offset = self._length
            if text:
                self._append(text, token.start, token.end)
            kind = InlineKind.KEPT if text else InlineKind.POINT
            text_end = self._length if text else -1
            self._run.tags.append(InlineTag(kind, offset, token.start, token.end, text_end=text_end))
            return
        self._end_run(token.start)
        self._emit(token.start, start)
        if _HTML_IN_CDATA.search(self._source, start, end):
            self._parts += _PartsBuilder(self._source, self._options, is_html=True).of_html(start, end)
        elif self._source[start:end].strip():
            self._parts.append(CdataPart(start, end))
        else:
            self._emit(start, end)
        self._emit(end, token.end)
        self._run = TextRun(token.end)

    def _add_text(self, token: MarkupToken) -> None:
        at, end = token.start, token.end
        collapses = not self._elements.is_preformatted
        while collapses and at < end and self._source[at] in _SPACE and self._ends_in_space:
            at += 1
        pattern = _NOT_LITERAL if collapses else _ENTITIES
        for found in pattern.finditer(self._source, at, end):
            raw = found.group()
            text = html.unescape(raw) if raw[0] == "&" else " "
            if text == raw:
                continue
            self._append(self._source[at : found.start()], at, found.start())
            if text != " " or not self._ends_in_space:
                self._append(text, found.start(), found.end())
            at = found.end()
        self._append(self._source[at:end], at, end)

    @property
    def _ends_in_space(self) -> bool:
        return bool(self._texts) and self._texts[-1][-1] == " "

    def _append(self, text: str, start: int, end: int) -> None:
        if text:
            self._run.offsets.append(self._length)
            self._run.sources.append((start, end))
            self._texts.append(text)
            self._length += len(text)

    def _end_run(self, end: int) -> None:
        run, self._run = self._run, TextRun(end)
        run.end, run.text = end, "".join(self._texts)
        self._texts, self._length = [], 0
        if not run.text or not run.prose.strip():
            self._emit(run.start, run.end, [each for tag in run.tags for each in tag.attributes])
        else:
            self._parts.append(run)

    def _emit(self, start: int, end: int, attributes: Sequence[AttributeRange] = ()) -> None:
        """Add a range that is kept, except for the values of some attributes in it."""
        for each in attributes:
            self._emit(start, each.start)
            self._parts.append(AttributePart(each))
            start = each.end
        if end > start:
            last = self._parts[-1] if self._parts else None
            if isinstance(last, KeptPart):
                self._parts[-1] = KeptPart(last.start, end)
            else:
                self._parts.append(KeptPart(start, end))
