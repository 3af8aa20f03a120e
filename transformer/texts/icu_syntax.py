"""Parses messages of ICU MessageFormat: literal text, arguments, and plural, selectordinal and select. Pure.

The grammar is that of ICU4J's MessagePattern with DOUBLE_OPTIONAL apostrophes, as in FormatJS: a single apostrophe
quotes only before a brace, or before ``#`` within a plural; two of them are one. Names of arguments may hold dots and
dashes as well, as some libraries allow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from transformer.texts.markup_tokens import MarkupError

MAX_DEPTH = 8
"""Arguments within each other."""
PLURALS = ("plural", "selectordinal")
CHOOSING = (*PLURALS, "select")
_SPACE = re.compile(r"[\s\u200e\u200f]*")
_NAME = re.compile(r"[^\s{},'#<>|=:]{1,128}")
_OFFSET = re.compile(r"\s*offset\s*:\s*-?\d{1,9}(?=[\s{])")
_EXACT = re.compile(r"=-?\d{1,18}(?:\.\d{1,9})?")


@dataclass(frozen=True, slots=True)
class IcuLiteral:
    """Literal text."""

    start: int
    end: int
    """Range in the source."""
    text: str
    """Without quoting: as long as its source where nothing is quoted."""


@dataclass(frozen=True, slots=True)
class IcuArgument:
    """A value that is put in: ``{name}``, ``{n, number, integer}``, or ``#`` in a plural."""

    start: int
    end: int
    name: str
    """Of the argument; of ``#`` that of its plural."""


@dataclass(frozen=True, slots=True)
class IcuBranch:
    """One of the messages that an argument chooses between."""

    selector: str
    """``one``, ``=0``, ``female``."""
    start: int
    """Of the white space before its selector."""
    end: int
    """Behind its closing brace."""
    message: IcuMessage


@dataclass(frozen=True, slots=True)
class IcuChoice:
    """A plural, selectordinal or select argument."""

    start: int
    end: int
    name: str
    kind: str
    branches: tuple[IcuBranch, ...]
    """In order; one of them is ``other``."""


IcuPart = IcuLiteral | IcuArgument | IcuChoice


@dataclass(frozen=True, slots=True)
class IcuMessage:
    """A message, or that of a branch."""

    start: int
    end: int
    parts: tuple[IcuPart, ...]
    in_plural: bool
    """Whether ``#`` stands for a number in it."""


def parse_icu(source: str) -> IcuMessage:
    """The parts of a message, in order; their ranges, joined, are all of it.

    Raises:
        MarkupError: it is not well-formed; the message says where.
    """
    parser = _MessageParser(source)
    message = parser.message("", 0)
    if message.end < len(source):
        raise parser.fault(message.end, "a closing brace has no opening one; write '}' for the character")
    return message


def quoted_literal(text: str, *, in_plural: bool, doubles: bool) -> str:
    """``text`` as literal text of a message.

    Args:
        text: any text, up to the next argument.
        in_plural: whether ``#`` stands for a number.
        doubles: whether all apostrophes are doubled; else those that could quote.
    """
    special = "{}#" if in_plural else "{}"

    def quoted(found: re.Match[str]) -> str:
        marks = found.group().replace("'", "''")
        if found.group()[0] != "'":
            return f"'{marks}'"
        following = text[found.end() : found.end() + 1]
        may_quote = not following or following in special or len(found.group()) > 1
        return marks if doubles or may_quote else "'"

    return re.sub(rf"[{special}][{special}']*|'+", quoted, text)


