"""`yiwen cache`: look into the shared cache, fill it from a translation memory, empty it of a release.

It reaches the Redis that the transformer's own settings name (``YIWEN_REDIS_*``) and keys texts with the
transformer's own code: what is warmed here is a hit there.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from protocol.errors import YiwenError
from protocol.glossary import GLOSSARY_FILE, load_release_glossary
from protocol.messages import FinishReason, TranslateRequest
from protocol.release import (
    TRANSLATION_FILE,
    ReleaseError,
    TranslationSpec,
    load_release,
    load_translation_spec,
)
from serving.settings import ServerSettings, SettingsError, environment_names, settings_from_environment
from transformer.cache.entries import CacheEntry
from transformer.cache.entry_codec import encode_entry
from transformer.cache.redis_cache import key_prefix, lifetime_ms, store_key
from transformer.cache.redis_client import RedisStore, StoreError
from transformer.cache.tiers import cache_policy, store_settings
from transformer.cache.translation_memory import FORMATS, MemoryFileError, Pair, read_table, read_tmx
from transformer.config import TransformerConfig
from transformer.generation.item_keys import key_of
from transformer.texts.documents import Document, Segment
from transformer.texts.glossary import GlossaryMatcher
from transformer.texts.guards import Guards
from transformer.texts.languages import Languages, canonical_tag, resolve_tag
from transformer.texts.segments import split_request
from transformer.texts.sentences import split_sentences

FAILED = 1
MISUSED = 2
BATCH = 256
"""Entries in one pipeline."""
TIMEOUT_S = 10.0
"""For a person who waits; a request would long have gone on without Redis."""
ALL_KEYS = "yiwen:"
_RELEASE_ID = re.compile(r"[0-9a-f]{16}")

Work = Callable[[RedisStore, TransformerConfig, argparse.Namespace], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Warmed:
    """What became of a file's pairs."""

    stored: int = 0
    no_language: int = 0
    """Texts that need no model, such as numbers: the service never asks the cache for them."""
    unpaired: int = 0
    """Texts that the release translates sentence by sentence, and whose translations have other sentences."""
    empty: int = 0
    """Without a translation."""
    too_large: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """What a translation memory is for."""

    release: str
    """Its id."""
    spec: TranslationSpec
    languages: Languages
    glossaries: GlossaryMatcher
    guards: Guards
    """Of form alone: they judge which sentence is whose, not people's work."""
    source: str
    """Language tag of the texts."""
    target: str
    """Language tag of the translations."""

    @classmethod
    def of(cls, directory: Path, source: str, target: str) -> Memory:
        """For the release in ``directory``.

        Raises:
            ReleaseError: it cannot be used.
        """
        release = load_release(directory).id
        spec = load_translation_spec(directory / TRANSLATION_FILE)
        glossary = load_release_glossary(directory / GLOSSARY_FILE, spec.pairs)
        form = dataclasses.replace(spec.guards, checks=("empty", "ratio", "script", "placeholder"))
        return cls(
            release=release,
            spec=spec,
            languages=Languages(spec),
            glossaries=GlossaryMatcher.of_release(glossary),
            guards=Guards(dataclasses.replace(spec, guards=form)),
            source=source,
            target=target,
        )

    @property
    def whole(self) -> bool:
        """Whether the release translates a text of several sentences as one."""
        return self.spec.sentences != "always"

    def paired(self, document: Document, translation: str) -> list[tuple[Segment, str]] | None:
        """Each segment of ``document`` and its own translation; None if that cannot be told.

        Sentences pair up when both sides have as many, in one order, and none looks like that of another.
        """
        if len(document.parts) == 1:
            return [(segment, translation.strip()) for segment in document.segments]
        sentences = [each.strip() for each in split_sentences(translation, document.pair.target)]
        if len(sentences) != len(document.parts):
            return None
        pairs = list(zip(document.parts, sentences, strict=True))
        if any(isinstance(part, str) and part.strip() != sentence for part, sentence in pairs):
            return None
        found = [(part, sentence) for part, sentence in pairs if isinstance(part, Segment)]
        target = document.pair.target
        flagged = (self.guards.flags(part.item.text, each, target, FinishReason.STOP) for part, each in found)
        return None if any(flagged) else found


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Mount `yiwen cache`."""
    parser = subparsers.add_parser(
        "cache", help="show, fill or empty the shared cache (YIWEN_REDIS_URL)", description=__doc__
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    stats = commands.add_parser("stats", help="entries and bytes of each release")
    _mount(stats, show_stats)
    warm = commands.add_parser("warm", help="store the translations of a TSV, CSV or TMX file")
    warm.add_argument("file", type=Path, help="text and translation in two columns, or TMX")
    warm.add_argument("--release", type=Path, required=True, help="directory of the release to warm")
    warm.add_argument("--from", dest="source", required=True, metavar="TAG", help="language of the texts")
    warm.add_argument("--to", required=True, metavar="TAG", help="language of the translations")
    warm.add_argument("--format", choices=FORMATS, help="of the file (by its name)")
    _mount(warm, warm_cache)
    flush = commands.add_parser("flush", help="remove all entries of a release")
    flush.add_argument("--release", type=_release_id, required=True, metavar="ID", help="see cache stats")
    _mount(flush, flush_release)


def _mount(parser: argparse.ArgumentParser, work: Work) -> None:
    parser.set_defaults(run=lambda arguments: run(work, arguments, os.environ))


def run(work: Work, arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do one command's work on the Redis of the settings; returns the exit code."""
    try:
        asyncio.run(_with_store(work, arguments, _settings(environ)))
    except SettingsError as error:
        print(f"yiwen cache: {error}", file=sys.stderr)
        return MISUSED
    except (StoreError, ReleaseError, MemoryFileError, YiwenError) as error:
        print(f"yiwen cache: {error}", file=sys.stderr)
        return FAILED
    return 0


