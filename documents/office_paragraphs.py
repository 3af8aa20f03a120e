"""Paragraphs of Office Open XML (documents, slides, shared strings) as text with formatting codes, and back.

A paragraph is a sequence of runs of one format each. The format of most of its characters is the paragraph's; text in
another format, and links, are spans of :mod:`documents.inline_codes`. What else stands between runs (a bookmark, a
footnote's mark, a picture, a page number) is a single code. Line breaks and tabs end a unit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from documents.inline_codes import CodeKind, CodeToken, plain_text, tokens_of_answer, unit_of_tokens
from documents.interface import TextUnit
from documents.splices import Splice, splice_bytes
from documents.xml_tree import XmlDocument, XmlElement, escape_xml

_PARAGRAPHS = frozenset({"p", "si", "is", "text"})
_PROPERTIES = frozenset({"pPr", "rPr", "endParaRPr", "rPh", "phoneticPr"})
_DROPPED = frozenset({"proofErr", "lastRenderedPageBreak"})
"""Remarks of the program that saved the file; they cut words."""
_LINKS = frozenset({"hyperlink", "ins", "smartTag", "fldSimple"})
_KEPT = frozenset({"fld", "oMath", "oMathPara", "del", "moveFrom"})
"""Elements whose text is not prose of this paragraph."""
_BREAKS = frozenset({"br", "cr", "tab", "ptab"})
_UNSEEN = re.compile(
    rb"""<(?:\w+:)?(?:lang|noProof)\b[^>]*/>|\s(?:lang|altLang|dirty|err|noProof|smtClean)="[^"]*\""""
)
"""Properties that no reader sees."""
_NO_PROPERTIES = re.compile(rb"<(?:\w+:)?rPr\s*(?:/>|>\s*</(?:\w+:)?rPr>)")


class RunText(NamedTuple):
    """Text of one format."""

    start: int
    end: int
    text: str
    properties: bytes = b""
    """The run's ``rPr`` element, or nothing."""
    link: XmlElement | None = None
    """An element around it that is kept, such as a hyperlink."""

    @property
    def format_key(self) -> bytes:
        """Equal for texts that look equal."""
        return _NO_PROPERTIES.sub(b"", _UNSEEN.sub(b"", self.properties))


class RunNames(NamedTuple):
    """Names of elements, with their prefixes."""

    run: str
    """Empty where text stands without a run."""
    text: str


class KeptRange(NamedTuple):
    """What is no text, but stands within it."""

    start: int
    end: int
    holds_boxes: bool = False
    """Whether there are paragraphs inside."""


@dataclass(slots=True)
class OfficeText:
    """A part of a paragraph that is one unit."""

    start: int
    end: int
    names: RunNames
    base: bytes
    """Properties of text outside spans."""
    tokens: list[CodeToken] = field(default_factory=list)
    spans: dict[int, RunText] = field(default_factory=dict)
    kept: dict[int, KeptRange] = field(default_factory=dict)


class OfficePart:
    """One XML file of a package."""

    def __init__(self, document: XmlDocument, place: str, untranslated: frozenset[str] = frozenset()) -> None:
        """Find the texts.

        Args:
            document: the file.
            place: of the file, for people.
            untranslated: texts that stay as they are.
        """
        self._document = document
        self._texts = [
            text
            for paragraph in document.root.descendants()
            if paragraph.local_name in _PARAGRAPHS
            for text in _texts(document, paragraph)
            if plain_text(text.tokens).strip() not in untranslated | {""}
        ]
        self.units: list[TextUnit] = [unit_of_tokens(text.tokens, place) for text in self._texts]

    def render(self, answers: Sequence[str | None]) -> bytes:
        """The file with the answers in place; None leaves a text as it is."""
        splices: list[Splice] = []
        triples = zip(self._texts, self.units, answers, strict=True)
        # A paragraph in a text box begins behind the one that holds the box: it is written first.
        for text, unit, answer in reversed(list(triples)):
            if answer is not None and answer != unit.text:
                splices.append(Splice(text.start, text.end, self._written(text, answer, splices)))
        return self._document.with_splices(splices)

    def _written(self, text: OfficeText, answer: str, inner: Sequence[Splice]) -> bytes:
        parts: list[bytes] = []
        opened: list[int] = []
        for token in tokens_of_answer(answer, text.tokens):
            if token.kind is CodeKind.OPEN:
                opened.append(token.number)
            elif token.kind is CodeKind.CLOSE:
                opened.pop()
            elif token.kind is CodeKind.SINGLE:
                start, end, holds_boxes = text.kept[token.number]
                parts.append(splice_bytes(self._document.source, inner if holds_boxes else (), start, end))
            elif token.text:
                base = RunText(0, 0, "", text.base)
                parts.append(self._run(text, token.text, text.spans[opened[-1]] if opened else base))
        return b"".join(parts)

    def _run(self, text: OfficeText, words: str, run: RunText) -> bytes:
        run_name, text_name = text.names
        space = ' xml:space="preserve"' if words != words.strip() and text_name != "a:t" else ""
        written = f"<{text_name}{space}>{escape_xml(words)}</{text_name}>".encode()
        if run_name:
            written = f"<{run_name}>".encode() + run.properties + written + f"</{run_name}>".encode()
        if run.link is None:
            return written
        source, link = self._document.source, run.link
        return source[link.start : link.inner_start] + written + source[link.inner_end : link.end]


