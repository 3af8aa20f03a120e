"""What becomes the prompt of a text: the template with the sections that there is something for, and their content.

The limits of context and terms are applied here; :mod:`protocol.prompt_encoder` encodes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from protocol.errors import TooLong
from protocol.fast_dataclass import fast_dataclass
from protocol.messages import Formality
from protocol.prompt_errors import ContextTooLong
from protocol.prompt_template import SplitTemplate, split_template
from protocol.release_documents import ReleaseError
from protocol.template_sections import CONTEXT, FORMALITY, TAGS, TERMS, present_sets
from protocol.translation_spec import TranslationSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_COUNTED_CONTEXTS = 256
"""Contexts whose tokens are remembered: most texts of a request have the same."""


@fast_dataclass(frozen=True, slots=True)
class PromptText:
    """One text to encode, and what else the template has a place for."""

    text: str
    """In normal form; not empty."""
    source: str
    target: str
    """Language tags; the release has this pair."""
    index: int = 0
    """Position in the request or file, from 0: error messages name it."""
    context: str = ""
    """What stands around the text. This and what follows is left out where the template has no place for it."""
    formality: Formality = Formality.DEFAULT
    terms: tuple[tuple[str, str], ...] = ()
    """Terms of the text with their translations; those that do not fit are left out."""
    is_tagged: bool = False
    """Whether it has tags in the form of the release."""


class Filling(NamedTuple):
    """What becomes the prompt of one text. A tuple: it is made for every text that the cache lacks."""

    text: PromptText
    template: SplitTemplate
    values: Mapping[str, str]
    """What stands in the template's slots."""
    added_tokens: int = 0
    """Of context and terms."""
    is_variant: bool = False
    """Whether optional sections are in the template."""

    @property
    def characters(self) -> int:
        """Number of characters that are encoded for it."""
        if self.template.is_plain:
            return len(self.text.text) + self.template.affix_characters
        return sum(map(len, self.values.values())) + self.template.affix_characters


class PromptFiller:
    """Chooses the template and its content for each text, of one release. Thread-safe."""

    def __init__(
        self,
        spec: TranslationSpec,
        recognizing: Tokenizer,
        control_ids: Collection[int],
        count: Callable[[list[str]], list[int]],
        max_context_bytes: int,
    ) -> None:
        """Split the templates without sections; those with sections when a text needs them.

        Args:
            spec: the release's ``translation.json``.
            recognizing: a tokenizer that recognizes control tokens in text; kept if there are sections.
            control_ids: ids of all control tokens.
            count: the numbers of tokens of some strings.
            max_context_bytes: a context of more UTF-8 bytes is refused without being tokenized.

        Raises:
            ReleaseError: a control token is where text is encoded.
        """
        self._spec = spec
        self._recognizing = recognizing
        self._control_ids = control_ids
        self._count = count
        self._max_context_bytes = max_context_bytes
        self._plain = {
            pair: split_template(recognizing, spec.filled_template(*pair), control_ids) for pair in spec.pairs
        }
        self._sections = {pair: found for pair in spec.pairs if (found := spec.sections(*pair))}
        self._check_term_lines()
        self._variants: dict[tuple[str, str, frozenset[str]], SplitTemplate] = {}
        self._counted_contexts: dict[str, int] = {}

    @property
    def has_sections(self) -> bool:
        """Whether any pair's template has optional sections."""
        return bool(self._sections)

    @property
    def plain_templates(self) -> Collection[SplitTemplate]:
        """The templates of all pairs, without optional sections."""
        return self._plain.values()

    def most_tokens(self) -> int:
        """Tokens of the longest template with its context and its terms, that of any text apart. Takes time."""
        most = max(template.tokens for template in self._plain.values())
        for source, target in self._sections:
            for present in present_sets(self._spec.template_of(source, target)):
                added = 0 if present.isdisjoint((CONTEXT, TERMS)) else self._spec.limits.max_context_tokens
                most = max(most, self._variant(source, target, present).tokens + added)
        return most

    def size_fault(self, text: PromptText) -> TooLong | None:
        """What is wrong with the size of a context, as far as that is clear without tokenizing it."""
        if not text.context or CONTEXT not in self._sections.get((text.source, text.target), ()):
            return None
        limit = self._max_context_bytes
        size = len(text.context.encode()) if len(text.context) * 4 > limit else 0
        return ContextTooLong(text.index, size, limit, "bytes") if size > limit else None

    def filling(self, text: PromptText) -> Filling | ContextTooLong:
        """What becomes the prompt of a text, or why there is none."""
        pair = (text.source, text.target)
        values = {"text": text.text}
        sections = self._sections.get(pair)
        if sections is None:
            return Filling(text, self._plain[pair], values)
        if text.is_tagged and TAGS in sections:
            return Filling(text, self._variant(*pair, frozenset((TAGS,))), values, is_variant=True)
        present: set[str] = set()
        if (section := text.formality.section) in sections:
            present |= {FORMALITY, section}
        limit, tokens = self._spec.limits.max_context_tokens, 0
        if text.context and CONTEXT in sections:
            tokens = self._count_context(text.context)
            if tokens > limit:
                return ContextTooLong(text.index, tokens, limit)
            present.add(CONTEXT)
            values[CONTEXT] = text.context
        if text.terms and TERMS in sections:
            lines, added = self._fitting_terms(text, limit - tokens)
            if lines:
                present.add(TERMS)
                values[TERMS] = lines
                tokens += added
        if not present:
            return Filling(text, self._plain[pair], values)
        return Filling(text, self._variant(*pair, frozenset(present)), values, tokens, is_variant=True)

    def _check_term_lines(self) -> None:
        for pair in self._sections:
            encoding = self._recognizing.encode(self._plain[pair].filled.term, add_special_tokens=False)
            if not set(self._control_ids).isdisjoint(encoding.ids):
                raise ReleaseError(
                    "translation.json has a control token within {#term}, where there is text alone: "
                    "put it before {#term} or behind {/term}"
                )

    def _variant(self, source: str, target: str, present: frozenset[str]) -> SplitTemplate:
        key = (source, target, present)
        known = self._variants.get(key)
        if known is None:
            filled = self._spec.filled_template(source, target, present)
            known = self._variants[key] = split_template(self._recognizing, filled, self._control_ids)
        return known

    def _count_context(self, context: str) -> int:
        tokens = self._counted_contexts.get(context)
        if tokens is None:
            if len(self._counted_contexts) >= _COUNTED_CONTEXTS:
                self._counted_contexts.clear()
            (tokens,) = self._count([context])
            self._counted_contexts[context] = tokens
        return tokens

    def _fitting_terms(self, text: PromptText, limit: int) -> tuple[str, int]:
        """The lines of as many terms as have ``limit`` tokens at most, and the number of their tokens."""
        filled = self._plain[text.source, text.target].filled
        lines = [filled.term_lines([term]) for term in text.terms[: max(0, limit)]]
        sizes = list(accumulate(self._count(lines)))
        count = sum(1 for size in sizes if size <= limit)
        return "".join(lines[:count]), sizes[count - 1] if count else 0