class _MessageParser:
    """Reads one source."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0

    def fault(self, at: int, words: str) -> MarkupError:
        line = self._source.count("\n", 0, at) + 1
        column = at - (self._source.rfind("\n", 0, at) + 1) + 1
        return MarkupError(f"line {line}, column {column}: {words}")

    def message(self, number: str, depth: int) -> IcuMessage:
        """The message that begins here, up to a brace that closes it or the end.

        Args:
            number: name of the argument that ``#`` stands for; empty outside of plurals.
            depth: of the message.
        """
        start = self._at
        parts: list[IcuPart] = []
        while self._at < len(self._source) and self._source[self._at] != "}":
            if self._source[self._at] == "{":
                parts.append(self._argument(number, depth))
            elif number and self._source[self._at] == "#":
                parts.append(IcuArgument(self._at, self._at + 1, number))
                self._at += 1
            else:
                parts.append(self._literal("{}#" if number else "{}"))
        return IcuMessage(start, self._at, tuple(parts), bool(number))

    def _literal(self, special: str) -> IcuLiteral:
        """Literal text up to the next special character that is not quoted; one stretch of the same quoting."""
        start, source = self._at, self._source
        if source[start] == "'":
            return self._quoted(special)
        found = re.compile(rf"[{special}']").search(source, start)
        self._at = found.start() if found else len(source)
        return IcuLiteral(start, self._at, source[start : self._at])

    def _quoted(self, special: str) -> IcuLiteral:
        """What an apostrophe begins: one that is doubled, quoted text, or an apostrophe alone."""
        start, source = self._at, self._source
        following = source[start + 1 : start + 2]
        if not following or following not in f"'{special}":
            self._at += 1
            return IcuLiteral(start, self._at, "'")
        if following == "'":
            self._at += 2
            return IcuLiteral(start, self._at, "'")
        end = start + 1
        while (end := source.find("'", end)) >= 0 and source.startswith("''", end):
            end += 2
        self._at = len(source) if end < 0 else end + 1
        inner = source[start + 1 : len(source) if end < 0 else end]
        return IcuLiteral(start, self._at, inner.replace("''", "'"))

    def _argument(self, number: str, depth: int) -> IcuArgument | IcuChoice:
        start = self._at
        if depth >= MAX_DEPTH:
            raise self.fault(start, f"arguments are nested more than {MAX_DEPTH} deep")
        self._at += 1
        name = self._word(start, "the name of an argument is missing; write '{' for the character")
        if self._skipped("}"):
            return IcuArgument(start, self._at, name)
        if not self._skipped(","):
            raise self._unclosed(start, "a comma or a closing brace must follow the name of the argument")
        kind = self._word(start, "the type of the argument is missing")
        if kind not in CHOOSING:
            self._skip_style(start)
            return IcuArgument(start, self._at, name)
        if not self._skipped(","):
            raise self._unclosed(self._at, f"a comma and branches must follow {kind}")
        branches = self._branches(start, kind, name if kind in PLURALS else number, depth)
        return IcuChoice(start, self._at, name, kind, branches)

    def _branches(self, start: int, kind: str, number: str, depth: int) -> tuple[IcuBranch, ...]:
        """The branches up to the brace that closes their argument.

        Args:
            start: of the argument.
            kind: of the argument.
            number: as of :meth:`message`.
            depth: of the message that the argument is in.
        """
        branches: dict[str, IcuBranch] = {}
        if kind in PLURALS:
            self._skip(_OFFSET)
        while not self._skipped("}", keeps_space=True):
            behind = self._at
            selector = self._selector(start, kind)
            if selector in branches:
                raise self.fault(behind, f"the {kind} argument has the same branch twice")
            if not self._skipped("{"):
                raise self._unclosed(start, "a branch must begin with an opening brace")
            opening = self._at - 1
            message = self.message(number, depth + 1)
            if self._at == len(self._source):
                raise self.fault(opening, "the branch that begins here is not closed")
            self._at += 1
            branches[selector] = IcuBranch(selector, behind, self._at, message)
        if "other" not in branches:
            raise self.fault(start, f"the {kind} argument has no branch other")
        return tuple(branches.values())

    def _selector(self, start: int, kind: str) -> str:
        self._skip(_SPACE)
        if kind in PLURALS and (exact := self._skip(_EXACT)):
            return exact
        return self._word(start, "a branch must begin with a word such as other")

    def _word(self, start: int, missing: str) -> str:
        self._skip(_SPACE)
        word = self._skip(_NAME)
        if not word:
            raise self._unclosed(start, missing)
        return word

    def _skip_style(self, start: int) -> None:
        """Go behind the brace that closes an argument whose style is kept as it is."""
        depth, quotes = 1, False
        while self._at < len(self._source):
            character = self._source[self._at]
            self._at += 1
            if character == "'":
                quotes = not quotes
            elif not quotes:
                depth += (character == "{") - (character == "}")
                if not depth:
                    return
        raise self._unclosed(start, "")

    def _unclosed(self, start: int, words: str) -> MarkupError:
        """The fault at the present place; at the end of the source that the argument at ``start`` is not closed."""
        if self._at >= len(self._source):
            return self.fault(start, "the argument that begins here is not closed")
        return self.fault(self._at, words)

    def _skipped(self, character: str, *, keeps_space: bool = False) -> bool:
        """Go behind a character, and the white space before it; whether it is there."""
        behind = _SPACE.match(self._source, self._at)
        at = behind.end() if behind else self._at
        if self._source.startswith(character, at):
            self._at = at + 1
            return True
        if not keeps_space:
            self._at = at
        return False

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._source, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found.group()
