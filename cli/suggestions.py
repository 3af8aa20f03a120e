"""`yiwen cache suggestions`, `accept` and `reject`: a person's review of what callers suggested.

Callers suggest better translations over LibreTranslate's `/suggest` where `YIWEN_SUGGESTIONS` is on. What is accepted
is served by all transformers within seconds, in place of the model's translation and of what the cache holds.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from rich.table import Table
from typer import Argument, Option

from cli.cache import TIMEOUT_S, WarmCounts, WarmTarget, keyed_entries, transformer_settings
from cli.cache import app as app
from cli.tables import print_table
from protocol.command_line import FAILED, UNUSABLE, add_command, fail
from protocol.errors import YiwenError
from protocol.release_documents import ReleaseError
from serving.settings import SettingsError
from transformer.cache.redis_client import RedisStore, StoreError
from transformer.cache.tiers import store_settings
from transformer.cache.translation_memory import Pair
from transformer.config import TransformerConfig
from transformer.suggestions.store import DirectorySuggestions, RedisSuggestions, SuggestionStore
from transformer.suggestions.suggestion import Correction, Suggestion

AnyOptions = TypeVar("AnyOptions")

_Ids = Annotated[list[str], Argument(metavar="ID...", help="as `yiwen cache suggestions` shows them")]


class UnknownSuggestion(Exception):
    """There is no suggestion of an id. The message names it."""


class UnusableSuggestion(Exception):
    """A suggestion cannot be served. The message says why."""


@dataclass(frozen=True, kw_only=True)
class SuggestionsOptions:
    """Options of `yiwen cache suggestions`."""

    json: Annotated[bool, Option("--json", help="print JSON")] = False


@dataclass(frozen=True, kw_only=True)
class AcceptOptions:
    """Options of `yiwen cache accept`."""

    ids: _Ids
    release: Annotated[Path, Option(metavar="DIR", help="release that says how texts are split")]


@dataclass(frozen=True, kw_only=True)
class RejectOptions:
    """Options of `yiwen cache reject`."""

    ids: _Ids


async def show_suggestions(store: SuggestionStore, options: SuggestionsOptions) -> None:
    """Print what waits for review, oldest first."""
    pending = await store.pending()
    if options.json:
        rows = [{"id": each.id, **dataclasses.asdict(each)} for each in pending]
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    table = Table("id", "languages", "text", "suggested", "caller", "created")
    for each in pending:
        languages = f"{each.source} {each.target}"
        table.add_row(each.id, languages, each.text, each.translation, each.caller, each.created_at[:19])
    print_table(table)


async def accept(store: SuggestionStore, options: AcceptOptions) -> None:
    """Serve suggestions from now on, sentence by sentence where the release translates so.

    Args:
        store: of the suggestions.
        options: of the command line.

    Raises:
        UnknownSuggestion: there is none of an id; nothing is accepted then.
        UnusableSuggestion: the sentences of one do not match those of its text; nothing is accepted then.
        ReleaseError: the release cannot be read, or does not translate the pair.
    """
    chosen = await _chosen(store, options.ids)
    found = [correction for each in chosen for correction in _corrections(each, options.release)]
    await store.add_corrections(found)
    for each in chosen:
        await store.remove(each)
    print(f"accepted {len(chosen)} suggestions: {len(found)} texts have another translation now")


async def reject(store: SuggestionStore, options: RejectOptions) -> None:
    """Forget suggestions; UnknownSuggestion if there is none of an id, and nothing is forgotten then."""
    chosen = await _chosen(store, options.ids)
    for each in chosen:
        await store.remove(each)
    print(f"rejected {len(chosen)} suggestions")


async def _chosen(store: SuggestionStore, ids: Sequence[str]) -> list[Suggestion]:
    pending = {each.id: each for each in await store.pending()}
    for wanted in ids:
        if wanted not in pending:
            raise UnknownSuggestion(f"no suggestion {wanted}: `yiwen cache suggestions` lists them")
    return [pending[wanted] for wanted in dict.fromkeys(ids)]


def _corrections(suggestion: Suggestion, release: Path) -> list[Correction]:
    """What is served for a suggestion: a correction of its text, or of each of its sentences."""
    source, target = suggestion.source, suggestion.target
    pairs = [Pair(suggestion.text, suggestion.translation)]
    counts = WarmCounts()
    entries = list(keyed_entries(pairs, WarmTarget.of(release, source, target), counts))
    if not entries:
        raise UnusableSuggestion(
            f"suggestion {suggestion.id} cannot be served: {counts}; reject it, or suggest one sentence at a time"
        )
    return [Correction(entry.source_text, entry.text, source, target) for _, entry in entries]


def run(
    name: str, work: Callable[[SuggestionStore, AnyOptions], Coroutine[Any, Any, None]], options: AnyOptions
) -> int:
    """Run one command on the store of the settings; returns the exit code."""
    try:
        asyncio.run(_with_suggestions(work, options, transformer_settings(os.environ)))
    except (SettingsError, StoreError) as error:
        return fail(f"cache {name}", error, UNUSABLE)
    except (UnknownSuggestion, UnusableSuggestion, ReleaseError, YiwenError) as error:
        return fail(f"cache {name}", error, FAILED)
    return 0


async def _with_suggestions(
    work: Callable[[SuggestionStore, AnyOptions], Coroutine[Any, Any, None]],
    options: AnyOptions,
    config: TransformerConfig,
) -> None:
    async with _suggestions(config) as store:
        await work(store, options)


@asynccontextmanager
async def _suggestions(config: TransformerConfig) -> AsyncIterator[SuggestionStore]:
    if config.suggestions_dir is not None:
        yield DirectorySuggestions(config.suggestions_dir)
        return
    settings = store_settings(config)
    redis = RedisStore(
        dataclasses.replace(settings, connect_timeout_s=TIMEOUT_S, command_timeout_s=TIMEOUT_S)
    )
    try:
        yield RedisSuggestions(redis)
    finally:
        await redis.close()


add_command(
    app,
    "suggestions",
    partial(run, "suggestions", show_suggestions),
    SuggestionsOptions,
    help="List the translations that callers suggested.",
)
add_command(
    app, "accept", partial(run, "accept", accept), AcceptOptions, help="Serve suggestions from now on."
)
add_command(app, "reject", partial(run, "reject", reject), RejectOptions, help="Forget suggestions.")
