"""A text's translation in pieces, in order, while its segments are still being answered. Pure.

The pieces add up to what :meth:`transformer.texts.segments.Document.restore` makes of all answers: it is asked for
every piece, so that white space, joints and markup are decided in one place. A segment's text may grow; of one that
does, what later text could still change is kept back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from protocol.errors import InternalFault
from transformer.texts.segments import Document, Identity, Segment


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one translation is."""

    text: str
    """The translation so far; nothing that follows changes it."""
    complete: bool


class DocumentWriter:
    """Writes one document, once."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._place = 0
        """Of the part that is being written."""
        self._out = ""
        """What is out of that part."""
        self._kept = ""
        """Of parts between translated ones; goes out with the next of these, so that nothing is out before it."""

    @property
    def is_complete(self) -> bool:
        """Whether every piece is out."""
        return self._place == len(self._document.parts) and not self._kept

    def write(self, progress: Mapping[Identity, Progress]) -> str:
        """What may go out now and is not out yet; may be empty.

        Args:
            progress: of every translation that has begun.

        Raises:
            InternalFault: a translation is not what it began as.
        """
        pieces: list[str] = []
        while self._place < len(self._document.parts):
            part = self._document.parts[self._place]
            if isinstance(part, str):
                self._kept += part
            else:
                one = progress.get(part.identity, Progress("", complete=False))
                piece = self._more_of(part, one, progress)
                if piece:
                    pieces += [self._kept, piece]
                    self._kept = ""
                    self._out += piece
                if not one.complete:
                    return "".join(pieces)
            self._place += 1
            self._out = ""
        pieces.append(self._kept)
        self._kept = ""
        return "".join(pieces)

    def _more_of(self, part: Segment, one: Progress, progress: Mapping[Identity, Progress]) -> str:
        if one.complete:
            whole = self._put(part, one.text, progress)
        else:
            # White space at the end is the original's, and whether a space goes before the first word shows with it.
            text = one.text.rstrip()
            if not any(map(str.isalnum, text)):
                return ""
            whole = self._put(part, text, progress)
            whole = whole[: len(whole) - (len(part.text) - len(part.text.rstrip()))]
        if not whole.startswith(self._out):
            raise InternalFault("a translation changed while it was sent; ask again without streaming")
        return whole[len(self._out) :]

    def _put(self, part: Segment, text: str, progress: Mapping[Identity, Progress]) -> str:
        """``text`` as it stands in the document, with what joins it to the part before."""
        before = self._document.parts[self._place - 1] if self._place else ""
        if isinstance(before, str):
            return replace(self._document, parts=(part,)).restore({part.identity: text})
        answers = {before.identity: progress[before.identity].text, part.identity: text}
        alone = replace(self._document, parts=(before,)).restore(answers)
        return replace(self._document, parts=(before, part)).restore(answers)[len(alone) :]
