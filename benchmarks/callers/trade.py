"""What a small caller gains and a flood loses by ``YIWEN_BULK_SLOWDOWN``: the scheduler in simulated time.

The time of a step is measured first, by its rows and its prompts, with the runner on this machine; the least of some
repetitions counts. Then the predictor's own scheduler runs with these times, so that the figures hardly depend on
what else the machine does. Services, network and Python's part of a step are left out: with them ratios are smaller.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.transformer_stages.figures import percentile
from predictor.batch import Batch
from predictor.runners.base import execute
from predictor.runners.onnx_runtime import OnnxRuntimeRunner
from predictor.scheduler import Scheduler, Step
from predictor.sequence import RequestState
from predictor.sequence import Sequence as Generated
from protocol.messages import GenerateRequest
from protocol.priority import BULK_URGENCY, DEFAULT_URGENCY
from protocol.release import load_release

SLOWDOWNS = (1.25, 1.5, 2.0, 3.0, 4.0, 1000.0)
REPETITIONS = 30
PROMPT_TOKENS = 22
ANSWER_TOKENS = (8, 22)
"""Shortest and longest; those of titles."""
GROUP, GROUPS = 8, 3
"""Texts of a request of the flood, and its requests in flight: as the transformer's fair queue lets through."""
STOP, OTHER = 1, 2


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Milliseconds of a step's parts."""

    rows: tuple[int, ...]
    decode_ms: tuple[float, ...]
    """Of a decode step with so many rows."""
    prompt_ms: float
    """Of a prompt."""

    def seconds(self, step: Step) -> float:
        """The time of a step."""
        decode_ms = float(np.interp(len(step.decodes), (0, *self.rows), (0.0, *self.decode_ms)))
        return (decode_ms + self.prompt_ms * len(step.prefills)) / 1e3


@dataclass(frozen=True, slots=True)
class TradeLoad:
    """What is simulated."""

    rate: float = 20.0
    """Texts of the small caller a second."""
    seconds: float = 60.0
    threads: int = 1
    slots: int = 16


def measure(release: Path, load: TradeLoad) -> dict[str, Any]:
    """The step's times, and for each slowdown what the small caller waits and the flood gets."""
    times = step_times(release, load)
    (alone, _), (_, flood_alone) = (
        simulate(times, load, slowdown=2.0, rate=load.rate, floods=False),
        simulate(times, load, slowdown=2.0, rate=0.0, floods=True),
    )
    return {
        "rows": times.rows,
        "decode_ms": times.decode_ms,
        "prompt_ms": times.prompt_ms,
        "rate": load.rate,
        "alone": _spread(alone),
        "flood_alone": flood_alone,
        "beside": {
            slowdown: (_spread(waits), flood)
            for slowdown in SLOWDOWNS
            for waits, flood in (simulate(times, load, slowdown=slowdown, rate=load.rate, floods=True),)
        },
    }


def markdown(found: dict[str, Any]) -> str:
    """The figures as tables."""
    rows = " | ".join(map(str, found["rows"]))
    times = " | ".join(f"{each:.2f}" for each in found["decode_ms"])
    p50, p99 = found["alone"]
    lines = [
        f"| rows of a decode step | {rows} | a prompt of {PROMPT_TOKENS} tokens |",
        "|---" * (len(found["rows"]) + 2) + "|",
        f"| ms | {times} | {found['prompt_ms']:.2f} |",
        "",
        f"| slowdown | {found['rate']:g} texts/s: P50 ms | P99 ms | P99 to alone | flood, texts/s | to alone |",
        "|---|---|---|---|---|---|",
        f"| alone | {p50:.1f} | {p99:.1f} | | {found['flood_alone']:.0f} | |",
    ]
    for slowdown, ((middle, worst), flood) in found["beside"].items():
        name = "no limit" if slowdown == SLOWDOWNS[-1] else f"{slowdown:g}"
        share = flood / found["flood_alone"]
        lines.append(
            f"| {name} | {middle:.1f} | {worst:.1f} | {worst / p99:.2f} | {flood:.0f} | {share:.2f} |"
        )
    return "\n".join(lines)


