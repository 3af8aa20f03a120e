"""The processes: a Redis, a predictor, and transformers that share both and a file of keys."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.transformer_stages import processes
from benchmarks.transformer_stages.job import Target
from transformer.callers.key_file import ApiKey, KeyFile, format_keys


@dataclass(frozen=True, slots=True)
class Service:
    """The running processes."""

    targets: list[Target]
    """The address of inference of each transformer."""
    predictor: str
    """URL."""

    def generated(self) -> int:
        """Texts that the predictor has finished so far."""
        text = httpx.get(f"{self.predictor}/metrics", timeout=30).text
        samples = (each for family in text_string_to_metric_families(text) for each in family.samples)
        return round(sum(each.value for each in samples if each.name == "yiwen_predictor_sequences_total"))


@contextmanager
def running(
    release: Path,
    keys: Sequence[ApiKey],
    *,
    transformers: int = 1,
    slots: int = 16,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """Run the service.

    Args:
        release: of the demo model.
        keys: of the callers.
        transformers: processes.
        slots: of the predictor.
        settings: further ones of the predictor; one thread unless they say otherwise.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "keys.json").write_text(format_keys(KeyFile(keys=tuple(keys))), encoding="utf-8")
        url = stack.enter_context(processes.redis_server())
        own = {"YIWEN_THREADS": "1", **(settings or {})}
        behind = stack.enter_context(processes.predictor(release, slots=slots, further=own))
        own = {"YIWEN_API_KEYS_FILE": str(folder / "keys.json")}
        fronts = [
            processes.transformer(release, behind, redis_url=url, further=own) for _ in range(transformers)
        ]
        yield Service([stack.enter_context(front).infer for front in fronts], behind.url)


def with_key(target: Target, key: str, path: str | None = None) -> Target:
    """A target as the caller with ``key`` reaches it."""
    return Target(target.port, path or target.path, {**target.headers, "authorization": f"Bearer {key}"})
