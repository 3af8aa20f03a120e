"""`yiwen cache`: shows the shared cache, fills it from a translation memory, removes a release's entries.

It uses the Redis of the transformer's settings (``YIWEN_REDIS_*``) and computes keys with the transformer's code, so
an entry that it stores is a hit for the transformer.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from typer import Argument, BadParameter, Option

from cli.service_options import TOKEN_FILE_VARIABLE
from protocol.command_line import FAILED, UNUSABLE, add_command, fail, new_app
from protocol.errors import YiwenError
from protocol.glossary import GLOSSARY_FILE, load_release_glossary
from protocol.messages import FinishReason, TranslateRequest
from protocol.release import TRANSLATION_FILE, load_release
from protocol.release_documents import ReleaseError
from protocol.translation_spec import TranslationSpec, load_translation_spec
from serving.settings import ServerSettings, SettingsError, environment_names, settings_from_environment
from transformer.cache.entries import CacheEntry
from transformer.cache.entry_codec import encode_entry
from transformer.cache.redis_cache import key_prefix, lifetime_ms, store_key
from transformer.cache.redis_client import RedisStore, StoreError
from transformer.cache.tiers import cache_policy, store_settings
from transformer.cache.translation_memory import FORMATS, MemoryFileError, Pair, read_table, read_tmx
from transformer.config import TransformerConfig
from transformer.generation.item_keys import key_of
from transformer.texts.bounds import TextBounds
from transformer.texts.documents import Document, Segment
from transformer.texts.glossary import GlossaryMatcher
from transformer.texts.guards import Guards
from transformer.texts.language_tags import LanguageTags
from transformer.texts.languages import Languages
from transformer.texts.segments import split_request
from transformer.texts.sentences import split_sentences

BATCH = 256
"""Entries per Redis pipeline."""
TIMEOUT_S = 10.0
"""Seconds for one Redis command; longer than the service's, since no request waits for it."""
ALL_KEYS = "yiwen:"
_RELEASE_ID = re.compile(r"[0-9a-f]{16}")

AnyOptions = TypeVar("AnyOptions")

