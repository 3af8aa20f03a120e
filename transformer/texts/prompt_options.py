"""What of a request goes into prompts besides its texts, where the release's templates have places for it. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.errors import InvalidRequest
from protocol.messages import Formality, TranslateRequest
from protocol.prompt_errors import ContextTooLong
from protocol.template_sections import CONTEXT, FORMALITY

Sections = Mapping[tuple[str, str], frozenset[str]]
"""Names of the optional sections of each language pair's template."""


@dataclass(slots=True)
class PromptOptions:
    """Context and formality of one request."""

    sections: Sections
    contexts: tuple[str, ...]
    """Of each text, as the caller sent it; empty for none at all."""
    formality: Formality
    max_context_bytes: int
    """UTF-8 bytes of the longest context."""
    _normal: dict[str, str] = field(default_factory=dict)
    """Contexts in normal form: most texts of a request have the same."""

    @classmethod
    def of(
        cls, request: TranslateRequest, sections: Sections, max_context_bytes: int
    ) -> PromptOptions | None:
        """The options of a request; None if it has none.

        Args:
            request: as the caller sent it.
            sections: of the release.
            max_context_bytes: UTF-8 bytes of the longest context.

        Raises:
            InvalidRequest: it has not as many contexts as texts.
        """
        if request.contexts and len(request.contexts) != len(request.texts):
            raise InvalidRequest("texts and contexts must have the same length")
        if not any(request.contexts) and request.formality is Formality.DEFAULT:
            return None
        return cls(sections, request.contexts, request.formality, max_context_bytes)

    def context_of(self, index: int, pair: tuple[str, str]) -> str:
        """The context of a text in normal form; empty if there is none, or no place for it.

        Args:
            index: of the text.
            pair: of languages.

        Raises:
            ContextTooLong: it is longer than any context may be.
            InvalidRequest: it is not valid Unicode.
        """
        if not self.contexts or CONTEXT not in self.sections.get(pair, ()):
            return ""
        given = self.contexts[index]
        normal = self._normal.get(given)
        if normal is None:
            normal = self._normal[given] = self._normalized(index, given)
        return normal

    def formality_of(self, pair: tuple[str, str]) -> Formality:
        """How formal the translation is asked for: more, less or by default."""
        if self.formality.section not in self.sections.get(pair, ()):
            return Formality.DEFAULT
        return Formality(self.formality.value.removeprefix("prefer_"))

    def ignored(self, index: int, pair: tuple[str, str]) -> tuple[str, ...]:
        """What the caller wants for a text and the release has no place for: flags of its translation.

        Args:
            index: of the text.
            pair: of languages.
        """
        sections = self.sections.get(pair, frozenset())
        names = []
        if self.contexts and self.contexts[index].strip() and CONTEXT not in sections:
            names.append(CONTEXT)
        if self.formality.is_required and self.formality.section not in sections:
            names.append(FORMALITY)
        return tuple(names)

    def _normalized(self, index: int, context: str) -> str:
        """NFC without outer white space, with line feeds as ends of lines."""
        if 4 * len(context) > self.max_context_bytes:
            size = len(context.encode(errors="surrogatepass"))
            if size > self.max_context_bytes:
                raise ContextTooLong(index, size, self.max_context_bytes, "bytes")
        try:
            context.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(
                f"text {index}: its context holds half of a surrogate pair; send whole Unicode characters"
            ) from None
        return unicodedata.normalize("NFC", "\n".join(context.splitlines())).strip()
