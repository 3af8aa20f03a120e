"""`yiwen translate` on files of every format, against the demo release: its answers are right or wrong."""

from __future__ import annotations

import io
import json
from pathlib import Path

import docx
import openpyxl
import polib
import pptx
import pytest
import yaml

from cli.__main__ import main
from documents.formats import FORMATS, FileFormat
from tests.e2e.conftest import Service

BLUE, RED = "Blue cotton shirt", "Red cotton shirt"
BLUE_ZH, RED_ZH = "蓝色纯棉衬衫", "红色纯棉衬衫"


def translated(service: Service, path: Path, *options: str) -> bytes:
    """The file, translated in place."""
    command = [
        "translate",
        "--from",
        "en",
        "--to",
        "zh",
        "--url",
        service.url,
        "-i",
        str(path),
        "-o",
        str(path),
    ]
    assert main([*command, *options]) == 0
    return path.read_bytes()


SAMPLES = {
    "a.txt": f"\ufeff{BLUE}\r\n\r\n{RED}",
    "a.html": f"<!DOCTYPE html>\r\n<p class='x'>{BLUE}\n<li translate=no>Acme<p>{RED}</p></li>",
    "a.xml": f"\ufeff<?xml version='1.0'?><a><item>{BLUE}</item><!-- c --><item>{RED}</item></a>",
    "a.md": f"# {BLUE}\n\n- [ ] `code`\n- {RED}\n",
    "a.json": f'{{"a": ["{BLUE}", 1], "{RED}": "{RED}"}}',
    "a.arb": f'{{"@@locale": "en", "a": "{BLUE}", "@a": {{"description": "a"}}, "b": "{RED}"}}',
    "a.properties": f"# é\na = {BLUE}\n\nb:{RED}\n",
    "a.strings": f'/* a */ "a" = "{BLUE}";\n"{RED}" = \'{RED}\';\n',
    "a.srt": f"1\n00:00:01,000 --> 00:00:02,000\n{BLUE}\n\n2\n00:00:03,000 --> 00:00:04,000\n{RED}\n",
    "b.html": "<p>Blue <b>cotton</b> shirt</p>",
    "b.md": "Blue **cotton** shirt `x`\n",
    "b.srt": "1\n00:00:01,000 --> 00:00:02,000\n{\\an8}Blue <i>cotton</i> shirt\n",
    "a.vtt": f"WEBVTT\n\n00:01.000 --> 00:02.000\n{BLUE}\n\n00:03.000 --> 00:04.000 line:0\n{RED}\n",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_texts_are_translated_and_all_else_stays(demo: Service, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(SAMPLES[name].encode())
    expected = SAMPLES[name].replace(BLUE, BLUE_ZH)
    for before, behind in ("<b>", "</b>"), ("**", "**"), ("<i>", "</i>"):
        expected = expected.replace(f"Blue {before}cotton{behind} shirt", f"蓝色{before}纯棉{behind}衬衫")
    if name == "a.html":  # the second stands in an element that is not to be translated
        assert translated(demo, tmp_path / name).decode() == expected
        return
    for key in f'"{RED}":', f'"{RED}" =':
        expected = expected.replace(key, f"key{key[-1]}")
    expected = expected.replace(RED, RED_ZH)
    for key in f'"{RED}":', f'"{RED}" =':
        expected = expected.replace(f"key{key[-1]}", key)
    expected = expected.replace('"@@locale": "en"', '"@@locale": "zh"')
    assert translated(demo, tmp_path / name).decode() == expected


def test_plurals_of_messages(demo: Service, tmp_path: Path) -> None:
    message = f"{{n, plural, =0 {{{BLUE}}} one {{# shirt}} other {{{RED}}}}}"
    (tmp_path / "a.json").write_text(f'{{"a": "{message}", "b": "{BLUE}"}}')
    wanted = f"{{n, plural, =0 {{{BLUE_ZH}}} other {{{RED_ZH}}}}}"
    assert translated(demo, tmp_path / "a.json").decode() == f'{{"a": "{wanted}", "b": "{BLUE_ZH}"}}'


def test_catalogs_and_settings(demo: Service, tmp_path: Path) -> None:
    (tmp_path / "a.po").write_text(f'msgid "{BLUE}"\nmsgstr ""\n\nmsgid "{RED}"\nmsgstr "kept"\n')
    read = polib.pofile(translated(demo, tmp_path / "a.po").decode())
    assert [entry.msgstr for entry in read] == [BLUE_ZH, "kept"]
    (tmp_path / "a.yml").write_text(f"en:\n  a: {BLUE} # comment\n  b: '{RED}'\n")
    out = translated(demo, tmp_path / "a.yml").decode()
    assert out == f"zh:\n  a: {BLUE_ZH} # comment\n  b: '{RED_ZH}'\n"
    assert yaml.safe_load(out) == {"zh": {"a": BLUE_ZH, "b": RED_ZH}}
    source = "<trans-unit id='1'><source>Blue <g id='1'>cotton</g> shirt<x id='2'/></source></trans-unit>"
    (tmp_path / "a.xlf").write_text(f"<xliff version='1.2'><file><body>{source}</body></file></xliff>")
    assert (
        "<target>蓝色<g id='1'>纯棉</g>衬衫<x id='2'/></target>"
        in translated(demo, tmp_path / "a.xlf").decode()
    )


def test_office_files(demo: Service, tmp_path: Path) -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("Blue ")
    paragraph.add_run("cotton").bold = True
    paragraph.add_run(" shirt")
    document.add_table(1, 1).cell(0, 0).text = RED
    document.save(str(tmp_path / "a.docx"))
    read = docx.Document(io.BytesIO(translated(demo, tmp_path / "a.docx")))
    assert (read.paragraphs[0].text, read.tables[0].cell(0, 0).text) == (BLUE_ZH, RED_ZH)
    bold = [(run.text, bool(run.bold)) for run in read.paragraphs[0].runs]
    assert bold == [("蓝色", False), ("纯棉", True), ("衬衫", False)]
    slides = pptx.Presentation()
    slides.slides.add_slide(slides.slide_layouts[0]).shapes.title.text = BLUE
    slides.save(str(tmp_path / "a.pptx"))
    shown = pptx.Presentation(io.BytesIO(translated(demo, tmp_path / "a.pptx")))
    assert shown.slides[0].shapes.title.text == BLUE_ZH
    book = openpyxl.Workbook()
    book.active.append([RED, 12])
    book.save(str(tmp_path / "a.xlsx"))
    sheet = openpyxl.load_workbook(io.BytesIO(translated(demo, tmp_path / "a.xlsx"))).active
    assert [cell.value for cell in sheet[1]] == [RED_ZH, 12]


def test_every_format_is_tried_here() -> None:
    tried = {*(Path(name).suffix for name in SAMPLES), ".po", ".yml", ".xlf", ".docx", ".pptx", ".xlsx"}
    by_suffix = set(FileFormat) - {FileFormat.ICU}
    assert all(tried & set(FORMATS[kind].suffixes) for kind in by_suffix)


def test_a_page_of_1500_paragraphs_and_long_lines_fit(demo: Service, tmp_path: Path) -> None:
    page = "<html><body>" + f"<p>{BLUE}</p>\n<p>{RED}</p>\n" * 750 + "</body></html>"
    (tmp_path / "a.html").write_text(page)
    expected = page.replace(BLUE, BLUE_ZH).replace(RED, RED_ZH)
    assert translated(demo, tmp_path / "a.html").decode() == expected
    lines = [" ".join([f"{BLUE}."] * 40)] * 40
    (tmp_path / "a.txt").write_text("\n".join(lines))
    out = translated(demo, tmp_path / "a.txt", "--batch", "2000").decode().split("\n")
    assert [line.count(BLUE_ZH) for line in out] == [40] * 40


def test_bad_lines_have_their_errors_and_the_rest_goes_on(
    demo: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{BLUE}\nПривет мир\n{'very long ' * 2_000}\n{RED}\n", encoding="utf-8")
    command = ["translate", "--to", "zh", "--url", demo.url, "-i", str(path), "-o", str(path), "--json"]
    assert main([*command, "--on-error", "skip"]) == 1
    answers = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [answer["translation"] for answer in answers] == [BLUE_ZH, "", "", RED_ZH]
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("yiwen translate: 2 texts have no translation: 1 ")
    )