async def show_stats(store: RedisStore, config: TransformerConfig, arguments: argparse.Namespace) -> None:
    """Print entries and bytes of values by release."""
    entries, sizes = Counter[str](), Counter[str]()
    async for keys in store.keys(ALL_KEYS):
        for key, size in zip(keys, await store.sizes(keys), strict=True):
            release = key.removeprefix(ALL_KEYS).partition(":")[0]
            entries[release] += 1
            sizes[release] += size
    print("release           entries  value bytes")
    for release in sorted(entries):
        print(f"{release:16}  {entries[release]:7}  {sizes[release]:11}")


async def flush_release(store: RedisStore, config: TransformerConfig, arguments: argparse.Namespace) -> None:
    """Remove a release's entries and print how many there were."""
    removed = 0
    async for keys in store.keys(key_prefix(arguments.release)):
        removed += await store.delete(keys)
    print(f"removed {removed} entries of {arguments.release}")


async def warm_cache(store: RedisStore, config: TransformerConfig, arguments: argparse.Namespace) -> None:
    """Store a file's translations under a release."""
    memory = Memory.of(arguments.release, arguments.source, arguments.to)
    policy = cache_policy(config)
    warmed = Warmed()
    pairs = _pairs(arguments, {canonical_tag(tag): tag for tag in memory.spec.languages})
    entries = keyed_entries(pairs, memory, warmed)
    release = memory.release
    values = ((key, encode_entry(entry, release)) for key, entry in entries)
    fitting = (pair for pair in values if _fits(pair[1], policy.max_value_bytes, warmed))
    while batch := list(islice(fitting, BATCH)):
        rows = [
            (store_key(release, key), value, lifetime_ms(policy, number / BATCH))
            for number, (key, value) in enumerate(batch)
        ]
        for fault in await store.set_many(rows):
            if fault is not None:
                raise fault
        warmed.stored += len(batch)
    print(
        f"stored {warmed.stored} translations under {release}; left out: {warmed.no_language} that need no "
        f"translation, {warmed.unpaired} whose sentences do not pair up, {warmed.empty} without a translation, "
        f"{warmed.too_large} larger than YIWEN_REDIS_MAX_VALUE_BYTES"
    )


def keyed_entries(
    pairs: Iterable[Pair], memory: Memory, warmed: Warmed
) -> Iterator[tuple[bytes, CacheEntry]]:
    """Cache keys, made as for requests without bounds of their own, and entries of each pair.

    Args:
        pairs: texts and translations.
        memory: what they are for.
        warmed: counts what is left out.

    Raises:
        YiwenError: the release does not translate the texts' language into the other.
    """
    for pair in pairs:
        request = TranslateRequest((pair.text,), (memory.source,), (memory.target,))
        (document,) = split_request(
            request, memory.languages, sys.maxsize, lambda _: memory.whole, memory.glossaries
        )
        if not any(document.segments):
            warmed.no_language += 1
        elif not pair.translation.strip():
            warmed.empty += 1
        elif (parts := memory.paired(document, pair.translation)) is None:
            warmed.unpaired += 1
        else:
            for segment, translation in parts:
                # People made it: it is as good as it gets.
                entry = CacheEntry(segment.item.text, translation, 1.0)
                yield key_of(segment.item, memory.release), entry


def _fits(value: bytes, max_bytes: int, warmed: Warmed) -> bool:
    warmed.too_large += len(value) > max_bytes
    return len(value) <= max_bytes


def _pairs(arguments: argparse.Namespace, known: Mapping[str, str]) -> Iterator[Pair]:
    kind = arguments.format or arguments.file.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise MemoryFileError(f"{arguments.file} is named neither .tsv, .csv nor .tmx: say --format")
    if kind != "tmx":
        return read_table(arguments.file, "\t" if kind == "tsv" else ",")

    def reads_as(wanted: str) -> Callable[[str], bool]:
        tag = resolve_tag(wanted, known)
        return lambda found: tag is not None and resolve_tag(found, known) == tag

    return read_tmx(arguments.file, reads_as(arguments.source), reads_as(arguments.to))


def _settings(environ: Mapping[str, str]) -> TransformerConfig:
    """The transformer's settings as far as they matter here: it needs a release and a predictor, this does not."""
    unused = {"YIWEN_RELEASE": ".", "YIWEN_PREDICTOR_URL": "localhost"}
    return settings_from_environment(
        TransformerConfig, {**environ, **unused}, known=environment_names(ServerSettings)
    )


async def _with_store(work: Work, arguments: argparse.Namespace, config: TransformerConfig) -> None:
    settings = store_settings(config)
    patient = dataclasses.replace(settings, connect_timeout_s=TIMEOUT_S, command_timeout_s=TIMEOUT_S)
    store = RedisStore(patient)
    try:
        await work(store, config, arguments)
    finally:
        await store.close()


def _release_id(text: str) -> str:
    if not _RELEASE_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(
            "must be a release's id, 16 hex digits: `yiwen cache stats` lists them"
        )
    return text
