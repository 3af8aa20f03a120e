"""Where suggestions and corrections are kept: Redis, or a directory that replicas share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from protocol.errors import NotReady
from protocol.files import write_atomically
from transformer.cache.redis_client import RedisStore, ScriptCall, StoreError
from transformer.cache.redis_scripts import NEXT_NUMBER, REPLACE
from transformer.suggestions.suggestion import (
    Correction,
    Suggestion,
    corrections_from_json,
    corrections_to_json,
    suggestion_from_json,
    with_corrections,
)

MAX_SUGGESTIONS = 1_000
"""That wait for review; the oldest are dropped."""
_PREFIX = "yiwen:suggestion:"
_COUNTER = "yiwen:suggestions"
_CORRECTIONS = "yiwen:corrections"
_LIFETIME_MS = 365 * 86_400_000
_CORRECTIONS_FILE = "corrections.json"
_ATTEMPTS = 20
"""To add corrections while other people add some."""


class SuggestionStore(Protocol):
    """Keeps what was suggested, and what was accepted of it."""

    async def add(self, suggestion: Suggestion) -> None:
        """Keep a suggestion for review.

        Raises:
            NotReady: the store cannot be reached.
        """
        ...

    async def pending(self) -> list[Suggestion]:
        """All that wait for review, oldest first."""
        ...

    async def remove(self, suggestion: Suggestion) -> None:
        """Forget a suggestion."""
        ...

    async def corrections(self) -> bytes:
        """The document of all corrections; empty if there are none.

        Raises:
            NotReady: as :meth:`add`.
        """
        ...

    async def add_corrections(self, new: Sequence[Correction]) -> None:
        """Keep corrections, in place of those of the same texts."""
        ...


class DirectorySuggestions:
    """One JSON file for each suggestion, and one for all corrections."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def add(self, suggestion: Suggestion) -> None:
        """As :meth:`SuggestionStore.add`."""
        try:
            await asyncio.to_thread(self._add, suggestion)
        except OSError as error:
            raise _unavailable() from error

    async def pending(self) -> list[Suggestion]:
        """As :meth:`SuggestionStore.pending`."""
        found = [suggestion_from_json(path.read_bytes()) for path in self._files()]
        return sorted(found, key=lambda each: each.created_at)

    async def remove(self, suggestion: Suggestion) -> None:
        """As :meth:`SuggestionStore.remove`."""
        self._path(suggestion).unlink(missing_ok=True)

    async def corrections(self) -> bytes:
        """As :meth:`SuggestionStore.corrections`."""
        try:
            return await asyncio.to_thread((self._directory / _CORRECTIONS_FILE).read_bytes)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise _unavailable() from error

    async def add_corrections(self, new: Sequence[Correction]) -> None:
        """As :meth:`SuggestionStore.add_corrections`."""
        known = await self.corrections()
        document = corrections_to_json(with_corrections(corrections_from_json(known) if known else [], new))
        self._directory.mkdir(parents=True, exist_ok=True)
        write_atomically(self._directory / _CORRECTIONS_FILE, document)

    def _add(self, suggestion: Suggestion) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        files = sorted(self._files(), key=lambda path: path.stat().st_mtime)
        for oldest in files[: max(0, len(files) - MAX_SUGGESTIONS + 1)]:
            oldest.unlink(missing_ok=True)
        write_atomically(self._path(suggestion), suggestion.to_json())

    def _files(self) -> list[Path]:
        return list(self._directory.glob("suggestion-*.json"))

    def _path(self, suggestion: Suggestion) -> Path:
        return self._directory / f"suggestion-{suggestion.id}.json"


class RedisSuggestions:
    """In Redis. Suggestions take turns in a bounded number of keys; corrections are one value."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def add(self, suggestion: Suggestion) -> None:
        """As :meth:`SuggestionStore.add`."""
        try:
            (number,) = await self._store.run_many([ScriptCall(NEXT_NUMBER, (_COUNTER,), ())])
            if not isinstance(number, int):
                raise _unavailable()
            key = f"{_PREFIX}{number % MAX_SUGGESTIONS}"
            (fault,) = await self._store.set_many([(key, suggestion.to_json(), _LIFETIME_MS)])
        except StoreError as error:
            raise _unavailable() from error
        if fault is not None:
            raise _unavailable()

    async def pending(self) -> list[Suggestion]:
        """As :meth:`SuggestionStore.pending`."""
        found = (await self._all()).values()
        return sorted({each.id: each for each in found}.values(), key=lambda each: each.created_at)

    async def remove(self, suggestion: Suggestion) -> None:
        """As :meth:`SuggestionStore.remove`."""
        keys = [key for key, each in (await self._all()).items() if each.id == suggestion.id]
        if keys:
            await self._store.delete(keys)

    async def corrections(self) -> bytes:
        """As :meth:`SuggestionStore.corrections`."""
        try:
            (value,) = await self._store.get_many([_CORRECTIONS])
        except StoreError as error:
            raise _unavailable() from error
        return value or b""

    async def add_corrections(self, new: Sequence[Correction]) -> None:
        """As :meth:`SuggestionStore.add_corrections`; StoreError if Redis refuses."""
        for _ in range(_ATTEMPTS):
            known = await self.corrections()
            document = corrections_to_json(
                with_corrections(corrections_from_json(known) if known else [], new)
            )
            (done,) = await self._store.run_many([ScriptCall(REPLACE, (_CORRECTIONS,), (known, document))])
            if isinstance(done, StoreError):
                raise done
            if done:
                return
        raise _unavailable()

    async def _all(self) -> dict[str, Suggestion]:
        keys = [f"{_PREFIX}{number}" for number in range(MAX_SUGGESTIONS)]
        values = zip(keys, await self._store.get_many(keys), strict=True)
        return {key: suggestion_from_json(value) for key, value in values if value is not None}


def _unavailable() -> NotReady:
    return NotReady("the suggestions cannot be reached; try again", retry_after_s=1.0)
