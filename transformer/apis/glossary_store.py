"""Where the glossaries of DeepL's API are kept: Redis, a directory, or the memory of this process."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from protocol.error_codes import ErrorCode
from protocol.errors import NotReady, TooLong
from protocol.files import write_atomically
from transformer.cache.redis_client import RedisStore, StoreError

MAX_GLOSSARIES = 1_000
"""Glossaries that a directory or a process keeps."""
_PREFIX = "yiwen:glossary:"
_LIFETIME_MS = 10 * 365 * 86_400_000
"""Redis commands of :class:`RedisStore` have a lifetime: ten years."""
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class StoredGlossary:
    """A glossary with a dictionary for each language pair."""

    id: str
    owner: str
    """Id of the key of the caller that made it; empty where keys are not used."""
    name: str
    created_at: str
    """ISO 8601, UTC."""
    dictionaries: Mapping[tuple[str, str], Mapping[str, str]]
    """By the release's tags of source and target: each term's translation."""

    def to_json(self) -> bytes:
        """The document that :meth:`from_json` reads."""
        dictionaries = [
            {"source": source, "target": target, "entries": dict(entries)}
            for (source, target), entries in self.dictionaries.items()
        ]
        document = {
            "id": self.id,
            "owner": self.owner,
            "name": self.name,
            "created_at": self.created_at,
            "dictionaries": dictionaries,
        }
        return json.dumps(document, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, text: bytes) -> StoredGlossary:
        """Read what :meth:`to_json` wrote."""
        document = json.loads(text)
        return cls(
            document["id"],
            document["owner"],
            document["name"],
            document["created_at"],
            {(each["source"], each["target"]): each["entries"] for each in document["dictionaries"]},
        )


class GlossaryStore(Protocol):
    """Keeps glossaries by id."""

    async def get(self, glossary_id: str) -> StoredGlossary | None:
        """The glossary; None if there is none of this id."""
        ...

    async def put(self, glossary: StoredGlossary) -> None:
        """Keep a glossary, in place of an older one of its id."""
        ...

    async def delete(self, glossary_id: str) -> bool:
        """Remove a glossary; returns whether there was one."""
        ...

    async def all(self) -> list[StoredGlossary]:
        """All glossaries, oldest first."""
        ...


class MemoryGlossaries:
    """In this process: lost when it ends, and unknown to other replicas."""

    def __init__(self) -> None:
        self._glossaries: dict[str, StoredGlossary] = {}

    async def get(self, glossary_id: str) -> StoredGlossary | None:
        """As :meth:`GlossaryStore.get`."""
        return self._glossaries.get(glossary_id)

    async def put(self, glossary: StoredGlossary) -> None:
        """As :meth:`GlossaryStore.put`; TooLong if there are too many."""
        if glossary.id not in self._glossaries and len(self._glossaries) >= MAX_GLOSSARIES:
            raise _too_many()
        self._glossaries[glossary.id] = glossary

    async def delete(self, glossary_id: str) -> bool:
        """As :meth:`GlossaryStore.delete`."""
        return self._glossaries.pop(glossary_id, None) is not None

    async def all(self) -> list[StoredGlossary]:
        """As :meth:`GlossaryStore.all`."""
        return _sorted(list(self._glossaries.values()))


class DirectoryGlossaries:
    """One JSON file for each glossary, in a directory that replicas may share."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def get(self, glossary_id: str) -> StoredGlossary | None:
        """As :meth:`GlossaryStore.get`."""
        if not _ID.fullmatch(glossary_id):
            return None
        return await asyncio.to_thread(_read, self._path(glossary_id))

    async def put(self, glossary: StoredGlossary) -> None:
        """As :meth:`GlossaryStore.put`; TooLong if there are too many."""
        await asyncio.to_thread(self._write, glossary)

    async def delete(self, glossary_id: str) -> bool:
        """As :meth:`GlossaryStore.delete`."""
        if not _ID.fullmatch(glossary_id):
            return False
        path = self._path(glossary_id)
        try:
            await asyncio.to_thread(path.unlink)
        except FileNotFoundError:
            return False
        return True

    async def all(self) -> list[StoredGlossary]:
        """As :meth:`GlossaryStore.all`."""
        return await asyncio.to_thread(self._read_all)

    def _path(self, glossary_id: str) -> Path:
        return self._directory / f"{glossary_id}.json"

    def _write(self, glossary: StoredGlossary) -> None:
        path = self._path(glossary.id)
        self._directory.mkdir(parents=True, exist_ok=True)
        if not path.exists() and sum(1 for _ in self._directory.glob("*.json")) >= MAX_GLOSSARIES:
            raise _too_many()
        write_atomically(path, glossary.to_json())

    def _read_all(self) -> list[StoredGlossary]:
        found = [_read(path) for path in self._directory.glob("*.json") if _ID.fullmatch(path.stem)]
        return _sorted([glossary for glossary in found if glossary is not None])


class RedisGlossaries:
    """In Redis, where all replicas find them. Its eviction policy must not remove them."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def get(self, glossary_id: str) -> StoredGlossary | None:
        """As :meth:`GlossaryStore.get`."""
        if not _ID.fullmatch(glossary_id):
            return None
        try:
            (value,) = await self._store.get_many([_PREFIX + glossary_id])
        except StoreError as error:
            raise _unavailable() from error
        return None if value is None else StoredGlossary.from_json(value)

    async def put(self, glossary: StoredGlossary) -> None:
        """As :meth:`GlossaryStore.put`."""
        try:
            (fault,) = await self._store.set_many([(_PREFIX + glossary.id, glossary.to_json(), _LIFETIME_MS)])
        except StoreError as error:
            raise _unavailable() from error
        if fault is not None:
            raise _unavailable()

    async def delete(self, glossary_id: str) -> bool:
        """As :meth:`GlossaryStore.delete`."""
        if not _ID.fullmatch(glossary_id):
            return False
        try:
            return await self._store.delete([_PREFIX + glossary_id]) > 0
        except StoreError as error:
            raise _unavailable() from error

    async def all(self) -> list[StoredGlossary]:
        """As :meth:`GlossaryStore.all`."""
        found: dict[str, StoredGlossary] = {}
        try:
            async with aclosing(self._store.keys(_PREFIX)) as batches:
                async for keys in batches:
                    for value in await self._store.get_many(keys):
                        if value is not None:
                            glossary = StoredGlossary.from_json(value)
                            found[glossary.id] = glossary
        except StoreError as error:
            raise _unavailable() from error
        return _sorted(list(found.values()))


def _read(path: Path) -> StoredGlossary | None:
    try:
        return StoredGlossary.from_json(path.read_bytes())
    except FileNotFoundError:
        return None


def _sorted(glossaries: list[StoredGlossary]) -> list[StoredGlossary]:
    return sorted(glossaries, key=lambda glossary: (glossary.created_at, glossary.id))


def _too_many() -> TooLong:
    return TooLong(
        f"Maximum number of glossaries ({MAX_GLOSSARIES}) exceeded.", code=ErrorCode.GLOSSARY_TOO_LARGE
    )


def _unavailable() -> NotReady:
    return NotReady("the glossaries cannot be reached; try again", retry_after_s=1.0)
