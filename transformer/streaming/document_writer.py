"""Writes a text's translation in pieces, in order, while its segments are still being translated. Pure.

The joined pieces equal :meth:`transformer.texts.documents.Document.restore` of all translations: it makes every
piece, so that white space, joints and markup are decided in one place. What later text of a growing segment could
still change is held back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.errors import InternalFault
from transformer.texts.documents import Document, Segment, joint
from transformer.texts.work_item import WorkItem


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of one translation."""

    text: str
    """The translation so far; nothing that follows changes it."""
    complete: bool


NOT_BEGUN = Progress("", complete=False)


class DocumentWriter:
    """Writes one document, once."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._place = 0
        """Index of the part that is being written."""
        self._written = ""
        """What has been written of that part."""
        self._before: Segment | None = None
        """The segment before it."""
        self._held = ""
        """Text between translated parts; written with the next of them: the first piece holds a translation."""

    @property
    def is_complete(self) -> bool:
        """Whether everything has been written."""
        return self._place == len(self._document.parts) and not self._held

    def write(self, progress: Mapping[WorkItem, Progress]) -> str:
        """The next piece; may be empty.

        Args:
            progress: of every translation that has begun.

        Raises:
            InternalFault: a translation no longer begins with what has been written of it.
        """
        pieces: list[str] = []
        while self._place < len(self._document.parts):
            part = self._document.parts[self._place]
            if isinstance(part, str):
                self._held += part
            else:
                state = _progress_of(part, progress)
                piece = self._next_piece_of(part, state, progress)
                if piece:
                    pieces += [self._held, piece]
                    self._held = ""
                    self._written += piece
                if not state.complete:
                    return "".join(pieces)
                self._before = part
            self._place += 1
            self._written = ""
        pieces.append(self._held)
        self._held = ""
        return "".join(pieces)

    def _next_piece_of(self, part: Segment, state: Progress, progress: Mapping[WorkItem, Progress]) -> str:
        if state.complete:
            whole = self._restore(part, state.text, progress)
        else:
            # The original's white space is around the part, and the first word decides whether a space precedes it.
            text = state.text.strip()
            if not any(map(str.isalnum, text)):
                return ""
            whole = self._restore(part, text, progress)
            whole = whole[: len(whole) - (len(part.text) - len(part.text.rstrip()))]
        if not whole.startswith(self._written):
            raise InternalFault("a translation changed while it was sent; ask again without streaming")
        return whole[len(self._written) :]

    def _restore(self, part: Segment, text: str, progress: Mapping[WorkItem, Progress]) -> str:
        """``text`` as it stands in the document, with what joins it to the segment before it."""
        translations = {item: each.text for item, each in progress.items()} if part.tags else {}
        translations[part.item] = text
        before = self._before
        if before is not None:
            translations.setdefault(before.item, progress[before.item].text)
        return joint(before, part, translations) + part.restore(translations)[0]


def _progress_of(part: Segment, progress: Mapping[WorkItem, Progress]) -> Progress:
    """The state of a segment: one with tags is written once everything is there that places them."""
    state = progress.get(part.item, NOT_BEGUN)
    if not part.tags:
        return state
    if not state.complete or not all(progress.get(item, NOT_BEGUN).complete for item in part.items):
        return NOT_BEGUN
    translations = {item: each.text for item, each in progress.items() if each.complete}
    return NOT_BEGUN if part.missing_items(translations) else state
