"""XLIFF 1.2 and 2: targets are filled, all else stays, as ElementTree reads it."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documents.formats import FileFormat, parse_document
from documents.interface import FileFormatError, UnitTranslation
from protocol.messages import TextFormat
from tests.documents.translators import LANGUAGES, nothing, texts, translated, upper

V1 = """<?xml version="1.0" encoding="UTF-8"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
  <file original="a.html" source-language="en" datatype="html">
    <body>
      <trans-unit id="1" resname="menu">
        <source>Blue &amp; red</source>
        <note>a menu</note>
      </trans-unit>
      <trans-unit id="2"><source>A <g id="1">bold</g> <x id="2"/>one</source><target/></trans-unit>
      <trans-unit id="3"><source>kept</source><target>behalten</target></trans-unit>
      <trans-unit id="4" translate="no"><source>kept</source></trans-unit>
      <trans-unit id="5" approved="yes"><source>kept</source><target state="new">x</target></trans-unit>
      <trans-unit id="6"><source>new</source><target state="needs-translation" xml:lang="zh">new</target>
        <alt-trans><source>other</source><target>andere</target></alt-trans></trans-unit>
      <group translate="no"><trans-unit id="7"><source>kept</source></trans-unit>
        <trans-unit id="8" translate="yes"><source>yes</source></trans-unit></group>
      <trans-unit id="9"><source><![CDATA[<p>]]></source></trans-unit>
    </body>
  </file>
</xliff>
"""
V2 = """<xliff xmlns="urn:oasis:names:tc:xliff:document:2.0" version="2.1" srcLang="en" trgLang="de">
 <file id="f"><unit id="1"><notes><note>hint</note></notes>
  <segment><source>Blue <pc id="1">shirt</pc></source></segment>
  <ignorable><source> </source></ignorable>
  <segment state="initial"><source>one</source><target>one</target></segment>
  <segment state="final"><source>two</source><target>zwei</target></segment>
 </unit></file></xliff>
"""


def test_version_1_gets_targets_where_there_are_none() -> None:
    document = parse_document(V1.encode(), FileFormat.XLIFF, LANGUAGES)
    assert [unit.text for unit in document.units] == [
        "Blue & red",
        'A <g id="1">bold</g> <x id="2"/>one',
        "new",
        "yes",
        "<p>",
    ]
    assert document.units[0].context == "menu\na menu"
    assert document.units[0].place == "unit 1"
    assert document.units[1].text_format is TextFormat.XML
    out = translated(V1.encode(), FileFormat.XLIFF, upper).decode()
    expected = V1
    for old, new in (
        ('datatype="html">', 'datatype="html" target-language="zh">'),
        ("red</source>", "red</source>\n        <target>BLUE &amp; RED</target>"),
        ("<target/>", '<target>A <g id="1">BOLD</g> <x id="2"/>ONE</target>'),
        ('state="needs-translation" xml:lang="zh">new', 'state="translated" xml:lang="zh">NEW'),
        ("<source>yes</source>", "<source>yes</source><target>YES</target>"),
        ("]]></source>", "]]></source><target>&lt;P&gt;</target>"),
    ):
        expected = expected.replace(old, new)
    assert out == expected


def test_version_2_gets_targets_in_its_segments() -> None:
    assert texts(V2.encode(), FileFormat.XLIFF) == ['Blue <pc id="1">shirt</pc>', "one"]
    assert translated(V2.encode(), FileFormat.XLIFF, upper).decode() == V2.replace(
        "</pc></source>", '</pc></source><target>BLUE <pc id="1">SHIRT</pc></target>'
    ).replace("<target>one", "<target>ONE")


def test_a_flagged_translation_is_marked_for_review_and_none_leaves_the_file_alone() -> None:
    document = parse_document(V1.encode(), FileFormat.XLIFF, LANGUAGES)
    out = document.render([UnitTranslation("中", is_flagged=True)] * 5).decode()
    assert out.count('<target state="needs-review-translation"') == 5
    assert translated(V1.encode(), FileFormat.XLIFF, nothing) == V1.encode()


def test_plurals_are_messages_of_icu() -> None:
    source = "{VAR_PLURAL, plural, =0 {none} other {many &amp; more}}"
    data = f"<xliff version='1.2'><trans-unit id='1'><source>{source}</source></trans-unit></xliff>".encode()
    (unit,) = parse_document(data, FileFormat.XLIFF, LANGUAGES).units
    assert (unit.text_format, unit.text) == (TextFormat.ICU, source.replace("&amp;", "&"))
    assert b"<target>x &amp; y</target>" in translated(data, FileFormat.XLIFF, lambda _: "x & y")


@pytest.mark.parametrize(
    "data", [b"<a/>", b"<xliff/>", b"<xliff version='1.2'>", b"", b"\xff", b"<xliff version='3'/>"]
)
def test_what_is_not_xliff_is_refused(data: bytes) -> None:
    with pytest.raises(FileFormatError):
        parse_document(data, FileFormat.XLIFF, LANGUAGES)


def test_entity_declarations_are_refused() -> None:
    with pytest.raises(FileFormatError, match="entity declarations"):
        parse_document(
            b"<!DOCTYPE a [<!ENTITY e 'x'>]><xliff version='1.2'>&e;</xliff>", FileFormat.XLIFF, LANGUAGES
        )


def shape(data: bytes) -> list[tuple[str, tuple[str, ...]]]:
    """Elements and attribute values but for targets and what is in them."""
    root = ElementTree.fromstring(data)
    for parent in list(root.iter()):
        for target in parent.findall("target"):
            parent.remove(target)
    root.find("file").attrib.pop("target-language", None)  # type: ignore[union-attr]
    return [(element.tag, tuple(element.attrib.values())) for element in root.iter()]


CONTENT = st.lists(
    st.sampled_from(["blue ", "&lt;", "<x id='1'/>", "<g id='2'>red</g>", "é中", "\n"]),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60)
@given(st.lists(st.tuples(CONTENT, st.sampled_from(["", "<target/>", "<target>t</target>"])), max_size=6))
def test_the_structure_of_any_document_stays(units: list[tuple[list[str], str]]) -> None:
    body = "".join(
        f"<trans-unit id='{n}'><source>{''.join(content)}</source>{target}</trans-unit>"
        for n, (content, target) in enumerate(units)
    )
    data = f"<xliff version='1.2'><file><body>{body}</body></file></xliff>".encode()
    out = translated(data, FileFormat.XLIFF, upper)
    assert shape(out) == shape(data)
    read = list(ElementTree.fromstring(out).iter("trans-unit"))
    for unit, (content, target) in zip(read, units, strict=True):
        found = unit.find("target")
        if target == "<target>t</target>":
            assert found is not None
            assert found.text == "t"
        elif "".join(content).strip():
            assert found is not None
            assert "".join(found.itertext()) == "".join(unit.find("source").itertext()).upper()  # type: ignore[union-attr]
