"""Takes a prompt template apart: what is encoded once, and the span around the text that is encoded with the text.

A span reaches from the last control token before the text to the first one after it. Tokenizers take control tokens
out of a string before they do anything else, so a span has the same ids alone as inside the whole prompt, unless the
tokenizer treats the place of a piece differently (:func:`depends_on_place`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer


@dataclass(frozen=True, slots=True)
class ControlToken:
    """A control token of a template that is next to the span."""

    id: int
    text: str
    """As the template writes it, with white space that the token takes in."""


@dataclass(frozen=True, slots=True)
class TemplateSpan:
    """A template of one language pair, in the parts that are encoded apart."""

    before: tuple[int, ...]
    """Ids up to the last control token before the text, that one included."""
    prefix: str
    """Text between that token and the text."""
    suffix: str
    """Text between the text and the first control token after it."""
    after: tuple[int, ...]
    """Ids from that token on."""
    opening: ControlToken | None
    """The last control token before the text."""
    closing: ControlToken | None
    """The first control token after the text."""
    affix_tokens: int
    """Number of tokens of prefix and suffix, each encoded alone."""

    @property
    def tokens(self) -> int:
        """Number of tokens of the template."""
        return len(self.before) + self.affix_tokens + len(self.after)

    def around(self, text: str) -> str:
        """The string that the ids between :attr:`before` and :attr:`after` are encoded from."""
        return f"{self.prefix}{text}{self.suffix}"

    def whole(self, text: str) -> str:
        """The same between the control tokens next to it."""
        opening = self.opening.text if self.opening else ""
        return f"{opening}{self.around(text)}{self.closing.text if self.closing else ''}"

    def inner_ids(self, ids: list[int], control_ids: Collection[int]) -> list[int] | None:
        """The ids of the text and what is around it, among those of :meth:`whole`.

        Args:
            ids: of :meth:`whole`, with control tokens recognized.
            control_ids: ids of all control tokens.

        Returns:
            None if the control tokens are not those of the template: the text spells one out.
        """
        start, end = 0, len(ids)
        if self.opening is not None:
            if not ids or ids[0] != self.opening.id:
                return None
            start = 1
        if self.closing is not None:
            if end <= start or ids[-1] != self.closing.id:
                return None
            end -= 1
        inner = ids[start:end]
        return None if any(token_id in control_ids for token_id in inner) else inner


def template_span(
    tokenizer: Tokenizer, before: str, after: str, control_ids: Collection[int]
) -> TemplateSpan:
    """Take one template apart.

    Args:
        tokenizer: that recognizes control tokens in text.
        before: the template before the text.
        after: the template after the text.
        control_ids: ids of all control tokens.
    """
    head, tail = (tokenizer.encode(part, add_special_tokens=False) for part in (before, after))
    last = max((at for at, each in enumerate(head.ids) if each in control_ids), default=-1)
    first = min((at for at, each in enumerate(tail.ids) if each in control_ids), default=len(tail.ids))
    prefix_start = head.offsets[last][1] if last >= 0 else 0
    suffix_end = tail.offsets[first][0] if first < len(tail.ids) else len(after)
    opening, closing = None, None
    if last >= 0:
        opening = ControlToken(head.ids[last], before[head.offsets[last][0] : prefix_start])
    if first < len(tail.ids):
        closing = ControlToken(tail.ids[first], after[suffix_end : tail.offsets[first][1]])
    return TemplateSpan(
        before=tuple(head.ids[: last + 1]),
        prefix=before[prefix_start:],
        suffix=after[:suffix_end],
        after=tuple(tail.ids[first:]),
        opening=opening,
        closing=closing,
        affix_tokens=len(head.ids) - (last + 1) + first,
    )


def depends_on_place(
    document: Mapping[str, Any], spans: Collection[TemplateSpan], added: Mapping[int, AddedToken]
) -> bool:
    """Whether a span may have other ids alone than between its control tokens.

    That is so where white space is added at the start of a string only, and where a control token takes in white
    space or is looked for after normalizing.

    Args:
        document: the ``tokenizer.json``.
        spans: of all language pairs.
        added: the tokenizer's added tokens, by id.
    """
    neighbors = [
        added[token.id] for span in spans for token in (span.opening, span.closing) if token is not None
    ]
    if not neighbors:
        return False
    at_start_only = any(part.get("prepend_scheme") == "first" for part in _parts(document["pre_tokenizer"]))
    normalizer = document.get("normalizer")
    normalizes = normalizer is not None and normalizer.get("normalizers") != []
    return at_start_only or any(
        token.lstrip or token.rstrip or token.single_word or (token.normalized and normalizes)
        for token in neighbors
    )


def _parts(part: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if part is None:
        return
    yield part
    for member in part.get("pretokenizers") or ():
        yield from _parts(member)