def _texts(document: XmlDocument, container: XmlElement) -> Iterator[OfficeText]:
    """Units of a paragraph, or of an element within one."""
    atoms: list[RunText | KeptRange] = []
    names = RunNames("", "")
    for child in _with_fields(document, container.children):
        if isinstance(child, KeptRange):
            atoms.append(child)
        elif child.local_name in _PROPERTIES or child.local_name in _DROPPED:
            continue
        elif (run := _run_text(document, child)) is not None:
            names = names if names.text else _run_names(child)
            atoms.append(run)
        elif not _holds_runs(child):
            boxes = any(each.local_name in _PARAGRAPHS for each in child.descendants())
            atoms.append(KeptRange(child.start, child.end, boxes))
        else:
            yield from _unit(atoms, names)
            atoms = []
            yield from _texts(document, child)
    yield from _unit(atoms, names)


def _with_fields(document: XmlDocument, children: Sequence[XmlElement]) -> Iterator[XmlElement | KeptRange]:
    """Children; a field that is not a link, from its begin to its end, is one range."""
    index = 0
    while index < len(children):
        end = _field_end(children, index)
        if end is None or b"HYPERLINK" in document.source[children[index].start : children[end].end]:
            yield children[index]
            index += 1
        else:
            yield KeptRange(children[index].start, children[end].end)
            index = end + 1


def _field_end(children: Sequence[XmlElement], first: int) -> int | None:
    """Index of the run that ends the field that begins in a run."""
    depth = 0
    for index in range(first, len(children)):
        for mark in children[index].children_named("fldChar"):
            kind = next(
                (value for name, value in mark.attributes.items() if name.endswith("fldCharType")), ""
            )
            depth += {"begin": 1, "end": -1}.get(kind, 0)
        if depth <= 0:
            return index if index > first else None
    return None


def _run_text(document: XmlDocument, element: XmlElement) -> RunText | None:
    """The text of a run, of a link of runs, or of a text element; None if it holds anything else."""
    if element.local_name == "t" and not element.children:
        return RunText(element.start, element.end, document.text(element))
    if element.local_name in _LINKS:
        runs = [_run_text(document, child) for child in element.children if child.local_name not in _DROPPED]
        if not runs or any(run is None or run.link for run in runs):
            return None
        texts = [run for run in runs if run is not None]
        words = "".join(run.text for run in texts)
        return RunText(element.start, element.end, words, texts[0].properties, element)
    if element.local_name != "r" or element.name.startswith("m:"):
        return None
    content = [child for child in element.children if child.local_name not in _PROPERTIES | _DROPPED]
    if not content or any(child.local_name != "t" for child in content):
        return None
    properties = b"".join(document.source[each.start : each.end] for each in element.children_named("rPr"))
    words = "".join(document.text(child) for child in content)
    return RunText(element.start, element.end, words, properties)


def _run_names(element: XmlElement) -> RunNames:
    if element.local_name == "t":
        return RunNames("", element.name)
    if element.local_name == "r":
        return RunNames(element.name, element.children_named("t")[0].name)
    return _run_names(next(child for child in element.children if child.local_name in ("r", "t")))


def _holds_runs(element: XmlElement) -> bool:
    """Whether an element ends the units around it: it holds texts of its own, or a break."""
    if element.local_name in _KEPT or element.local_name in _PARAGRAPHS:
        return False
    if element.local_name in _BREAKS | {"t"}:
        return True
    return any(_holds_runs(child) for child in element.children if child.local_name not in _PROPERTIES)


def _unit(atoms: list[RunText | KeptRange], names: RunNames) -> Iterator[OfficeText]:
    """The unit of atoms between two breaks, if there is text in it."""
    places = [index for index, atom in enumerate(atoms) if isinstance(atom, RunText)]
    if not places:
        return
    atoms = atoms[places[0] : places[-1] + 1]
    runs = [atom for atom in atoms if isinstance(atom, RunText)]
    letters: Counter[bytes] = Counter()
    for run in runs:
        if run.link is None:
            letters[run.format_key] += len(run.text.strip())
    key = letters.most_common(1)[0][0] if letters else None
    base = next((run.properties for run in runs if run.link is None and run.format_key == key), b"")
    text = OfficeText(atoms[0].start, atoms[-1].end, names, base)
    for number, atom in enumerate(_merged(atoms)):
        if isinstance(atom, KeptRange):
            text.kept[number] = atom
            text.tokens.append(CodeToken(CodeKind.SINGLE, number=number))
        elif atom.link is None and (atom.format_key == key or not atom.text.strip()):
            text.tokens.append(CodeToken(CodeKind.TEXT, atom.text))
        else:
            text.spans[number] = atom
            text.tokens += (
                CodeToken(CodeKind.OPEN, number=number),
                CodeToken(CodeKind.TEXT, atom.text),
                CodeToken(CodeKind.CLOSE, number=number),
            )
    yield text


def _merged(atoms: Sequence[RunText | KeptRange]) -> Iterator[RunText | KeptRange]:
    """Atoms; neighbouring texts of one format are one."""
    last: RunText | None = None
    for atom in atoms:
        if isinstance(atom, KeptRange):
            if last is not None:
                yield last
            last = None
            yield atom
        elif last is not None and not last.link and not atom.link and atom.format_key == last.format_key:
            last = last._replace(end=atom.end, text=last.text + atom.text)
        else:
            if last is not None:
                yield last
            last = atom
    if last is not None:
        yield last
