"""Office files, as python-docx, python-pptx and openpyxl read them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import docx
import openpyxl
import pptx
import pytest
import xlsxwriter  # type: ignore[import-untyped]
from docx.enum.text import WD_BREAK
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.worksheet.table import Table

from documents.formats import FileFormat, parse_document
from documents.interface import FileFormatError
from protocol.messages import TextFormat
from tests.documents.translators import LANGUAGES, nothing, same, texts, translated, upper


def saved(document: Any) -> bytes:
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def parts(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        return {name: package.read(name) for name in package.namelist()}


def runs(data: bytes) -> list[list[tuple[str, bool, bool]]]:
    """Text, bold and italic of each character run of each paragraph."""
    return [
        [(run.text, bool(run.bold), bool(run.italic)) for run in paragraph.runs if run.text]
        for paragraph in docx.Document(io.BytesIO(data)).paragraphs
    ]


def word(paragraphs: Sequence[Sequence[tuple[str, bool, bool]]]) -> Any:
    document = docx.Document()
    for pieces in paragraphs:
        paragraph = document.add_paragraph()
        for text, bold, italic in pieces:
            run = paragraph.add_run(text)
            run.bold, run.italic = bold or None, italic or None
    return document


HYPERLINK = "<w:hyperlink {} w:anchor='x'><w:r><w:rPr><w:u/></w:rPr><w:t>here</w:t></w:r></w:hyperlink>"
FIELD = (
    "<w:r {}><w:fldChar w:fldCharType='begin'/></w:r>",
    "<w:r {}><w:instrText>PAGE</w:instrText></w:r>",
    "<w:r {}><w:fldChar w:fldCharType='separate'/></w:r>",
    "<w:r {}><w:t>7</w:t></w:r>",
    "<w:r {}><w:fldChar w:fldCharType='end'/></w:r>",
)
BOX = (
    "<w:r {}><w:pict><w:txbxContent><w:p><w:r><w:t>in a box</w:t></w:r></w:p></w:txbxContent></w:pict></w:r>"
)


def test_formats_links_fields_and_boxes_of_a_word_document() -> None:
    document = word([[("Blue ", False, False), ("cotton", True, False), (" shirt & more", False, False)]])
    link = document.add_paragraph("Look ")
    for xml in (HYPERLINK, "<w:r {}><w:t>.</w:t></w:r>"):
        link._p.append(parse_xml(xml.format(nsdecls("w"))))
    page = document.add_paragraph("Page ")
    for xml in (*FIELD, "<w:r {}><w:t xml:space='preserve'> of many</w:t></w:r>"):
        page._p.append(parse_xml(xml.format(nsdecls("w"))))
    boxed = document.add_paragraph("before ")
    for xml in (BOX, "<w:r {}><w:t>behind</w:t></w:r>"):
        boxed._p.append(parse_xml(xml.format(nsdecls("w"))))
    broken = document.add_paragraph().add_run("line one")
    broken.add_break(WD_BREAK.LINE)
    broken.add_text("line two")
    document.add_table(1, 1).cell(0, 0).text = "in a cell"
    document.sections[0].header.paragraphs[0].text = "a header"
    data = saved(document)
    found = parse_document(data, FileFormat.DOCX, LANGUAGES).units
    assert [unit.text for unit in found] == [
        'Blue <g id="1">cotton</g> shirt &amp; more',
        'Look <g id="1">here</g>.',
        'Page <x id="1"/> of many',
        'before <x id="1"/>behind',
        "in a box",
        "line one",
        "line two",
        "in a cell",
        "a header",
    ]
    assert (found[0].text_format, found[5].text_format) == (TextFormat.XML, TextFormat.TEXT)
    out = translated(data, FileFormat.DOCX, upper)
    read = docx.Document(io.BytesIO(out))
    assert [paragraph.text for paragraph in read.paragraphs] == [
        "BLUE COTTON SHIRT & MORE",
        "LOOK HERE.",
        "PAGE 7 OF MANY",
        "BEFORE BEHIND",
        "LINE ONE\nLINE TWO",
    ]
    assert runs(out)[0] == [("BLUE ", False, False), ("COTTON", True, False), (" SHIRT & MORE", False, False)]
    assert read.paragraphs[1].hyperlinks[0].text == "HERE"
    assert b"<w:t>IN A BOX</w:t></w:r></w:p></w:txbxContent>" in parts(out)["word/document.xml"]
    assert read.tables[0].cell(0, 0).text == "IN A CELL"
    assert read.sections[0].header.paragraphs[0].text == "A HEADER"
    changed = {name for name, part in parts(data).items() if parts(out)[name] != part}
    assert changed == {"word/document.xml", "word/header1.xml"}


def test_spans_may_change_their_order_and_lost_ones_do_not_cost_the_text() -> None:
    data = saved(word([[("one ", True, False), ("two", False, True), (" and three", False, False)]]))
    (unit,) = parse_document(data, FileFormat.DOCX, LANGUAGES).units
    assert unit.text == '<g id="0">one </g><g id="1">two</g> and three'
    swapped = translated(data, FileFormat.DOCX, lambda _: '三 <g id="1">二</g><g id="0">一</g>')
    assert runs(swapped) == [[("三 ", False, False), ("二", False, True), ("一", True, False)]]
    for answer in (
        '三 <g id="1">二</g>一',
        '<g id="0">三 <g id="1">二</g>一',
        "三 二一",
        '<g id="0">三 二</g></g>一<g id="1">',
    ):
        lost = translated(data, FileFormat.DOCX, lambda _, answer=answer: answer)  # type: ignore[misc]
        assert runs(lost) == [[("三 二一", False, False)]]


def test_remarks_of_the_spelling_checker_do_not_cut_a_sentence() -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("Bl")
    in_german = "<w:r {}><w:rPr><w:lang w:val='de'/></w:rPr><w:t>ue</w:t></w:r>"
    for xml in ("<w:proofErr {} w:type='spellStart'/>", in_german):
        paragraph._p.append(parse_xml(xml.format(nsdecls("w"))))
    assert texts(saved(document), FileFormat.DOCX) == ["Blue"]


PARAGRAPHS = st.lists(
    st.lists(
        st.tuples(st.text("ab <&é中", min_size=1, max_size=6), st.booleans(), st.booleans()), max_size=5
    ),
    max_size=4,
)


def letters(data: bytes) -> list[list[tuple[str, bool, bool]]]:
    """Each character that is not white space, with its format."""
    return [
        [(letter, bold, italic) for text, bold, italic in pieces for letter in text if not letter.isspace()]
        for pieces in runs(data)
    ]


@settings(max_examples=10)
@given(PARAGRAPHS)
def test_every_character_keeps_its_format(paragraphs: list[list[tuple[str, bool, bool]]]) -> None:
    data = saved(word(paragraphs))
    assert parts(translated(data, FileFormat.DOCX, same)) == parts(data)
    assert parts(translated(data, FileFormat.DOCX, nothing)) == parts(data)
    expected = [[(letter.upper(), bold, italic) for letter, bold, italic in each] for each in letters(data)]
    assert letters(translated(data, FileFormat.DOCX, upper)) == expected


def test_slides_and_their_notes() -> None:
    presentation = pptx.Presentation()
    for number in range(11):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = f"title {number}"
        paragraph = slide.placeholders[1].text_frame.paragraphs[0]
        paragraph.add_run().text = "a "
        bold = paragraph.add_run()
        bold.text, bold.font.bold = "bold", True
        paragraph.add_run().text = " word"
        slide.notes_slide.notes_text_frame.text = "a note"
    data = saved(presentation)
    found = texts(data, FileFormat.PPTX)
    assert found[:3] == ["title 0", 'a <g id="1">bold</g> word', "a note"]
    assert [text for text in found if text.startswith("title")] == [f"title {number}" for number in range(11)]
    read = pptx.Presentation(io.BytesIO(translated(data, FileFormat.PPTX, upper)))
    slide = read.slides[10]
    assert slide.shapes.title.text == "TITLE 10"
    written = slide.placeholders[1].text_frame.paragraphs[0].runs
    assert [(run.text, bool(run.font.bold)) for run in written] == [
        ("A ", False),
        ("BOLD", True),
        (" WORD", False),
    ]
    assert slide.notes_slide.notes_text_frame.text == "A NOTE"


def test_cells_but_not_numbers_formulas_and_headings_of_tables() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Data"
    rows = [
        ["Name", "Price"],
        ["blue shirt", 12.5],
        ["blue shirt", '=IF(A2="x","a","b")'],
        ["two\nlines", True],
    ]
    for row in rows:
        sheet.append(row)
    sheet.add_table(Table(displayName="T", ref="A1:B4"))
    data = saved(book)
    assert set(texts(data, FileFormat.XLSX)) == {"blue shirt", "two\nlines"}
    read = openpyxl.load_workbook(io.BytesIO(translated(data, FileFormat.XLSX, upper)))["Data"]
    assert [[cell.value for cell in row] for row in read.rows] == [
        ["Name", "Price"],
        ["BLUE SHIRT", 12.5],
        ["BLUE SHIRT", '=IF(A2="x","a","b")'],
        ["TWO\nLINES", True],
    ]


def test_shared_strings_of_a_workbook_as_excel_writes_them() -> None:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        sheet = book.add_worksheet("Data")
        bold = book.add_format({"bold": True})
        for row, words in enumerate([["Name", "Size"], ["blue shirt", "large"], ["blue shirt", "small"]]):
            sheet.write_row(row, 0, words)
        sheet.add_table("A1:B3", {"name": "T", "columns": [{"header": "Name"}, {"header": "Size"}]})
        sheet.write_rich_string("D1", "a ", bold, "bold", " word")
        sheet.write_comment("D2", "a comment")
        sheet.insert_textbox("F1", "in a box")
    data = file.getvalue()
    assert "xl/sharedStrings.xml" in parts(data)
    found = texts(data, FileFormat.XLSX)
    assert found.count("blue shirt") == 1
    assert {"large", "small", "a comment", "in a box"} <= set(found)
    assert not {"Name", "Size"} & set(found)
    out = translated(data, FileFormat.XLSX, upper)
    read = openpyxl.load_workbook(io.BytesIO(out), rich_text=True)["Data"]
    assert [[str(cell.value) for cell in row] for row in read["A1:B3"]] == [
        ["Name", "Size"],
        ["BLUE SHIRT", "LARGE"],
        ["BLUE SHIRT", "SMALL"],
    ]
    assert str(read["D1"].value) == "A BOLD WORD"
    pieces = [piece for piece in read["D1"].value if not isinstance(piece, str)]
    assert [piece.text for piece in pieces if piece.font.b] == ["BOLD"]
    assert read["D2"].comment.text == "A COMMENT"
    assert b"IN A BOX" in parts(out)["xl/drawings/drawing1.xml"]
    assert parts(translated(data, FileFormat.XLSX, same)) == parts(data)


@pytest.mark.parametrize("kind", [FileFormat.DOCX, FileFormat.PPTX, FileFormat.XLSX])
def test_what_is_no_office_file_is_refused(kind: FileFormat) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr("a.txt", "a")
    damaged = bytearray(saved(docx.Document()))
    damaged[2_000:2_100] = bytes(100)
    for data in (b"", b"hello", archive.getvalue(), bytes(damaged)):
        with pytest.raises(FileFormatError):
            parse_document(data, kind, LANGUAGES)
