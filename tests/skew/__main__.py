"""``python -m tests.skew COMMIT | CHECKOUT``: this version of Yiwen beside another one, as real processes.

Prints which version reads whose releases, what callers of all pairs of transformer and predictor get, and what they
get during upgrades and rollbacks under load. Exit code 1: a request failed or was answered otherwise than it may be.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.transformer_stages.setting import some_titles
from protocol.release import load_release
from tests.skew.changes import ChangeResult, changes, make
from tests.skew.checkouts import checkout_of
from tests.skew.documents import build_releases, read_all
from tests.skew.pairs import NO_CACHE, SLOTS, try_pairs
from tests.skew.requests import Request, ask_all, requests_of
from tests.skew.versions import Refused, Version
from tests.transformer.redis_server import running_redis

STAGES = ("releases", "pairs", "changes")
TITLES = 400
PAIR_TITLES = 48


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all stages; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.skew", description=__doc__)
    parser.add_argument(
        "other", help="a commit, or a directory with another version and its environment in .venv"
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="what to run (all)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)
    started = time.monotonic()
    with checkout_of(options.other) as checkout:
        is_sound = _run(options.stages, Version("old", checkout), Version("new"))
    print(f"\n{time.monotonic() - started:.0f} s")
    return 0 if is_sound else 1


def _end(number: int, _: object) -> None:
    """End as after Ctrl-C, with all that was started and made removed."""
    sys.exit(128 + number)


def _run(chosen: Sequence[str], old: Version, new: Version) -> bool:
    """Whether each of the chosen stages found what it should."""
    titles = [title for title, _ in some_titles(TITLES)]
    with tempfile.TemporaryDirectory(prefix="yiwen-skew-") as name:
        releases = build_releases(Path(name), old, new)
        stages: dict[str, Callable[[], bool]] = {
            "releases": partial(_show_documents, releases, old, new),
            "pairs": partial(_show_pairs, releases["built by old"], old, new, titles[:PAIR_TITLES]),
            "changes": partial(_show_changes, releases, old, new, titles),
        }
        sound = [stages[name]() for name in chosen]
    return all(sound)


def _show_documents(releases: dict[str, Path], old: Version, new: Version) -> bool:
    print("\n| release | id | service | starts |\n|---|---|---|---|")
    sound = True
    for each in read_all(releases, (old, new)):
        sound &= each.version == "old" or not each.refusal
        release = load_release(releases[each.release])
        outcome = each.refusal or "yes"
        print(f"| {each.release} | {release.id} | {each.version} {each.component} | {outcome} |", flush=True)
    return sound


def _show_pairs(release: Path, old: Version, new: Version, titles: Sequence[str]) -> bool:
    requests = list(requests_of(titles))
    kinds = sorted({each.kind for each in requests})
    print(f"\n{len(requests)} requests, three times for each pair: {', '.join(kinds)}\n")
    print("| transformer | predictor | answers | differing | hits of the third time | flood, queue full |")
    print("|---|---|---|---|---|---|")
    results = try_pairs(release, (old, new), requests)
    for each in results:
        pair = f"| {each.transformer} | {each.predictor} | {each.statuses}"
        print(f"{pair} | {each.differing} | {each.hits} | {each.flooded} |", flush=True)
    return all(each.is_sound for each in results)


def _show_changes(releases: dict[str, Path], old: Version, new: Version, titles: Sequence[str]) -> bool:
    expected = _expected(releases, (old, new), titles)
    print("\n| change | form | requests | failed | wrong | by release |\n|---|---|---|---|---|---|")
    sound = True
    for change in changes(releases, old, new):
        with tempfile.TemporaryDirectory() as name, running_redis(Path(name)) as redis:
            for result in make(change, titles, redis.url):
                wrong = result.wrong(expected)
                sound &= not wrong and not (result.failed and change.must_hold)
                _show_change(result, len(wrong))
    return sound


def _show_change(result: ChangeResult, wrong: int) -> None:
    failed = result.failed
    print(
        f"| {result.change.name} | {result.form} | {len(result.answers)} | {len(failed)} | {wrong} "
        f"| {result.by_release()} |"
    )
    for each in failed[:2]:
        print(f"  failed: {each.status} {each.error[:200]}")
    sys.stdout.flush()


def _expected(
    releases: dict[str, Path], versions: Sequence[Version], titles: Sequence[str]
) -> dict[tuple[str, str], set[str]]:
    """The translations of each title by each version, by release id and text."""
    found: dict[tuple[str, str], set[str]] = {}
    requests = [request for request in requests_of(titles) if request.kind == "infer"]
    for release in (releases["built by old"], releases["built by new"]):
        for version in versions:
            for request, translation in _translated(release, version, requests):
                found.setdefault((load_release(release).id, request), set()).add(translation)
    return found


def _translated(release: Path, version: Version, requests: Sequence[Request]) -> list[tuple[str, str]]:
    try:
        with (
            version.running("predictor", release, **SLOTS) as predictor,
            version.running("transformer", release, YIWEN_PREDICTOR_URL=predictor, **NO_CACHE) as url,
        ):
            answers = asyncio.run(ask_all(url, requests))
    except Refused:
        return []  # this version gives no answers with this release
    texts = [request.body["inputs"][0]["data"][0] for request in requests]
    return [(text, answer.content) for text, answer in zip(texts, answers, strict=True)]


if __name__ == "__main__":
    sys.exit(main())
