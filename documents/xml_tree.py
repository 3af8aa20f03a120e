"""Elements of an XML document with their offsets, so that parts can be replaced and all other bytes stay."""

from __future__ import annotations

import html
import re
import xml.parsers.expat as expat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from documents.encoding import BOM, TextEncoding, decode_strictly
from documents.interface import FileFormatError
from documents.splices import Splice, splice_bytes

_DECLARED = re.compile(rb"""\A\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_START_TAG = re.compile(rb"""<[^\s/>]+(?:[^"'>]|"[^"]*"|'[^']*')*>""")
_ATTRIBUTE = re.compile(rb"""(\s+)([^\s=]+)(\s*=\s*)("[^"]*"|'[^']*')""")
_MOST_DEPTH = 1_000


@dataclass(slots=True, eq=False)
class XmlElement:
    """An element, with byte offsets in :attr:`XmlDocument.source`."""

    name: str
    """With its prefix, as written."""
    attributes: dict[str, str]
    start: int
    """Of the start tag."""
    inner_start: int
    inner_end: int
    end: int
    """Behind the end tag."""
    parent: XmlElement | None
    children: list[XmlElement] = field(default_factory=list)

    @property
    def local_name(self) -> str:
        """The name without its prefix."""
        return self.name.rpartition(":")[2]

    @property
    def is_empty_tag(self) -> bool:
        """Whether it is written as ``<a/>``."""
        return self.inner_start == self.end

    def descendants(self) -> Iterator[XmlElement]:
        """All elements inside, in the order of their start tags."""
        stack = list(reversed(self.children))
        while stack:
            element = stack.pop()
            yield element
            stack += reversed(element.children)

    def children_named(self, name: str) -> list[XmlElement]:
        """Children with a local name."""
        return [child for child in self.children if child.local_name == name]


@dataclass(frozen=True, slots=True)
class XmlDocument:
    """A well-formed document."""

    source: bytes
    """In UTF-8, without a byte order mark."""
    root: XmlElement
    encoding: TextEncoding
    """Of the file."""

    def raw(self, element: XmlElement) -> bytes:
        """What stands between the tags."""
        return self.source[element.inner_start : element.inner_end]

    def text(self, element: XmlElement) -> str:
        """The text of an element without child elements: references resolved, CDATA taken for text."""
        return resolve_text(self.raw(element).decode())

    def with_splices(self, splices: Iterable[Splice]) -> bytes:
        """The file with parts replaced, in its encoding."""
        return self.encoding.encode(splice_bytes(self.source, splices).decode())

    def with_attribute(self, element: XmlElement, name: str, value: str) -> Splice:
        """The start tag of ``element`` with an attribute set; the others keep their bytes."""
        tag = self.source[element.start : element.inner_start]
        put = f'"{html.escape(value, quote=True)}"'.encode()
        for found in _ATTRIBUTE.finditer(tag):
            if found[2].decode() == name:
                start, end = found.span(4)
                return Splice(element.start + start, element.start + end, put)
        at = element.inner_start - (2 if element.is_empty_tag else 1)
        return Splice(at, at, f" {name}=".encode() + put)


_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>|<!--.*?-->|<\?.*?\?>", re.DOTALL)


def resolve_text(raw: str) -> str:
    """Characters that XML content without elements stands for; comments are left out."""
    parts: list[str] = []
    at = 0
    for found in _CDATA.finditer(raw):
        parts += html.unescape(raw[at : found.start()]), found[1] or ""
        at = found.end()
    return "".join((*parts, html.unescape(raw[at:]))).replace("\r\n", "\n")


def escape_xml(text: str) -> str:
    """``text`` as XML content."""
    return html.escape(text, quote=False)


class _TreeBuilder:
    """Receives the parser's events."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.root: XmlElement | None = None
        self._open: list[XmlElement] = []
        self._parser = expat.ParserCreate(encoding="utf-8")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.EntityDeclHandler = self._refuse

    def parse(self) -> XmlElement:
        try:
            self._parser.Parse(self.source, True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise FileFormatError(f"line {error.lineno}, column {error.offset}: {reason}") from None
        if self.root is None:
            raise FileFormatError("it has no element")
        return self.root

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        start = self._parser.CurrentByteIndex
        found = _START_TAG.match(self.source, start)
        if found is None or len(self._open) >= _MOST_DEPTH:
            raise FileFormatError(f"line {self._parser.CurrentLineNumber}: the tag cannot be read")
        end = found.end()
        parent = self._open[-1] if self._open else None
        element = XmlElement(name, attributes, start, end, end, end, parent)
        if parent is None:
            self.root = element
        else:
            parent.children.append(element)
        self._open.append(element)

    def _end(self, name: str) -> None:
        element = self._open.pop()
        if not self.source.endswith(b"/>", element.start, element.inner_start):
            element.inner_end = self._parser.CurrentByteIndex
            element.end = self.source.index(b">", element.inner_end) + 1

    def _refuse(self, *declaration: object) -> None:
        raise FileFormatError("entity declarations are not taken; write the characters themselves")


def parse_xml(data: bytes) -> XmlDocument:
    """Read a document.

    Raises:
        FileFormatError: it is not well-formed, or not in the encoding that it declares.
    """
    return parse_xml_text(*decode_xml(data))


def parse_xml_text(text: str, encoding: TextEncoding) -> XmlDocument:
    """Read the text of a document.

    Raises:
        FileFormatError: it is not well-formed.
    """
    source = text.encode()
    return XmlDocument(source, _TreeBuilder(source).parse(), encoding)


def decode_xml(data: bytes) -> tuple[str, TextEncoding]:
    """The text of a document: UTF-8, or the encoding that its mark or its declaration names.

    Raises:
        FileFormatError: it is in another encoding.
    """
    mark, name = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", ""))
    if not name:
        declared = _DECLARED.match(data)
        name = declared[1].decode().lower() if declared else "utf-8"
    try:
        text = decode_strictly(data[len(mark) :], name)
    except LookupError:
        raise FileFormatError(f"its encoding {name} is not known") from None
    return text, TextEncoding(name, BOM if mark else "", "xmlcharrefreplace")
