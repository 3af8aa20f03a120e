"""Yiwen's own engine on a release of the same weights: continuous batching on ONNX Runtime.

The loop runs in its own thread and callers wait for futures, as in the service, but without HTTP.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.engine.checkpoint import converted
from benchmarks.engine.harness import Config, System, Unavailable, main
from benchmarks.engine.workloads import Workload

if TYPE_CHECKING:
    from predictor.llm_engine import LLMEngine
    from protocol.messages import GenerateResponse, Generation

PREFILL_TOKENS = 512
QUEUE_TOKENS = 1 << 20  # every request is admitted, since admission is not measured
SCORED_TOKENS = 8  # a separate prefill for each

_open: dict[tuple[Path, int, int, bool], LLMEngine] = {}


def run_engine(
    release_dir: Path,
    requests: Sequence[tuple[Sequence[int], int]],
    slots: int,
    threads: int,
    *,
    spin: bool = False,
) -> list[Generation]:
    """Submit all (prompt ids, tokens to generate) at once, as concurrent callers would, and wait for all answers.

    Greedy, no end token, at most `slots` sequences running. The first call, a warm-up, loads the release.
    """
    from protocol.messages import GenerateRequest

    engine = _open_engine(release_dir, slots, threads, spin)
    futures: list[Future[GenerateResponse]] = [
        engine.submit(GenerateRequest((tuple(prompt),), (n_out,))) for prompt, n_out in requests
    ]
    return [future.result().generations[0] for future in futures]


def _open_engine(release_dir: Path, slots: int, threads: int, spin: bool) -> LLMEngine:
    """Load a release and start its loop. Stops the engine that ran before, so that only one uses the machine."""
    from prometheus_client import CollectorRegistry

    from predictor.config import PredictorConfig
    from predictor.llm_engine import LLMEngine
    from predictor.metrics import EngineMetrics
    from predictor.runners.select import create_runner
    from protocol.release import load_release

    key = (release_dir, slots, threads, spin)
    if key not in _open:
        for other in list(_open):
            _open.pop(other).stop()
        # Lengths are fixed, so no token may end a sequence.
        release = dataclasses.replace(load_release(release_dir), stop_token_ids=())
        config = PredictorConfig(release=release_dir, slots=slots, threads=threads, spin=spin)
        runner = create_runner(config, release_dir, release).runner
        metrics = EngineMetrics(registry=CollectorRegistry())
        engine = LLMEngine(
            runner, release, prefill_tokens=PREFILL_TOKENS, queue_tokens=QUEUE_TOKENS, metrics=metrics
        )
        engine.start()
        _open[key] = engine
    return _open[key]


class Yiwen(System):
    """`variant` is the release's precision: float32, int8 or int4."""

    def __init__(self, config: Config) -> None:
        try:
            import onnxruntime  # noqa: F401 - to fail early if it is missing

            import predictor.llm_engine  # noqa: F401
        except ImportError as error:
            raise Unavailable(f"{error.name} is not installed") from error
        self._release = Path(config.release) if config.release else _release_of(config)
        self._threads = config.threads

    def versions(self) -> dict[str, str]:
        return {name: _version(name) for name in ("yiwen", "onnxruntime")}

    def strategies(self, work: Workload) -> tuple[str, ...]:
        return ("continuous", "continuous-spin")

    def run(self, work: Workload, strategy: str) -> list[list[int]]:
        requests = [(request.prompt, request.n_out) for request in work.requests]
        spin = strategy.endswith("spin")
        generations = run_engine(self._release, requests, work.slots, self._threads, spin=spin)
        return [list(generation.token_ids) for generation in generations]

    def score(self, prompt: Sequence[int], tokens: Sequence[int]) -> list[float]:
        """Up to the first token that greedy decoding would not choose; the engine returns no others."""
        count = min(SCORED_TOKENS, len(tokens))
        requests = [((*prompt, *tokens[:at]), 1) for at in range(count)]
        log_probs = []
        for token, generation in zip(
            tokens, run_engine(self._release, requests, 1, self._threads), strict=False
        ):
            if generation.token_ids != (token,):
                break
            log_probs.append(generation.logprob)
        return log_probs


def _release_of(config: Config) -> Path:
    """Build the release of this checkpoint and precision, unless this builder has built it before."""
    from predictor.builder.errors import BuildError
    from predictor.builder.progress import SilentReporter
    from predictor.builder.release.build import BuildRequest, build_release

    checkpoint = Path(config.checkpoint)
    path = converted(checkpoint, Path(config.cache), f"yiwen-{config.variant}-{_builder_digest()}")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        request = BuildRequest(checkpoint=checkpoint, out=path, precision=config.variant)
        try:
            build_release(request, built_at=datetime.now(tz=timezone.utc), reporter=SilentReporter())
        except BuildError as error:
            raise Unavailable(f"no release could be built: {error}") from error
    return path


def _builder_digest() -> str:
    """A digest of the builder's source, so that a release of an older builder is not measured by mistake."""
    import predictor.builder

    folder = Path(os.path.dirname(predictor.builder.__file__ or ""))
    sources = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    return hashlib.sha256(sources).hexdigest()[:8]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "from source"


if __name__ == "__main__":
    raise SystemExit(main(Yiwen))
