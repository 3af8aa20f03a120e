"""Damaged files of every format: a message or a document, never another error."""

from __future__ import annotations

import io
from contextlib import suppress

import docx
import openpyxl
import pptx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documents.formats import FORMATS, FileFormat
from documents.interface import FileFormatError
from tests.documents import test_markdown, test_po, test_string_files, test_subtitles, test_xliff, test_yaml
from tests.documents.translators import same, translated, upper


def _office() -> dict[FileFormat, bytes]:
    document = docx.Document()
    document.add_paragraph("Blue ").add_run("cotton").bold = True
    slides = pptx.Presentation()
    slides.slides.add_slide(slides.slide_layouts[0]).shapes.title.text = "Blue"
    book = openpyxl.Workbook()
    book.active.append(["Blue", 1])
    saved = {}
    for kind, file in ((FileFormat.DOCX, document), (FileFormat.PPTX, slides), (FileFormat.XLSX, book)):
        data = io.BytesIO()
        file.save(data)
        saved[kind] = data.getvalue()
    return saved


SAMPLES = {
    FileFormat.TEXT: "\ufeffone\r\ntwo 中\rthree".encode(),
    FileFormat.HTML: b"<!DOCTYPE html><p class=a>one &amp; <b>two</b><br/><!-- c --><pre>x</pre></p>\n",
    FileFormat.XML: b"<?xml version='1.0' encoding='utf-8'?><a b='>'><![CDATA[x]]>one<c/>&#65;</a>",
    FileFormat.MARKDOWN: test_markdown.FILE.encode(),
    FileFormat.XLIFF: test_xliff.V1.encode(),
    FileFormat.PO: test_po.catalog(test_po.ONE),
    FileFormat.JSON: b'{"a": ["one", 1.5, null, "\\u00e9"], "b": {"c": "two <b>x</b>"}}',
    FileFormat.ARB: b'{"@@locale": "en", "a": "one", "@a": {"description": "x"}}',
    FileFormat.YAML: test_yaml.FILE.encode(),
    FileFormat.PROPERTIES: test_string_files.PROPERTIES_FILE,
    FileFormat.STRINGS: test_string_files.STRINGS_FILE.encode(),
    FileFormat.ICU: b"{n, plural, other {# files}}\none",
    FileFormat.SRT: test_subtitles.SRT.encode(),
    FileFormat.VTT: test_subtitles.VTT.encode(),
    **_office(),
}
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1), st.sampled_from(["cut", "insert", "replace"]), st.binary(min_size=1, max_size=3)
    ),
    min_size=1,
    max_size=4,
)


def damaged(data: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    for share, way, new in changes:
        at = int(share * len(data))
        behind = {"cut": at + 5, "insert": at, "replace": at + len(new)}[way]
        data = data[:at] + (b"" if way == "cut" else new) + data[behind:]
    return data


@pytest.mark.parametrize("kind", list(SAMPLES))
@settings(max_examples=20)
@given(changes=CHANGES)
def test_a_damaged_file_is_read_or_refused(kind: FileFormat, changes: list[tuple[float, str, bytes]]) -> None:
    data = damaged(SAMPLES[kind], changes)
    for translator in (same, upper):
        with suppress(FileFormatError):
            translated(data, kind, translator)


def test_every_format_has_a_sample() -> None:
    assert set(SAMPLES) == set(FORMATS)