Work = Callable[[RedisStore, TransformerConfig, AnyOptions], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class WarmCounts:
    """How many pairs of a file were stored, and how many were left out, by reason."""

    stored: int = 0
    no_language: int = 0
    """Texts that need no translation, such as numbers; the service does not look them up."""
    unpaired: int = 0
    """Texts whose sentences do not match those of the translation, where the service translates by sentence."""
    empty: int = 0
    """Pairs without a translation."""
    too_large: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    """Rows and units that are no pair of texts, by reason."""

    def __str__(self) -> str:
        """What was left out, in words."""
        unread = "".join(f", {count} {reason}" for reason, count in sorted(self.unread.items()) if count)
        return (
            f"{self.no_language} that need no translation, {self.unpaired} whose sentences do not pair up, "
            f"{self.empty} without a translation, {self.too_large} larger than YIWEN_REDIS_MAX_VALUE_BYTES{unread}"
        )


@dataclass(frozen=True, slots=True)
class WarmTarget:
    """The release and the language pair that a translation memory is stored for."""

    release: str
    """Id of the release."""
    spec: TranslationSpec
    languages: Languages
    glossaries: GlossaryMatcher
    guards: Guards
    """Guards that check the form only; they decide whether sentences match."""
    source: str
    """Language tag of the texts."""
    target: str
    """Language tag of the translations."""

    @classmethod
    def of(cls, directory: Path, source: str, target: str) -> WarmTarget:
        """The target for the release in ``directory``.

        Args:
            directory: of the release.
            source: language tag of the texts.
            target: language tag of the translations.

        Raises:
            ReleaseError: the release cannot be read or does not translate this pair.
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
        """Whether the release translates a text of several sentences as a whole."""
        return self.spec.sentences != "always"

    def paired(self, document: Document, translation: str) -> list[tuple[Segment, str]] | None:
        """Each segment of ``document`` with its translation; None if the sentences do not match.

        They match if both sides have the same number and no guard flags a pair.
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
        flagged = (
            self.guards.flags(part.item.text, each, target, FinishReason.STOP, (), part.item.source)
            for part, each in found
        )
        return None if any(flagged) else found


def _checked_release_id(text: str) -> str:
    if not _RELEASE_ID.fullmatch(text):
        raise BadParameter(
            "must be a release's id, 16 hex digits: `yiwen cache stats` lists them",
            param_hint="'--release-id'",
        )
    return text


@dataclass(frozen=True, kw_only=True)
class StatsOptions:
    """Options of `yiwen cache stats`."""

    json: Annotated[bool, Option("--json", help="print JSON")] = False


@dataclass(frozen=True, kw_only=True)
class WarmOptions:
    """Options of `yiwen cache warm`."""

    file: Annotated[Path, Argument(metavar="FILE", help="text and translation in two columns, or TMX")]
    release: Annotated[Path, Option(metavar="DIR", help="directory of the release to warm")]
    source: Annotated[str, Option("--from", metavar="TAG", help="language of the texts")]
    to: Annotated[str, Option(metavar="TAG", help="language of the translations")]
    format: Annotated[Literal["tsv", "csv", "tmx"] | None, Option(help="of the file (by its name)")] = None


@dataclass(frozen=True, kw_only=True)
class FlushOptions:
    """Options of `yiwen cache flush`."""

    release_id: Annotated[
        str,
        Option(metavar="ID", callback=_checked_release_id, help="of the release, see `yiwen cache stats`"),
    ]


def run(work: Work[AnyOptions], options: AnyOptions) -> int:
    """Run one command against the Redis of the settings; returns the exit code."""
    try:
        asyncio.run(_with_store(work, options, transformer_settings(os.environ)))
    except SettingsError as error:
        return fail("cache", error, UNUSABLE)
    except StoreError as error:
        return fail("cache", error, UNUSABLE if error.kind in ("connection", "timeout") else FAILED)
    except (ReleaseError, MemoryFileError, YiwenError) as error:
        return fail("cache", error, FAILED)
    return 0


async def show_stats(store: RedisStore, config: TransformerConfig, options: StatsOptions) -> None:
    """Print entries and bytes of values by release.

    Args:
        store: the shared cache.
        config: settings of the transformer.
        options: of the command line.

    Raises:
        StoreError: Redis does not answer or refuses.
    """
    entries, sizes = Counter[str](), Counter[str]()
    async with aclosing(store.keys(ALL_KEYS)) as batches:
        async for found in batches:
            # Glossaries, counters and suggestions are there as well.
            keys = [key for key in found if _RELEASE_ID.fullmatch(_release_of(key))]
            for key, size in zip(keys, await store.sizes(keys), strict=True):
                release = _release_of(key)
                entries[release] += 1
                sizes[release] += size
    rows = [
        {"release": release, "entries": entries[release], "value_bytes": sizes[release]}
        for release in sorted(entries)
    ]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print("release           entries  value bytes")
    for row in rows:
        print(f"{row['release']:16}  {row['entries']:7}  {row['value_bytes']:11}")


def _release_of(key: str) -> str:
    return key.removeprefix(ALL_KEYS).partition(":")[0]


async def flush_release(store: RedisStore, config: TransformerConfig, options: FlushOptions) -> None:
    """Remove a release's entries and print how many there were.

    Args:
        store: the shared cache.
        config: settings of the transformer.
        options: of the command line.

    Raises:
        StoreError: Redis does not answer or refuses.
    """
    release = options.release_id
    removed = 0
    async with aclosing(store.keys(key_prefix(release))) as batches:
        async for keys in batches:
            removed += await store.delete(keys)
    print(f"removed {removed} entries of {release}")


async def warm_cache(store: RedisStore, config: TransformerConfig, options: WarmOptions) -> None:
    """Store a file's translations under a release.

    Args:
        store: the shared cache.
        config: settings of the transformer.
        options: of the command line.

    Raises:
        StoreError: Redis does not answer or refuses.
    """
    target = WarmTarget.of(options.release, options.source, options.to)
    policy = cache_policy(config)
    counts = WarmCounts()
    pairs = _pairs(options, counts.unread, LanguageTags(target.spec.languages))
    entries = keyed_entries(pairs, target, counts)
    release = target.release
    values = ((key, encode_entry(entry, release)) for key, entry in entries)
    fitting = (pair for pair in values if _fits(pair[1], policy.max_value_bytes, counts))
    while batch := list(islice(fitting, BATCH)):
        rows = [
            (store_key(release, key), value, lifetime_ms(policy, number / BATCH))
            for number, (key, value) in enumerate(batch)
        ]
        for fault in await store.set_many(rows):
            if fault is not None:
                raise fault
        counts.stored += len(batch)
    print(f"stored {counts.stored} translations under {release}; left out: {counts}")


def keyed_entries(
    pairs: Iterable[Pair], target: WarmTarget, counts: WarmCounts
) -> Iterator[tuple[bytes, CacheEntry]]:
    """Cache keys, as of requests without ``max_new_tokens``, and entries of each pair.

    Args:
        pairs: texts and translations.
        target: release and languages.
        counts: incremented for each pair that is left out.

    Raises:
        YiwenError: the release does not translate the texts' language into the other.
    """
    for pair in pairs:
        request = TranslateRequest((pair.text,), (target.source,), (target.target,))
        (document,) = split_request(
            request, target.languages, TextBounds(sys.maxsize), lambda _: target.whole, target.glossaries
        )
        if not any(document.segments):
            counts.no_language += 1
        elif not pair.translation.strip():
            counts.empty += 1
        elif (parts := target.paired(document, pair.translation)) is None:
            counts.unpaired += 1
        else:
            for segment, translation in parts:
                # A person's translation: full confidence.
                entry = CacheEntry(segment.item.text, translation, 1.0)
                yield key_of(segment.item, target.release), entry


def _fits(value: bytes, max_bytes: int, counts: WarmCounts) -> bool:
    counts.too_large += len(value) > max_bytes
    return len(value) <= max_bytes


def _pairs(options: WarmOptions, unread: Counter[str], known: LanguageTags) -> Iterator[Pair]:
    kind = options.format or options.file.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise MemoryFileError(f"{options.file} is named neither .tsv, .csv nor .tmx: say --format")
    if kind != "tmx":
        return read_table(options.file, "\t" if kind == "tsv" else ",", unread)

    def reads_as(wanted: str) -> Callable[[str], bool]:
        tag = known.resolve(wanted)
        return lambda found: tag is not None and known.resolve(found) == tag

    return read_tmx(options.file, reads_as(options.source), reads_as(options.to), unread)


def transformer_settings(environ: Mapping[str, str]) -> TransformerConfig:
    """The transformer's settings; the required ones that are not used here get placeholders."""
    unused = {"YIWEN_RELEASE": ".", "YIWEN_PREDICTOR_URL": "localhost"}
    return settings_from_environment(
        TransformerConfig,
        {**environ, **unused},
        known=(*environment_names(ServerSettings), TOKEN_FILE_VARIABLE),
    )


async def _with_store(work: Work[AnyOptions], options: AnyOptions, config: TransformerConfig) -> None:
    settings = store_settings(config)
    patient = dataclasses.replace(settings, connect_timeout_s=TIMEOUT_S, command_timeout_s=TIMEOUT_S)
    store = RedisStore(patient)
    try:
        await work(store, config, options)
    finally:
        await store.close()


app = new_app("Show, fill or empty the shared cache (YIWEN_REDIS_URL).")
add_command(
    app, "stats", partial(run, show_stats), StatsOptions, help="Show entries and bytes of each release."
)
add_command(
    app,
    "warm",
    partial(run, warm_cache),
    WarmOptions,
    help="Store the translations of a TSV, CSV or TMX file.",
)
add_command(app, "flush", partial(run, flush_release), FlushOptions, help="Remove all entries of a release.")
