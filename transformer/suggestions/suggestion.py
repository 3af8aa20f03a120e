"""A suggested translation, and a corrected one, as values and as JSON. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a caller holds to be a better translation; it waits for a person's review."""

    text: str
    translation: str
    source: str
    """The release's tag."""
    target: str
    """The release's tag."""
    caller: str = ""
    """Id of the caller's key; empty where keys are not used."""
    created_at: str = ""
    """ISO 8601, UTC."""

    @property
    def id(self) -> str:
        """16 hex digits; equal for equal texts, translations and languages."""
        parts = (self.text, self.translation, self.source, self.target)
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()

    def to_json(self) -> bytes:
        """The document that :func:`suggestion_from_json` reads."""
        return json.dumps(asdict(self), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Correction:
    """A translation that a person has accepted. It is served in place of the model's."""

    text: str
    """A sentence, or the text where the release translates it as one; in normal form."""
    translation: str
    source: str
    target: str


def suggestion_from_json(text: bytes) -> Suggestion:
    """Read what :meth:`Suggestion.to_json` wrote.

    Raises:
        ValueError: it is no such document.
    """
    try:
        return Suggestion(**json.loads(text))
    except TypeError as error:
        raise ValueError("it is no suggestion") from error


def corrections_to_json(corrections: Sequence[Correction]) -> bytes:
    """The document that :func:`corrections_from_json` reads."""
    document = {"schema": 1, "corrections": [asdict(each) for each in corrections]}
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


def corrections_from_json(text: bytes) -> list[Correction]:
    """Read what :func:`corrections_to_json` wrote.

    Raises:
        ValueError: it is no such document.
    """
    try:
        return [Correction(**each) for each in json.loads(text)["corrections"]]
    except (TypeError, KeyError) as error:
        raise ValueError("it is no list of corrections") from error


def with_corrections(known: Sequence[Correction], new: Sequence[Correction]) -> list[Correction]:
    """``known`` with ``new`` ones, which replace those of the same text and languages."""
    found = {(each.text, each.source, each.target): each for each in [*known, *new]}
    return list(found.values())
