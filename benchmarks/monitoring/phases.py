"""Faults under load, and what on-call asks while each lasts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.monitoring.load import PORTAL_RATE
from benchmarks.monitoring.stack import (
    CANARY_PREDICTOR,
    STABLE_PREDICTOR,
    STABLE_TRANSFORMER,
    Stack,
    stand_still,
)

PORTAL_PER_S = 4 * PORTAL_RATE
TABLES_PER_S, TABLE = 30.0, 16
LATE = 0.7
"""Share of its phase after which a killed predictor starts again."""


@dataclass(frozen=True)
class FaultPhase:
    """A part of the run: its load, its fault, and the questions that are asked at its end."""

    fault: str
    questions: tuple[tuple[str, str], ...]
    """What on-call asks, and the panel that answers."""
    run: Callable[[Stack, float], None]
    """Takes its length, seconds."""


def _normal(stack: Stack, seconds: float) -> None:
    stack.load.run(seconds)


def _over_the_limit(stack: Stack, seconds: float) -> None:
    stack.load.run(seconds, portal_per_s=PORTAL_PER_S)


def _too_much(stack: Stack, seconds: float) -> None:
    stack.load.run(seconds, per_s=TABLES_PER_S, texts=TABLE)


def _redis_stands_still(stack: Stack, seconds: float) -> None:
    _during(lambda: stand_still(stack.redis, seconds), stack, seconds)


def _predictor_starts_late(stack: Stack, seconds: float) -> None:
    predictor = stack.pods[STABLE_PREDICTOR]
    predictor.kill()

    def come_back() -> None:
        time.sleep(seconds * LATE)
        predictor.start()

    _during(come_back, stack, seconds)


def _canary_without_predictor(stack: Stack, seconds: float) -> None:
    stack.pods[CANARY_PREDICTOR].kill()
    stack.load.run(seconds)


def _transformer_is_gone(stack: Stack, seconds: float) -> None:
    stack.pods[CANARY_PREDICTOR].start()
    stack.pods[STABLE_TRANSFORMER].kill()
    stack.load.run(seconds)


def _recovered(stack: Stack, seconds: float) -> None:
    stack.pods[STABLE_TRANSFORMER].start()
    stack.load.run(seconds)


def _during(deed: Callable[[], None], stack: Stack, seconds: float) -> None:
    thread = threading.Thread(target=deed)
    thread.start()
    stack.load.run(seconds)
    thread.join()


PHASES = (
    FaultPhase("none", (), _normal),
    FaultPhase(f"a caller sends {PORTAL_PER_S:g} requests a second, and may send {PORTAL_RATE:g}", (
        ("Why 429?", "Which errors are answered?"),
        ("Why 429?", "Whose requests are over their limit?"),
        ("Who sends this?", "Who sends how many characters?"),
    ), _over_the_limit),
    FaultPhase(f"{TABLES_PER_S:g} tables of {TABLE} new titles come a second, more than is translated", (
        ("Why is it slow?", "How long do answers take?"),
        ("Why is it slow?", "Where does the time of a request go?"),
        ("Why is it slow?", "Are the slots full?"),
        ("Why 429?", "Which errors are answered?"),
    ), _too_much),
    FaultPhase("Redis stands still (SIGSTOP)", (
        ("Does the cache work?", "Is Redis used?"),
        ("Does the cache work?", "Which commands does Redis not answer?"),
        ("Does the cache work?", "Which share of texts comes from the cache?"),
    ), _redis_stands_still),
    FaultPhase("the stable release's predictor is killed (SIGKILL), and starts again later", (
        ("What did the cold start cost?", "How long does a start take, by phase?"),
        ("What did the cold start cost?", "Where does the time of a request go?"),
        ("What did the cold start cost?", "How do these waits end?"),
    ), _predictor_starts_late),
    FaultPhase("the canary's predictor is killed", (
        ("Is the canary worse?", "Does a release fail more often?"),
        ("Is the canary worse?", "Which share of requests goes to each release?"),
    ), _canary_without_predictor),
    FaultPhase("the stable release's transformer is killed", (
        ("Is it up?", "Is it up?"),
    ), _transformer_is_gone),
    FaultPhase("none any more", (
        ("What does it cost?", "What does a million characters cost?"),
    ), _recovered),
)  # fmt: skip
"""In their order; the first has no fault, for comparison."""
