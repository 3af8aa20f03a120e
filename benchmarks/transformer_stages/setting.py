"""Sizes, titles and requests for all stages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from types import ModuleType

import orjson
from kserve import InferInput, InferRequest

from benchmarks.engine.processes import ROOT
from benchmarks.transformer_stages.job import Outcome
from benchmarks.transformer_stages.titles import distinct

MODEL = "demo"
SOURCE, TARGET = "en", "zh"
HIT, SHARED = '"hit"', '"shared"'
TITLE_SEED = 4


@dataclass(frozen=True, slots=True)
class BenchmarkSize:
    """Durations and counts of the measurements."""

    rounds: int
    """Rounds; in each every system has one turn."""
    closed_s: float
    """Duration of a closed loop, seconds."""
    open_s: float
    """Duration of an open loop, seconds."""
    pairs: int
    """Misses, each paired with the same prompt sent to the predictor."""
    steps: tuple[int, ...]
    """Requests per second of the load steps, before scaling to the machine."""
    step_s: float


FULL = BenchmarkSize(5, 2.5, 5.0, 300, (200, 500, 800, 1100, 1500), 9.0)
QUICK = BenchmarkSize(3, 0.8, 1.5, 60, (200, 800, 1500), 2.5)


def titles() -> Iterator[tuple[str, str]]:
    """Endless, deterministic iterator of distinct titles of the demo model's grammar and their translations."""
    return distinct(_grammar().training_pairs(Random(TITLE_SEED)))


def some_titles(count: int, skipped: int = 0) -> list[tuple[str, str]]:
    """``count`` titles after the first ``skipped``."""
    return list(islice(titles(), skipped, skipped + count))


def infer_body(texts: Sequence[str], deadline_ms: int | None = None) -> bytes:
    """A v2 request for translations."""
    parameters: dict[str, object] = {"source": SOURCE, "target": TARGET}
    if deadline_ms is not None:
        parameters["deadline_ms"] = deadline_ms
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
    return orjson.dumps({"inputs": [tensor], "parameters": parameters})


def deepl_body(texts: Sequence[str]) -> bytes:
    """A request for translations over DeepL's API, as deepl-python sends it."""
    languages = {"source_lang": SOURCE.upper(), "target_lang": TARGET.upper()}
    return orjson.dumps({"text": list(texts), **languages, "show_billed_characters": True})


def grpc_body(texts: Sequence[str]) -> bytes:
    """A gRPC request for translations."""
    tensor = InferInput("text", [len(texts)], "BYTES", [text.encode() for text in texts])
    request = InferRequest(MODEL, [tensor], parameters={"source": SOURCE, "target": TARGET})
    message: bytes = request.to_grpc().SerializeToString()
    return message


def require_all(outcome: Outcome, what: str, *, mark: int | None = None) -> None:
    """Exit if a request of a load failed or was answered in another way than intended.

    Raises:
        SystemExit: a request failed, or lacks ``mark``.
    """
    wrong = [
        each for each in outcome.samples if each.status != 200 or (mark is not None and each.mark != mark)
    ]
    if wrong or not outcome.samples:
        statuses = sorted({each.status for each in wrong})
        raise SystemExit(
            f"{what}: {len(wrong)} of {len(outcome.samples)} answers are not what was to be measured "
            f"(statuses {statuses})"
        )


def _grammar() -> ModuleType:
    # The demo model's scripts are not a package: they import each other by name from their folder.
    folder = str(ROOT / "examples" / "demo_model")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("grammar")
