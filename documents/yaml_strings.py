"""YAML: string values are units; keys, comments, anchors and every byte of the layout stay.

Only the scalar of a translated value is written again, in its style where that can hold the translation. The single
root key of a Rails file that names the source language becomes the target's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import yaml

from documents.encoding import TextEncoding, decode_text
from documents.interface import DocumentLanguages, FileFormatError, TextUnit, UnitTranslation
from documents.splices import TextSplice, splice_text
from documents.string_markup import format_of_string

_STRING = "tag:yaml.org,2002:str"
_SPECIAL = re.compile(
    "[^\\x20-\\x7e\\xa0-\\u2027\\u202a-\\ud7ff\\ue000-\\ufefe\\uff00-\\ufffd\\U00010000-\\U0010ffff]"
)
"""Characters that stand in no scalar but as escapes; line ends too."""
_INDICATORS = frozenset("-?:,[]{}#&*!|>'\"%@` \t=~<")
_NOT_PLAIN = re.compile(r": |:\Z| #|[,\[\]{}]|\s\Z|\A\.\.\.")
_BLOCK_HEADER = re.compile(r"[|>]([+-]?)[ \t]*(#[^\r\n]*)?\r?\n")
_STARTS = (
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
)
_ENDS = (yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken, yaml.BlockEndToken)
_MOST_DEPTH = 100
"""The parser takes quadratic time for deeply nested documents."""


class YamlString(NamedTuple):
    """A string value."""

    start: int
    """Of the scalar, behind an anchor or a tag."""
    end: int
    text: str
    style: str
    """As PyYAML has it: empty for plain, a quote, ``|`` or ``>``."""
    path: tuple[str, ...]


class YamlFile:
    """A YAML stream whose strings are translated."""

    def __init__(
        self, source: str, strings: Sequence[YamlString], encoding: TextEncoding, fixed: Sequence[TextSplice]
    ) -> None:
        """Prepare the units.

        Args:
            source: the stream.
            strings: those to translate.
            encoding: of the file.
            fixed: replacements that do not depend on a translation.
        """
        self._source, self._strings, self._encoding, self._fixed = source, strings, encoding, fixed
        self.units = [
            TextUnit(each.text, format_of_string(each.text), f"key {'.'.join(each.path)}") for each in strings
        ]

    def render(self, translations: Sequence[UnitTranslation]) -> bytes:
        """The stream with its strings translated; one without a translation stays."""
        splices = [
            TextSplice(each.start, each.end, _scalar(answer.text, each, self._source))
            for each, answer in zip(self._strings, translations, strict=True)
            if answer.text is not None and answer.text != each.text
        ]
        return self._encoding.encode(splice_text(self._source, [*self._fixed, *splices]))


def _scalar(text: str, old: YamlString, source: str) -> str:
    """A scalar that means ``text``, in the style of ``old`` if it can be."""
    raw = source[old.start : old.end]
    if old.style in ("|", ">"):
        return _block(text, old, raw) or _double_quoted(text) + raw[len(raw.rstrip()) :]
    if _SPECIAL.search(text):
        return _double_quoted(text)
    if old.style == "'":
        return "'" + text.replace("'", "''") + "'"
    if old.style == "" and _is_plain(text):
        return text
    return _double_quoted(text)


def _block(text: str, old: YamlString, raw: str) -> str | None:
    """A literal block; None if it cannot hold the text."""
    header = _BLOCK_HEADER.match(raw)
    body = text.rstrip("\n")
    lines = body.split("\n")
    if (
        header is None
        or not lines[0].strip()
        or lines[0][0].isspace()
        or _SPECIAL.search(body.replace("\n", ""))
    ):
        return None
    if len(text) - len(body) != len(old.text) - len(old.text.rstrip("\n")):
        return None
    content = raw[header.end() :]
    first = next(line for line in content.splitlines() if line.strip())
    indent = first[: len(first) - len(first.lstrip(" "))]
    line_end = "\r\n" if header[0].endswith("\r\n") else "\n"
    written = line_end.join(indent + line if line else "" for line in lines)
    return "|" + header[0][1:] + written + raw[len(raw.rstrip()) :]


def _is_plain(text: str) -> bool:
    if not text or text[0] in _INDICATORS or _NOT_PLAIN.search(text):
        return False
    resolver = yaml.SafeLoader("")
    return bool(resolver.resolve(yaml.ScalarNode, text, (True, False)) == _STRING)


def _double_quoted(text: str) -> str:
    return _SPECIAL.sub(lambda found: json.dumps(found[0])[1:-1], json.dumps(text, ensure_ascii=False))


def _strings(source: str) -> Iterator[tuple[YamlString, bool]]:
    """String scalars, and whether each is a key."""
    starts = {token.end_mark.index: token.start_mark.index for token in _scalars(source)}
    seen: set[int] = set()
    for document in yaml.compose_all(source, Loader=yaml.SafeLoader):
        stack: list[tuple[yaml.Node, tuple[str, ...], bool]] = [(document, (), False)]
        while stack:
            node, path, is_key = stack.pop()
            if node is None or id(node) in seen:  # an alias
                continue
            seen.add(id(node))
            if isinstance(node, yaml.ScalarNode) and node.tag == _STRING:
                end = node.end_mark.index
                yield YamlString(starts[end], end, node.value, node.style or "", path), is_key
            elif isinstance(node, yaml.SequenceNode):
                stack += [(child, (*path, str(n)), False) for n, child in enumerate(node.value)][::-1]
            elif isinstance(node, yaml.MappingNode):
                for key, value in reversed(node.value):
                    name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
                    stack += [(value, (*path, name), False), (key, (*path, name), True)]


def _scalars(source: str) -> Iterator[yaml.ScalarToken]:
    depth = 0
    for token in yaml.scan(source, Loader=yaml.SafeLoader):
        depth += isinstance(token, _STARTS) - isinstance(token, _ENDS)
        if depth > _MOST_DEPTH:
            raise FileFormatError("it is nested too deeply")
        if isinstance(token, yaml.ScalarToken):
            yield token


def _tag(text: str) -> str:
    return text.replace("_", "-").lower()


def parse(data: bytes, languages: DocumentLanguages) -> YamlFile:
    """Read a YAML stream.

    Raises:
        FileFormatError: it is not YAML.
    """
    text, encoding = decode_text(data)
    try:
        found = list(_strings(text))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FileFormatError(f"line {line}: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FileFormatError(f"it is not YAML: {type(error).__name__}") from None
    roots = [each for each, is_key in found if is_key and len(each.path) == 1]
    fixed = []
    if len(roots) == 1 and languages.source and _tag(roots[0].text) == _tag(languages.source):
        root = roots[0]
        fixed = [TextSplice(root.start, root.end, _scalar(languages.target, root, text))]
    return YamlFile(text, [each for each, is_key in found if not is_key and each.text], encoding, fixed)
