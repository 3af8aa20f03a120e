"""The corrections that this process serves, read again while it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from protocol.errors import YiwenError
from protocol.messages import CacheStatus, Formality
from transformer.suggestions.store import SuggestionStore
from transformer.suggestions.suggestion import Correction, corrections_from_json
from transformer.texts.terms import missing_terms
from transformer.texts.work_item import WorkItem, WorkResult

REFRESH_S = 2.0
"""Seconds after which an accepted suggestion is served at the latest."""
_log = logging.getLogger("yiwen.suggestions")


class CorrectionTable:
    """Finds the correction of a text; empty without suggestions."""

    def __init__(self) -> None:
        self._translations: dict[tuple[str, str, str], str] = {}

    def replace(self, corrections: Sequence[Correction]) -> None:
        """Serve these from now on."""
        self._translations = {(each.text, each.source, each.target): each.translation for each in corrections}

    def find(self, items: Sequence[WorkItem]) -> dict[WorkItem, WorkResult]:
        """The corrections of some items; mostly none.

        A text whose answer is limited in length or wanted in a formality has none, nor one with a glossary term that
        the correction lacks.
        """
        if not self._translations:
            return {}
        found = {}
        for item in items:
            translation = self._translations.get((item.text, item.source, item.target))
            if translation is None or item.options or item.formality is not Formality.DEFAULT:
                continue
            if missing_terms(item.terms, translation):
                continue
            found[item] = WorkResult(translation, 1.0, CacheStatus.HIT)
        return found


class CorrectionRefresh:
    """Keeps a table as the store has it. What cannot be read leaves the table as it is."""

    def __init__(self, store: SuggestionStore, table: CorrectionTable) -> None:
        self._store = store
        self._table = table
        self._read = b""
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the corrections, and go on doing so in the background."""
        await self.refresh()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def refresh(self) -> None:
        """Read the corrections once."""
        try:
            document = await self._store.corrections()
            if document != self._read:
                self._table.replace(corrections_from_json(document) if document else [])
                self._read = document
        except (YiwenError, ValueError) as error:
            _log.warning("corrections cannot be read", extra={"fields": {"error": str(error)}})

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            await self.refresh()
