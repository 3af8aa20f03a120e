"""Whether quotas hold over replicas: two transformers, one Redis, five keys, thousands of requests at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx
import orjson

from benchmarks.callers.service import running, with_key
from benchmarks.transformer_stages import processes
from benchmarks.transformer_stages.job import LoadJob, LoadRequest, Target
from benchmarks.transformer_stages.setting import infer_body, some_titles
from transformer.callers.key_file import ApiKey, hash_key

KEYS = 5
TITLES = 200
"""Distinct ones; most requests are answered from the cache, so that they come as fast as can be."""
CALLERS = 16
"""Requests at once, to each transformer."""


@dataclass(frozen=True, slots=True)
class QuotaLoad:
    """What is sent."""

    requests: int = 10_000
    share: float = 0.6
    """Of the characters that each key asks for, its quota allows so many."""
    seed: int = 1


def measure(release: Path, load: QuotaLoad) -> dict[str, Any]:
    """For each key: its quota, the characters that were answered, and what Redis has counted."""
    texts = [text for text, _ in some_titles(TITLES)]
    rng = Random(load.seed)
    sent = [(number % KEYS, rng.choice(texts)) for number in range(load.requests)]
    asked = [sum(len(text) for key, text in sent if key == number) for number in range(KEYS)]
    quotas = [round(load.share * characters) for characters in asked]
    secrets = [f"caller-{number}" for number in range(KEYS)]
    keys = [
        ApiKey(id=secret, sha256=hash_key(secret), characters_per_month=quota)
        for secret, quota in zip(secrets, quotas, strict=True)
    ]
    with running(release, keys, transformers=2) as service:
        targets = service.targets
        answered = [0] * KEYS
        statuses: dict[int, int] = {}
        with ThreadPoolExecutor(len(targets)) as pool:
            halves = [sent[place :: len(targets)] for place in range(len(targets))]
            jobs = [_job(target, half, secrets) for target, half in zip(targets, halves, strict=True)]
            for half, outcome in zip(halves, pool.map(processes.run_load, jobs), strict=True):
                for sample in outcome.samples:
                    statuses[sample.status] = statuses.get(sample.status, 0) + 1
                    key, text = half[sample.number]
                    answered[key] += len(text) if sample.status == 200 else 0
        counted = [_used(targets[0], secret) for secret in secrets]
    return {"quotas": quotas, "answered": answered, "counted": counted, "statuses": statuses, "asked": asked}


def markdown(found: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = ["| key | asked for | quota | answered | counted | over |", "|---|---|---|---|---|---|"]
    columns = zip(found["asked"], found["quotas"], found["answered"], found["counted"], strict=True)
    for number, (asked, quota, answered, counted) in enumerate(columns):
        over = max(0, answered - quota)
        lines.append(f"| {number} | {asked} | {quota} | {answered} | {counted} | {over} |")
    return "\n".join([*lines, "", f"requests by status: {found['statuses']}"])


def _job(target: Target, sent: list[tuple[int, str]], secrets: list[str]) -> LoadJob:
    callers = [with_key(target, secret) for secret in secrets]
    requests = [LoadRequest(callers[key], infer_body([text])) for key, text in sent]
    return LoadJob(tuple(requests), callers=CALLERS, patience_s=30.0)


def _used(target: Target, secret: str) -> int:
    """The characters of a key, as the DeepL API tells them."""
    url = f"http://127.0.0.1:{target.port}/v2/usage"
    answer = httpx.get(url, headers={"authorization": f"Bearer {secret}"}, timeout=10)
    return int(orjson.loads(answer.content)["character_count"])
