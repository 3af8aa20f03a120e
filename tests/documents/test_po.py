"""gettext catalogs, as polib reads them."""

from __future__ import annotations

import polib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documents.formats import FileFormat, parse_document
from documents.interface import DocumentLanguages, FileFormatError, UnitTranslation
from tests.documents.translators import LANGUAGES, nothing, texts, translated, upper

HEADER = 'msgid ""\nmsgstr ""\n"Language: zh\\n"\n"Content-Type: text/plain; charset=UTF-8\\n"\n{plurals}\n'
ENTRIES = """\
#. a note
#: a.c:1
#, c-format
#| msgid "old"
msgctxt "menu"
msgid "Open %d"
msgstr ""

msgid "kept"
msgstr "behalten"

#, fuzzy
msgid "unsure"
msgstr "unsicher"

msgid "%d file\\n"
msgid_plural "%d files\\n"
msgstr[0] ""
msgstr[1] ""

#~ msgid "gone"
#~ msgstr "weg"
"""
ONE = '"Plural-Forms: nplurals=1; plural=0;\\n"\n'
TWO = '"Plural-Forms: nplurals=2; plural=(n != 1);\\n"\n'
THREE = '"Plural-Forms: nplurals=3; plural=(n%10==1 ? 0 : n%10>=2 ? 1 : 2);\\n"\n'


def catalog(plurals: str) -> bytes:
    return (HEADER.format(plurals=plurals) + ENTRIES).encode()


def test_messages_without_a_translation_get_one_and_the_rest_stays() -> None:
    assert texts(catalog(ONE), FileFormat.PO) == ["Open %d", "%d file\n", "%d files\n"]
    out = translated(catalog(ONE), FileFormat.PO, upper).decode()
    expected = catalog(ONE).decode()
    expected = expected.replace('"Open %d"\nmsgstr ""', '"Open %d"\nmsgstr "OPEN %D"')
    expected = expected.replace('msgstr[0] ""\nmsgstr[1] ""', 'msgstr[0] "%D FILES\\n"')
    assert out == expected
    unit = parse_document(catalog(ONE), FileFormat.PO, LANGUAGES).units[0]
    assert (unit.context, unit.place) == ("menu\na note", "line 7")


@pytest.mark.parametrize(
    ("plurals", "target", "forms"),
    [
        (TWO, "de", ["%D FILE\n", "%D FILES\n"]),
        (THREE, "ru", ["%D FILE\n", "%D FILES\n", "%D FILES\n"]),
        ("", "de", ["%D FILE\n", "%D FILES\n"]),
        ("", "zh-TW", ["%D FILES\n"]),
    ],
)
def test_each_plural_form_gets_a_translation(plurals: str, target: str, forms: list[str]) -> None:
    read = polib.pofile(
        translated(catalog(plurals), FileFormat.PO, upper, DocumentLanguages(target)).decode()
    )
    entry = read.find("%d file\n")
    assert list(entry.msgstr_plural.values()) == forms
    assert ("fuzzy" in entry.flags) == (len(forms) == 3)
    assert "nplurals" in read.metadata["Plural-Forms"]


def test_a_flagged_translation_is_fuzzy() -> None:
    document = parse_document(catalog(ONE), FileFormat.PO, LANGUAGES)
    read = polib.pofile(document.render([UnitTranslation("x", is_flagged=True)] * 3).decode())
    assert [entry.fuzzy for entry in read if not entry.obsolete] == [True, False, True, True]


def test_charset_mark_and_line_ends_stay_where_they_can() -> None:
    data = catalog(ONE).replace(b"UTF-8", b"ISO-8859-1").replace(b"Open", "Öffne".encode("latin-1"))
    assert "ÖFFNE %D".encode("latin-1") in translated(data, FileFormat.PO, upper)
    chinese = translated(data, FileFormat.PO, lambda _: "打开").decode()
    assert "charset=UTF-8" in chinese
    assert "打开" in chinese
    marked = b"\xef\xbb\xbf" + catalog(ONE).replace(b"\n", b"\r\n")
    out = translated(marked, FileFormat.PO, nothing)
    assert out == marked


MESSAGES = st.lists(
    st.tuples(
        st.text('ab %"\\\n\té中', min_size=1, max_size=120), st.sampled_from(["", "done"]), st.booleans()
    ),
    max_size=6,
    unique_by=lambda message: message[0],
)


@settings(max_examples=60)
@given(MESSAGES)
def test_any_catalog_keeps_its_entries(messages: list[tuple[str, str, bool]]) -> None:
    source = polib.POFile()
    source.metadata = {
        "Content-Type": "text/plain; charset=UTF-8",
        "Language": "zh",
        "Plural-Forms": "nplurals=1; plural=0;",
    }
    for text, translation, is_plural in messages:
        plural = (
            {"msgid_plural": text + "s", "msgstr_plural": {0: translation}}
            if is_plural
            else {"msgstr": translation}
        )
        source.append(polib.POEntry(msgid=text, comment="note", occurrences=[("a.c", "1")], **plural))
    data = (str(source) + "\n").encode()
    read = polib.pofile(translated(data, FileFormat.PO, upper).decode())
    for entry, (text, translation, is_plural) in zip(read, messages, strict=True):
        assert (entry.msgid, entry.comment, entry.occurrences) == (text, "note", [("a.c", "1")])
        answer = translation or (text + "s" if is_plural else text).upper()
        found = entry.msgstr_plural[0] if is_plural else entry.msgstr
        assert found.strip("\n") == answer.strip("\n")
    assert polib.pofile(translated(data, FileFormat.PO, nothing).decode()) == source


@pytest.mark.parametrize("data", [b"hello\n", b"\xff", b'msgid "a"b"\nmsgstr ""\n', b"/etc/hostname"])
def test_what_is_no_catalog_is_refused(data: bytes) -> None:
    with pytest.raises(FileFormatError):
        parse_document(data, FileFormat.PO, LANGUAGES)