def step_times(release: Path, load: TradeLoad) -> StepTimes:
    """Measure steps of one to all rows, and a prompt."""
    runner = OnnxRuntimeRunner(
        release, load_release(release), slots=load.slots, threads=load.threads, spin=False
    )
    prompt = tuple(range(5, 5 + PROMPT_TOKENS))
    rows = [count for count in (1, 2, 4, 8, 12, 16, 24, 32, 48, 64) if count < load.slots] + [load.slots]
    found = []
    for count in rows:
        slots = np.arange(count)
        tokens, lengths = np.full(count, 7), np.full(count, PROMPT_TOKENS)
        execute(runner, Batch.of_prompts(range(count), [prompt] * count))
        found.append(_least_ms(partial(execute, runner, Batch.of_tokens(slots, tokens, lengths))))
        execute(runner, Batch.of_tokens(slots[:0], tokens[:0], lengths[:0]))  # frees them
    alone = Batch.of_prompts([0], [prompt])
    nobody = Batch.of_prompts([], [])

    def one_prompt() -> None:
        execute(runner, alone)
        execute(runner, nobody)

    prompt_ms = _least_ms(one_prompt)
    runner.close()
    return StepTimes(tuple(rows), tuple(found), prompt_ms)


def simulate(
    times: StepTimes, load: TradeLoad, *, slowdown: float, rate: float, floods: bool
) -> tuple[list[float], float]:
    """Seconds that each text of the small caller takes, and the flood's texts a second.

    Args:
        times: of steps.
        load: durations and slots.
        slowdown: as of the setting.
        rate: texts of the small caller a second; 0 for none.
        floods: whether there is a flood.
    """
    return _Simulation(times, load, slowdown).run(rate, floods=floods)


class _Simulation:
    """A scheduler and its clock."""

    def __init__(self, times: StepTimes, load: TradeLoad, slowdown: float) -> None:
        self.now = 0.0
        self._times = times
        self._seconds = load.seconds
        self._rng = random.Random(1)
        self._lengths: dict[Generated, int] = {}
        self._scheduler = Scheduler(
            slots=load.slots,
            max_sequence_tokens=PROMPT_TOKENS + ANSWER_TOKENS[1],
            prefill_tokens=512,
            queue_tokens=1 << 20,
            bulk_slowdown=slowdown,
        )

    def run(self, rate: float, *, floods: bool) -> tuple[list[float], float]:
        arrivals = self._arrivals(rate)
        waits: list[float] = []
        flood: list[RequestState] = []
        texts = 0
        while self.now < self._seconds:
            while arrivals and arrivals[0] <= self.now:
                self._admit(1, DEFAULT_URGENCY, arrivals.pop(0))
            flood = [request for request in flood if not request.is_finished]
            while floods and len(flood) < GROUPS:
                flood.append(self._admit(GROUP, BULK_URGENCY, self.now))
            if not self._scheduler.has_work:
                self.now = arrivals[0] if arrivals else self._seconds
                continue
            for sequence in self._step():
                if sequence.is_bulk:
                    texts += 1
                else:
                    waits.append(self.now - sequence.arrived)
        return waits, texts / self._seconds

    def _arrivals(self, rate: float) -> list[float]:
        found, at = [], 0.0
        while rate and (at := at + self._rng.expovariate(rate)) < self._seconds:
            found.append(at)
        return found

    def _admit(self, texts: int, urgency: int, arrived: float) -> RequestState:
        prompts = ((OTHER,) * PROMPT_TOKENS,) * texts
        message = GenerateRequest(prompts, (ANSWER_TOKENS[1],) * texts, urgency=urgency)
        state = RequestState.from_message(
            message, deadline=None, subscriber=None, stop_token_ids=frozenset({STOP}), arrived=arrived
        )
        for sequence in state.sequences:
            self._lengths[sequence] = self._rng.randint(*ANSWER_TOKENS)
        self._scheduler.admit(state, tokens_per_s=0)
        return state

    def _step(self) -> Sequence[Generated]:
        step = self._scheduler.schedule(self.now)
        seconds = self._times.seconds(step)
        self.now += seconds
        tokens = [STOP if each.num_generated + 1 >= self._lengths[each] else OTHER for each in step.sequences]
        return self._scheduler.update(step, tokens, [0.0] * len(tokens), seconds=seconds)


def _least_ms(work: Callable[[], object]) -> float:
    """The least time of ``work``, milliseconds: what else the machine does only adds to it."""
    found = []
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found) * 1e3


def _spread(waits: Sequence[float]) -> tuple[float, float]:
    """P50 and P99, milliseconds."""
    return percentile(waits, 0.5) * 1e3, percentile(waits, 0.99) * 1e3
