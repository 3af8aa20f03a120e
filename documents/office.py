"""Word documents, PowerPoint slides and Excel workbooks: packages of XML files whose texts are translated.

Only the parts with texts are written again, and in them only what changed; pictures, formulas and styles keep their
bytes. Sheet names and the headings of Excel's tables stay, since formulas refer to them.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from documents.interface import FileFormatError, TextUnit, UnitTranslation
from documents.office_paragraphs import OfficePart
from documents.xml_tree import parse_xml

_MOST_BYTES = 512 * 2**20
"""Of a package's parts together."""
_NUMBER = re.compile(r"\d+")


class PackageKind(NamedTuple):
    """Where a kind of package has its texts."""

    main: str
    """A part that every such package has."""
    texts: re.Pattern[str]
    names: re.Pattern[str]
    """Parts with names that formulas refer to."""


WORD = PackageKind(
    "word/document.xml",
    re.compile(r"word/(document|header\d*|footer\d*|footnotes|endnotes|comments)\.xml"),
    re.compile(r"(?!)"),
)
SLIDES = PackageKind(
    "ppt/presentation.xml",
    re.compile(r"ppt/(slides/slide\d+|notesSlides/notesSlide\d+|diagrams/(data|drawing)\d+)\.xml"),
    re.compile(r"(?!)"),
)
WORKBOOK = PackageKind(
    "xl/workbook.xml",
    re.compile(r"xl/(sharedStrings|worksheets/sheet\d+|comments/?\w*|drawings/drawing\d+)\.xml"),
    re.compile(r"xl/(tables/table\d+|pivotCache/pivotCacheDefinition\d+)\.xml"),
)
_NAMED = frozenset({"tableColumn", "cacheField"})


class OfficeFile:
    """A package."""

    def __init__(self, package: zipfile.ZipFile, kind: PackageKind) -> None:
        """Read the parts with texts.

        Args:
            package: open for reading.
            kind: of the package.
        """
        self._package = package
        untranslated = frozenset(_names(package, kind))
        self._parts: dict[str, OfficePart] = {}
        names = (name for name in package.namelist() if kind.texts.fullmatch(name))
        for name in sorted(names, key=lambda name: (name != kind.main, _order(name))):
            data = package.read(name)
            if name.startswith("xl/worksheets/") and b"inlineStr" not in data:
                continue  # its texts are shared strings
            place = name.rpartition("/")[2].removesuffix(".xml")
            self._parts[name] = OfficePart(parse_xml(data), place, untranslated)
        self.units: list[TextUnit] = [unit for part in self._parts.values() for unit in part.units]

    def render(self, translations: Sequence[UnitTranslation]) -> bytes:
        """The package with its texts translated; one without a translation stays.

        Raises:
            FileFormatError: a part without texts is damaged.
        """
        answers = iter(translations)
        written = {
            name: part.render([next(answers).text for _ in part.units]) for name, part in self._parts.items()
        }
        target = io.BytesIO()
        with _damage_as_errors(), zipfile.ZipFile(target, "w") as package:
            package.comment = self._package.comment
            for info in self._package.infolist():
                data = written[info.filename] if info.filename in written else self._package.read(info)
                package.writestr(info, data, compress_type=info.compress_type)
        return target.getvalue()


def _names(package: zipfile.ZipFile, kind: PackageKind) -> Iterator[str]:
    for part in filter(kind.names.fullmatch, package.namelist()):
        for element in parse_xml(package.read(part)).root.descendants():
            if element.local_name in _NAMED and "name" in element.attributes:
                yield element.attributes["name"].strip()


def _order(name: str) -> tuple[list[int], int, str]:
    """A key that sorts slide2 before slide10, and a slide before its notes."""
    return [int(number) for number in _NUMBER.findall(name)], len(name), name


def parse_package(data: bytes, kind: PackageKind) -> OfficeFile:
    """Read a package.

    Raises:
        FileFormatError: it is not a package of this kind, is encrypted, or is too large.
    """
    with _damage_as_errors():
        package = zipfile.ZipFile(io.BytesIO(data))
        names = package.namelist()
        if kind.main not in names:
            raise FileFormatError(f"it is a ZIP archive without {kind.main}")
        if len(set(names)) < len(names):
            raise FileFormatError("two of its parts have one name")
        if sum(info.file_size for info in package.infolist()) > _MOST_BYTES:
            raise FileFormatError(f"its parts have more than {_MOST_BYTES} bytes")
        return OfficeFile(package, kind)


@contextmanager
def _damage_as_errors() -> Iterator[None]:
    """Raise FileFormatError for what the standard library raises when an archive is damaged."""
    try:
        yield
    except FileFormatError:
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, OSError, ValueError):
        raise FileFormatError(
            "it is not a ZIP archive, or a damaged one; a file with a password cannot be read"
        ) from None
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or compressed in an unknown way
        raise FileFormatError(f"its parts cannot be read: {error}") from None
