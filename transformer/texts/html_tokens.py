"""Splits HTML into tokens by the rules of the WHATWG standard (13.2.5 Tokenization), with their positions. Pure.

Beyond the standard, tags of template languages are tokens of their own, wherever they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from transformer.texts.markup_tokens import ATTRIBUTE, MarkupError, MarkupToken, TokenKind

_CONSTRUCT = re.compile(r"<[A-Za-z/!?%]|\{[%#]")
_TAG_NAME = re.compile(r"[A-Za-z][^\t\n\f\r />]*")
_BETWEEN_ATTRIBUTES = re.compile(r"[\t\n\f\r /]*")
_COMMENT_END = re.compile(r"--!?>")
_SCRIPT_MARK = re.compile(r"<!--|-->|<(/?)script(?=[\t\n\f\r />])", re.IGNORECASE)
_PHP = re.compile(r"<\?(?:php\b|=|(?=\s))", re.IGNORECASE)
_TEMPLATE_ENDS = {"<%": "%>", "<?": "?>", "{%": "%}", "{#": "#}"}

_ESCAPABLE = frozenset({"title", "textarea"})
"""Elements that hold text with entities but no tags."""
_RAW = frozenset({"style", "xmp", "iframe", "noembed", "noframes"})
"""Elements that hold text with neither."""

_SEPARATORS = " \t\n\r\f/"
_LONG_TAG = 65_536
"""Characters of a tag that is refused, in a text with as many separators: it may have too many attributes."""


class HtmlTokenizer:
    """Reads one source once. The caller sets :attr:`in_foreign` while it takes the tokens."""

    def __init__(self, source: str) -> None:
        self.in_foreign = False
        """Whether the next token is inside ``svg`` or ``math``, where elements have no text rules of their own."""
        self._source = source
        self._bounds_tags = sum(map(source.count, _SEPARATORS)) > _LONG_TAG
        self._last_end = {end: source.rfind(end) for end in _TEMPLATE_ENDS.values()}

    def tokens(self) -> Iterator[MarkupToken]:
        """All tokens, in order; each begins where the one before ends.

        Raises:
            MarkupError: a tag is too long.
        """
        source, size = self._source, len(self._source)
        at = text_from = 0
        while at < size:
            found = _CONSTRUCT.search(source, at)
            token = self._token(found.start()) if found else None
            if found and token is None:
                at = found.end() - 1
                continue
            end = found.start() if found else size
            if end > text_from:
                yield MarkupToken(TokenKind.TEXT, text_from, end)
            if token is None:
                return
            yield token
            at = text_from = token.end
            if token.kind is TokenKind.START and not self.in_foreign:
                content = self._content(token)
                if content is not None and content.end > content.start:
                    yield content
                    at = text_from = content.end
        if size > text_from:
            yield MarkupToken(TokenKind.TEXT, text_from, size)

    def _token(self, at: int) -> MarkupToken | None:
        """The construct at ``at``; None if it is text."""
        source = self._source
        template_end = self._template_end(at)
        if template_end:
            return MarkupToken(TokenKind.TEMPLATE, at, template_end)
        if source[at] == "{" or source.startswith("<%", at):
            return None
        second = source[at + 1]
        if second == "!":
            return self._declaration(at)
        if second == "?":
            return self._other(at, source.find(">", at))
        if second != "/":
            return self._tag(TokenKind.START, at, at + 1)
        if at + 2 >= len(source):
            return None
        if _TAG_NAME.match(source, at + 2):
            return self._tag(TokenKind.END, at, at + 2)
        return self._other(at, source.find(">", at))

    def _template_end(self, at: int) -> int:
        """The end of the template tag at ``at``; 0 if there is none."""
        source = self._source
        end = _TEMPLATE_ENDS.get(source[at : at + 2])
        if end is None or (end == "?>" and not _PHP.match(source, at)):
            return 0
        if self._last_end[end] >= at + 2:
            return source.index(end, at + 2) + 2
        return len(source) if end == "?>" else 0

    def _declaration(self, at: int) -> MarkupToken:
        source = self._source
        if source.startswith("<!--", at):
            if source.startswith((">", "->"), at + 4):
                return self._other(at, source.index(">", at))
            found = _COMMENT_END.search(source, at + 4)
            return self._other(at, found.end() - 1 if found else -1)
        if self.in_foreign and source.startswith("<![CDATA[", at):
            end = source.find("]]>", at + 9)
            return MarkupToken(TokenKind.CDATA, at, end + 3 if end >= 0 else len(source))
        return self._other(at, source.find(">", at))

    def _other(self, start: int, last: int) -> MarkupToken:
        """A token that is kept, up to the character at ``last``; to the end of the source if it is negative."""
        return MarkupToken(TokenKind.OTHER, start, last + 1 if last >= 0 else len(self._source))

    def _tag(self, kind: TokenKind, start: int, name_at: int) -> MarkupToken:
        source = self._source
        found = _TAG_NAME.match(source, name_at)
        name = found.group().lower() if found else ""
        at = name_at + len(name)
        while True:
            between = _BETWEEN_ATTRIBUTES.match(source, at)
            place = between.end() if between else at
            if place >= len(source):
                return self._other(start, -1)
            if source[place] == ">":
                is_empty = place > at and source[place - 1] == "/"
                return MarkupToken(kind, start, place + 1, name, is_empty)
            if self._bounds_tags and place - start >= _LONG_TAG:
                raise MarkupError(f"a tag is longer than {_LONG_TAG} characters")
            at = self._template_end(place) or self._attribute_end(place)
            if at < 0:
                return self._other(start, -1)

    def _attribute_end(self, at: int) -> int:
        """The end of the attribute at ``at``; negative if the source ends in it."""
        found = ATTRIBUTE.match(self._source, at)
        if found is None:
            return -1
        quote = found.group(2)
        if quote in ("'", '"'):
            end = self._source.find(quote, found.end())
            return end + 1 if end >= 0 else -1
        return found.end()

    def _content(self, tag: MarkupToken) -> MarkupToken | None:
        """The text of an element that holds no tags; None if ``tag`` opens none."""
        source, name = self._source, tag.name
        if name == "script":
            return MarkupToken(TokenKind.RAW_TEXT, tag.end, self._script_end(tag.end))
        if name == "plaintext":
            return MarkupToken(TokenKind.RAW_TEXT, tag.end, len(source))
        if name not in _ESCAPABLE and name not in _RAW:
            return None
        found = re.compile(rf"</{name}(?=[\t\n\f\r />])", re.IGNORECASE).search(source, tag.end)
        kind = TokenKind.TEXT if name in _ESCAPABLE else TokenKind.RAW_TEXT
        return MarkupToken(kind, tag.end, found.start() if found else len(source))

    def _script_end(self, at: int) -> int:
        """Where the end tag of the script that begins at ``at`` begins: not within ``<!-- <script> -->``."""
        escaped = doubly_escaped = False
        while (found := _SCRIPT_MARK.search(self._source, at)) is not None:
            at = found.end()
            if found.group() == "<!--":
                at -= 2  # its dashes may be those of "-->"
                escaped = True
            elif found.group() == "-->":
                escaped = doubly_escaped = False
            elif found.group(1):
                if not doubly_escaped:
                    return found.start()
                doubly_escaped = False
            elif escaped:
                doubly_escaped = True
        return len(self._source)
