"""Takes a prompt template apart: what is encoded once, and the spans that are encoded with what callers send.

A span reaches from the last control token before a text to the first one after it. Tokenizers take control tokens
out of a string before they do anything else, so a span has the same ids alone as inside the whole prompt, unless the
tokenizer treats the place of a piece differently (:func:`depends_on_place`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protocol.template_marks import FilledTemplate

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
    """A part of a template that has places for what callers send, between two control tokens."""

    before: tuple[int, ...]
    """Ids from the span before it up to the last control token before it, that one included."""
    literals: tuple[str, ...]
    """The template's own text before, between and after the places: one more than :attr:`slots`."""
    slots: tuple[str, ...]
    """What stands in the places, by name."""
    opening: ControlToken | None
    """The last control token before the span."""
    closing: ControlToken | None
    """The first control token after the span."""
    affix_tokens: int
    """Number of tokens of the literals, each encoded alone."""

    def around(self, values: Mapping[str, str]) -> str:
        """The string that the ids between :attr:`before` and the next control token are encoded from.

        Args:
            values: what callers send, by name of the slot.
        """
        if len(self.slots) == 1:
            return f"{self.literals[0]}{values[self.slots[0]]}{self.literals[1]}"
        pieces = [self.literals[0]]
        for slot, literal in zip(self.slots, self.literals[1:], strict=True):
            pieces += [values[slot], literal]
        return "".join(pieces)

    def whole(self, values: Mapping[str, str]) -> str:
        """The same between the control tokens next to it."""
        opening = self.opening.text if self.opening else ""
        return f"{opening}{self.around(values)}{self.closing.text if self.closing else ''}"

    def inner_ids(self, ids: list[int], control_ids: Collection[int]) -> list[int] | None:
        """The ids of the span, among those of :meth:`whole`.

        Args:
            ids: of :meth:`whole`, with control tokens recognized.
            control_ids: ids of all control tokens.

        Returns:
            None if the control tokens are not those of the template: what a caller sent spells one out.
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


@dataclass(frozen=True, slots=True)
class SplitTemplate:
    """A template of one language pair and one choice of sections, in the parts that are encoded apart."""

    spans: tuple[TemplateSpan, ...]
    after: tuple[int, ...]
    """Ids behind the last span."""
    filled: FilledTemplate
    """What it was made of."""
    affix_tokens: int
    """Number of tokens of the template's own text within the spans."""
    affix_characters: int
    """Number of characters of the same."""
    tokens: int
    """Number of tokens of the template."""
    is_plain: bool
    """Whether it has a place for the text alone."""

    def joined(self, span_ids: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """The ids of a prompt, of the ids of its spans."""
        if len(self.spans) == 1:
            return (*self.spans[0].before, *span_ids[0], *self.after)
        pairs = zip(self.spans, span_ids, strict=True)
        return (*(each for span, ids in pairs for part in (span.before, ids) for each in part), *self.after)


def split_template(
    tokenizer: Tokenizer, filled: FilledTemplate, control_ids: Collection[int]
) -> SplitTemplate:
    """Take one template apart.

    Args:
        tokenizer: that recognizes control tokens in text.
        filled: the template.
        control_ids: ids of all control tokens.
    """
    encoded = [_encoded(tokenizer, literal, control_ids) for literal in filled.literals]
    spans: list[TemplateSpan] = []
    first = 0
    """The literal that the span begins in."""
    for last in range(1, len(encoded)):
        if last < len(encoded) - 1 and not encoded[last].places:
            continue  # no control token ends the span here
        head, tail, between = encoded[first], encoded[last], encoded[first + 1 : last]
        literals = (head.text_behind_last, *(each.text for each in between), tail.text_before_first)
        spans.append(
            TemplateSpan(
                before=head.ids_before(first),
                literals=literals,
                slots=filled.slots[first:last],
                opening=head.last,
                closing=tail.first,
                affix_tokens=head.tokens_behind_last
                + sum(len(each.ids) for each in between)
                + tail.tokens_before_first,
            )
        )
        first = last
    affix_tokens = sum(span.affix_tokens for span in spans)
    after = encoded[-1].ids_from_first
    return SplitTemplate(
        spans=tuple(spans),
        after=after,
        filled=filled,
        affix_tokens=affix_tokens,
        affix_characters=sum(len(literal) for span in spans for literal in span.literals),
        is_plain=len(filled.slots) == 1,
        tokens=sum(len(span.before) for span in spans) + affix_tokens + len(after),
    )


@dataclass(frozen=True, slots=True)
class _EncodedLiteral:
    """A stretch of a template's own text, encoded."""

    text: str
    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    places: tuple[int, ...]
    """Where its control tokens are among :attr:`ids`."""

    @property
    def first(self) -> ControlToken | None:
        return self._control(self.places[0]) if self.places else None

    @property
    def last(self) -> ControlToken | None:
        return self._control(self.places[-1]) if self.places else None

    @property
    def text_before_first(self) -> str:
        return self.text[: self.offsets[self.places[0]][0]] if self.places else self.text

    @property
    def tokens_before_first(self) -> int:
        return self.places[0] if self.places else len(self.ids)

    @property
    def text_behind_last(self) -> str:
        return self.text[self.offsets[self.places[-1]][1] :] if self.places else self.text

    @property
    def tokens_behind_last(self) -> int:
        return len(self.ids) - (self.places[-1] + 1 if self.places else 0)

    @property
    def ids_from_first(self) -> tuple[int, ...]:
        return self.ids[self.places[0] :] if self.places else ()

    def ids_before(self, number: int) -> tuple[int, ...]:
        """Ids of the literal with this number up to its last control token, after what ends the span before it."""
        if not self.places:
            return ()
        return self.ids[0 if number == 0 else self.places[0] : self.places[-1] + 1]

    def _control(self, place: int) -> ControlToken:
        start, end = self.offsets[place]
        return ControlToken(self.ids[place], self.text[start:end])


def _encoded(tokenizer: Tokenizer, literal: str, control_ids: Collection[int]) -> _EncodedLiteral:
    encoding = tokenizer.encode(literal, add_special_tokens=False)
    places = tuple(at for at, each in enumerate(encoding.ids) if each in control_ids)
    return _EncodedLiteral(literal, tuple(encoding.ids), tuple(encoding.offsets), places)


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
