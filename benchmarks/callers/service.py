"""The processes: a Redis, a predictor, and transformers that share both and a file of keys."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.transformer_stages import processes
from benchmarks.transformer_stages.job import Target
from transformer.callers.key_file import ApiKey, KeyFile, format_keys


@contextmanager
def running(
    release: Path, keys: Sequence[ApiKey], *, transformers: int = 1, threads: int = 1, slots: int = 16
) -> Iterator[list[Target]]:
    """Run the service; gives the address of inference of each transformer.

    Args:
        release: of the demo model.
        keys: of the callers.
        transformers: processes.
        threads: of the predictor.
        slots: of the predictor.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "keys.json").write_text(format_keys(KeyFile(keys=tuple(keys))), encoding="utf-8")
        url = stack.enter_context(processes.redis_server())
        own = {"YIWEN_THREADS": str(threads)}
        behind = stack.enter_context(processes.predictor(release, slots=slots, further=own))
        own = {"YIWEN_API_KEYS_FILE": str(folder / "keys.json")}
        fronts = [
            processes.transformer(release, behind, redis_url=url, further=own) for _ in range(transformers)
        ]
        yield [stack.enter_context(front).infer for front in fronts]


def with_key(target: Target, key: str, path: str | None = None) -> Target:
    """A target as the caller with ``key`` reaches it."""
    return Target(target.port, path or target.path, {**target.headers, "authorization": f"Bearer {key}"})
