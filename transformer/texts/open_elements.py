"""The open elements of HTML and XML: which text is to be translated, and where an element ends. Pure.

HTML's implied ends follow the WHATWG standard's tree construction (13.2.6), as far as they decide what element a text
is in: unclosed items and cells, paragraphs that a block ends, formatting that goes on behind the end of its block.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from transformer.texts import elements


@dataclass(frozen=True, slots=True)
class OpenElement:
    """One open element."""

    name: str
    says: bool | None
    """What the element itself says on whether its content is translated."""
    is_kept: bool
    """Whether its content is kept, by itself or one of those around it."""
    is_preformatted: bool = False
    """Whether white space in it means something."""


_MAX_SEARCHED = 512
"""Open elements, from the innermost, among which an end tag looks for its element: as deep as browsers nest them."""
_MAX_REOPENED = 64
"""As above, for formatting, which does not end the elements inside of it."""
_MOST_ALIKE = 3
"""Formatting elements of one name that are opened again, as in the standard (13.2.4.3)."""


class XmlElements:
    """The open elements of an XML document, in which every element has an end."""

    in_foreign = False

    def __init__(self) -> None:
        self._open: list[OpenElement] = []

    @property
    def is_kept(self) -> bool:
        """Whether text is kept at this place."""
        return bool(self._open) and self._open[-1].is_kept

    @property
    def is_preformatted(self) -> bool:
        """Whether white space means something at this place."""
        return bool(self._open) and self._open[-1].is_preformatted

    def start(
        self, name: str, *, says: bool | None, is_empty: bool, is_preformatted: bool | None = None
    ) -> None:
        """Take a start tag.

        Args:
            name: of the element.
            says: whether its content is translated; None for as around it.
            is_empty: whether it has no content.
            is_preformatted: whether white space means something in it; None for as around it.
        """
        if not is_empty:
            space = self.is_preformatted if is_preformatted is None else is_preformatted
            self._open.append(OpenElement(name, says, self.is_kept if says is None else not says, space))

    def end(self, name: str) -> None:
        """Take an end tag."""
        if self._open:
            self._open.pop()

    def text(self) -> None:
        """Take text that is not white space."""


class HtmlElements(XmlElements):
    """The open elements of an HTML document."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[str] = Counter()
        """Open elements by name."""
        self._left_open: list[OpenElement] = []
        """Formatting that is opened again before the next text."""

    @property
    def in_foreign(self) -> bool:  # type: ignore[override]
        """Whether this place is inside ``svg`` or ``math``, and in no HTML inside of them."""
        if not (self._counts["svg"] or self._counts["math"]):
            return False
        for element in reversed(self._open[-_MAX_SEARCHED:]):
            if element.name in elements.FOREIGN:
                return True
            if element.name in elements.INTEGRATION_POINTS:
                return False
        return False

    def start(
        self, name: str, *, says: bool | None, is_empty: bool, is_preformatted: bool | None = None
    ) -> None:
        """Take a start tag; the base class describes the arguments. It ends elements that it cannot stand in."""
        if self.in_foreign:
            if name not in elements.BREAKS_OUT_OF_FOREIGN:
                if not is_empty:
                    self._push(name, says, None)
                return
            while self.in_foreign:
                self._pop(len(self._open) - 1)
        self._end_implied(name)
        if name not in elements.SPECIAL:
            self.text()
        if is_empty or name in elements.VOID:
            return
        self._push(name, says, is_preformatted or name == "pre" or None)

    def end(self, name: str) -> None:
        """Take an end tag. One without an open element is ignored."""
        if name in elements.FORMATTING:
            self._end_formatting(name)
        elif name in elements.HEADINGS:
            self._pop_to(elements.HEADINGS, elements.SCOPES)
        elif name in elements.SPECIAL:
            self._pop_to(frozenset({name}), _scopes_of(name))
        else:
            self._pop_to(frozenset({name}), elements.SPECIAL - {name})

    def text(self) -> None:
        """Take text that is not white space: it is not part of ``head``, and formatting left open goes on."""
        if self._left_open and not self.in_foreign:
            left_open, self._left_open = self._left_open, []
            for element in left_open:
                self._push(element.name, element.says, None)

    def _push(self, name: str, says: bool | None, is_preformatted: bool | None) -> None:
        super().start(name, says=says, is_empty=False, is_preformatted=is_preformatted)
        self._counts[name] += 1

    def _end_implied(self, name: str) -> None:
        if name not in elements.IN_HEAD:
            self._pop_to(frozenset({"head"}), frozenset())
        if name in ("a", "nobr") and self._counts[name]:
            self._end_formatting(name)
        for starts, ends, scopes in elements.CLOSED_BY_START:
            if name in starts:
                while self._pop_to(ends, scopes) and name in elements.SPECIAL and ends != {"p"}:
                    pass
        if name in elements.ITEM_ENDS:
            self._pop_to(
                elements.ITEM_ENDS[name], elements.SPECIAL - {"address", "div", "p", "li", "dd", "dt"}
            )
        if name in elements.HEADINGS and self._open and self._open[-1].name in elements.HEADINGS:
            self._pop(len(self._open) - 1)

    def _end_formatting(self, name: str) -> None:
        for at in range(len(self._left_open) - 1, -1, -1):
            if self._left_open[at].name == name:
                del self._left_open[at]
                return
        at = self._innermost(frozenset({name}), elements.SCOPES, _MAX_REOPENED)
        if at >= 0:
            inside = self._open[at + 1 :]
            del self._open[at:]
            self._counts.subtract([name, *(element.name for element in inside)])
            for element in inside:  # they go on without it around them
                self._push(element.name, element.says, element.is_preformatted)

    def _pop_to(self, names: frozenset[str], scopes: frozenset[str]) -> bool:
        """End the innermost open element of ``names`` and all inside of it, unless one of ``scopes`` is between."""
        at = self._innermost(names, scopes, _MAX_SEARCHED)
        if at >= 0:
            self._pop(at)
        return at >= 0

    def _innermost(self, names: frozenset[str], scopes: frozenset[str], depth: int) -> int:
        """The place of the innermost open element of ``names``; -1 if there is none.

        Args:
            names: of the elements searched for.
            scopes: names of elements that end the search.
            depth: elements searched at most.
        """
        if not any(self._counts[name] for name in names):
            return -1
        last = len(self._open) - 1
        for at in range(last, max(last - depth, -1), -1):
            if self._open[at].name in names:
                return at
            if self._open[at].name in scopes:
                break
        return -1

    def _pop(self, at: int) -> None:
        """End the open elements from ``at`` on."""
        ended = self._open[at:]
        del self._open[at:]
        self._counts.subtract(element.name for element in ended)
        if any(element.name in elements.SCOPES for element in ended):
            self._left_open = []
        else:
            for element in ended:
                alike = [
                    each for each in self._left_open if (each.name, each.says) == (element.name, element.says)
                ]
                if element.name in elements.FORMATTING and len(alike) < _MOST_ALIKE:
                    self._left_open.append(element)


def _scopes_of(name: str) -> frozenset[str]:
    if name == "p":
        return elements.BUTTON_SCOPES
    if name == "li":
        return elements.LIST_SCOPES
    return elements.TABLE_SCOPES - {name} if name in _TABLE_NAMES else elements.SCOPES - {name}


_TABLE_NAMES = elements.names("caption colgroup table tbody td tfoot th thead tr")
