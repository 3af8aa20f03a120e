"""Files on the page at ``/``: dropped and chosen in a real browser, translated, and saved."""

from __future__ import annotations

import time
from pathlib import Path

import docx
import pytest

from tests.transformer.apis.conftest import LAMP, LAMP_ZH, SHIRT, SHIRT_ZH
from tests.transformer.web.browser import MESSAGE, OUTPUT, Page, value


@pytest.fixture
def saved(page: Page, tmp_path: Path) -> Path:
    """Folder of what the browser downloads."""
    folder = tmp_path / "saved"
    folder.mkdir()
    page.downloads(folder)
    return folder


def save(page: Page, file: Path) -> bytes:
    """The content of a file that a click on Save downloads."""
    page.evaluate("document.querySelector('#save').click()")
    end = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < end, list(file.parent.iterdir())
        page.evaluate("new Promise((done) => setTimeout(done, 20))")
    return file.read_bytes()


@pytest.mark.parametrize("pane", ["#input", "#output"])
def test_a_dropped_page_keeps_its_tags_and_is_saved_under_its_name(
    page: Page, tmp_path: Path, saved: Path, pane: str
) -> None:
    file = tmp_path / "shirts.html"
    file.write_text(f"<p>{SHIRT}</p>")
    page.drop(file, pane)
    page.wait(f"{OUTPUT} === '<p>{SHIRT_ZH}</p>'")
    assert page.evaluate(value("#input")) == f"<p>{SHIRT}</p>"
    assert save(page, saved / "shirts.zh.html").decode() == f"<p>{SHIRT_ZH}</p>"
    assert page.faults() == []


def test_the_marks_of_a_markdown_file_are_kept(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "notes.md"
    file.write_text(f"# {SHIRT}\n\n- {LAMP}\n\n```\n{SHIRT}\n```\n")
    page.choose(file, "#file")
    page.wait(f"{OUTPUT} === '# {SHIRT_ZH}\\n\\n- {LAMP_ZH}\\n\\n```\\n{SHIRT}\\n```\\n'")


def test_a_document_is_translated_as_a_file(page: Page, tmp_path: Path, saved: Path) -> None:
    document = docx.Document()
    document.add_heading(SHIRT)
    document.add_paragraph(LAMP)
    document.save(str(tmp_path / "list.docx"))
    page.drop(tmp_path / "list.docx", "#from")
    page.wait(f"({MESSAGE}).includes('list.zh.docx is ready')")
    save(page, saved / "list.zh.docx")
    translated = docx.Document(str(saved / "list.zh.docx"))
    assert [paragraph.text for paragraph in translated.paragraphs] == [SHIRT_ZH, LAMP_ZH]
    page.evaluate("document.querySelector('#input').focus()")
    page.type(SHIRT)
    page.wait(f"{OUTPUT} === '{SHIRT_ZH}'")


def test_a_document_is_translated_again_into_another_language(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "shirts.srt"
    file.write_text(f"1\n00:00:01,000 --> 00:00:02,000\n{SHIRT_ZH}\n")
    page.choose(file, "#file")
    page.wait(f"({MESSAGE}).includes('shirts.zh.srt is ready')")
    page.evaluate(
        f"{value('#target')} = 'en'; document.querySelector('#target').dispatchEvent(new Event('change'))"
    )
    page.wait(f"({MESSAGE}).includes('shirts.en.srt is ready')")


def test_a_broken_document_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "list.docx"
    file.write_bytes(b"no archive")
    page.drop(file, "#from")
    assert page.wait(f"({MESSAGE}).startsWith('Invalid file data')")
    assert page.evaluate(OUTPUT) == ""


def test_a_file_that_is_no_text_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(bytes([255, 254, 0, 1]))
    page.drop(file, "#from")
    assert page.wait(f"({MESSAGE}).includes('not UTF-8 text')")
