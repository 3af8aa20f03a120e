"""Measures the simulator's parameters on the running service, with closed-loop callers.

All times are processor times by thread. On shared cores most of the wall time is waiting, which the simulator is to
predict. The machine's speed varies, so a CPU probe runs during all measurements.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean

from benchmarks.prediction.cpu_probe import running_cpu_probe
from benchmarks.prediction.stack import SLOTS, MeasuredService, Spent
from benchmarks.prediction.texts import Texts
from benchmarks.transformer_stages.job import LoadJob
from benchmarks.transformer_stages.processes import run_load
from benchmarks.transformer_stages.setting import require_all
from knative.profiling.fitting import ProfileMetadata, make_profile
from knative.profiling.measurement import (
    MeasurementRun,
    PredictorInfo,
    ProfiledPredictor,
    connected,
    find_prompts,
    run_callers,
)
from knative.profiling.profile import PredictorProfile
from knative.simulator.cluster.pods import TransformerModel
from knative.simulator.load.arrivals import generate_arrivals
from knative.simulator.scenarios.scenario import Node
from protocol.release import Release, load_release

CALLERS = (1, 2, 4, 8, 16)
"""Per predictor."""
TYPICAL_CALLERS = 4
"""Callers per predictor, when processor time per request is measured."""
WARM_UP = 0.3
"""Rate of the open loop as a fraction of the throughput, when the load generator's cost is measured."""
PREFILL_TOKENS = 512
"""Prefill tokens per step: the default of YIWEN_PREFILL_TOKENS."""
PROMPTS = (8, 64)
"""Lengths of the prompts, in tokens, by which the cost of a prompt token is measured."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Results of closed-loop callers or of an open loop."""

    began_s: float
    """On the machine's monotonic clock."""
    ended_s: float
    requests: int
    latency_s: float
    """Mean."""
    generator_s: float
    """Processor time of the load generator, seconds."""
    spent: Spent

    def per_request_s(self) -> float:
        """Processor time of all server processes per request, seconds."""
        return self.spent.total_s / self.requests

    def at_speed(self, speed: float) -> Asked:
        """The results with processor times converted to speed 1."""
        spent, serving = dataclasses.asdict(self.spent), ("transformer_s", "proxy_s", "request_s", "step_s")
        spent |= {name: spent[name] * speed for name in serving}
        return dataclasses.replace(self, generator_s=self.generator_s * speed, spent=Spent(**spent))

    def __add__(self, other: Asked) -> Asked:
        requests = self.requests + other.requests
        latency = self.latency_s * self.requests + other.latency_s * other.requests
        both = zip(dataclasses.astuple(self.spent), dataclasses.astuple(other.spent), strict=True)
        return Asked(
            self.began_s,
            other.ended_s,
            requests,
            latency / requests,
            self.generator_s + other.generator_s,
            Spent(*(one + another for one, another in both)),
        )


@dataclass(frozen=True, slots=True)
class Known:
    """Parameters of the simulation, all at one speed of the machine."""

    profile: PredictorProfile
    transformer: TransformerModel
    node: Node
    overhead_s: float
    """Seconds that a single request waits beyond all processor time."""
    most_per_s: float
    """Answers per second with as many callers as slots."""
    work_s: float
    """Mean processor time of the CPU probe's step meanwhile, which defines speed 1."""


def learn(stack: MeasuredService, texts: Texts, directory: Path, *, rounds: int, seconds: float) -> Known:
    """Measure a service.

    Args:
        stack: the service, without other load.
        texts: to translate.
        directory: of the release that it serves.
        rounds: of all measurements in turn, so that each sees the machine at all its speeds.
        seconds: of each measurement in each round.
    """
    count = len(stack.predictors)
    by_callers: dict[int, list[Asked]] = {}
    singles: dict[int, list[MeasurementRun]] = {prompt: [] for prompt in PROMPTS}
    with running_cpu_probe(directory) as readings:
        for _ in range(rounds):
            for callers in sorted({1, *(each * count for each in CALLERS)}):
                by_callers.setdefault(callers, []).append(ask(stack, texts, callers, seconds))
            for run in asyncio.run(_single_tokens(stack, seconds)):
                singles[run.prompt_tokens].append(run)
        open_loop = ask_by_the_clock(stack, texts, by_callers[count * SLOTS][-1], seconds * rounds)
    work_s = readings.mean_work_s

    def usual(asked: Asked) -> Asked:
        return asked.at_speed(work_s / readings.between(asked.began_s, asked.ended_s).mean_work_s)

    asked = {callers: sum(map(usual, more), usual(first)) for callers, (first, *more) in by_callers.items()}
    single, info = [_pooled(singles[prompt]) for prompt in PROMPTS], asyncio.run(_facts(stack))
    return _known(asked, single, usual(open_loop), info, load_release(directory), count, work_s)


def ask(stack: MeasuredService, texts: Texts, callers: int, seconds: float) -> Asked:
    """Run closed-loop callers."""
    job = LoadJob(texts.requests(stack.transformer.infer, len(texts.texts)), callers=callers, seconds=seconds)
    return _asked(stack, job, f"{callers} callers")


def ask_by_the_clock(stack: MeasuredService, texts: Texts, busy: Asked, seconds: float) -> Asked:
    """Run an open loop at a third of the rate of ``busy``, since it costs the load generator more."""
    rate = WARM_UP * SLOTS * len(stack.predictors) / busy.latency_s
    trace = generate_arrivals(f"poisson:rate={rate:.3g},seconds={seconds:g}", seed=0)
    requests = texts.requests(stack.transformer.infer, len(trace))
    return _asked(stack, LoadJob(requests, at_s=tuple(trace.times.tolist())), "the warm-up")


def _asked(stack: MeasuredService, job: LoadJob, what: str) -> Asked:
    before = stack.spent()
    outcome = run_load(job)
    spent = stack.spent().since(before)
    require_all(outcome, what)
    began, latency = outcome.began_s, fmean(sample.latency_s for sample in outcome.samples)
    return Asked(began, began + outcome.wall_s, len(outcome.samples), latency, outcome.cpu_s, spent)


async def _single_tokens(stack: MeasuredService, seconds: float) -> list[MeasurementRun]:
    """Measure answers of one token, from one predictor directly, to short and to long prompts."""
    async with connected(stack.predictors[0].url) as predictor:
        await predictor.info()
        return [await _single_token(predictor, prompt, seconds) for prompt in PROMPTS]


async def _single_token(predictor: ProfiledPredictor, prompt: int, seconds: float) -> MeasurementRun:
    prompts = await find_prompts(predictor, prompt, 1, Random(0))
    return await run_callers(predictor, prompts, callers=1, new_tokens=1, seconds=seconds)


async def _facts(stack: MeasuredService) -> PredictorInfo:
    async with connected(stack.predictors[0].url) as predictor:
        return await predictor.info()


def _pooled(runs: Sequence[MeasurementRun]) -> MeasurementRun:
    """Combine results, averaged over the machine's speeds."""
    counters = [dataclasses.astuple(run.counters) for run in runs]
    sums = (sum(column) for column in zip(*counters, strict=True))
    return dataclasses.replace(
        runs[0],
        requests=sum(run.requests for run in runs),
        seconds_per_request=fmean(run.seconds_per_request for run in runs),
        counters=type(runs[0].counters)(*sums),
    )


def _known(
    asked: Mapping[int, Asked],
    single: Sequence[MeasurementRun],
    open_loop: Asked,
    info: PredictorInfo,
    release: Release,
    count: int,
    work_s: float,
) -> Known:
    """Compute the parameters for ``count`` predictors."""
    prompt, new = (
        round(
            sum(getattr(each.spent, name) for each in asked.values())
            / sum(e.requests for e in asked.values())
        )
        for name in ("prompt_tokens", "generated_tokens")
    )
    runs = [
        MeasurementRun(
            each, prompt, new, asked[each * count].requests, 0.0, asked[each * count].spent.counters()
        )
        for each in CALLERS
    ]
    setting = ProfileMetadata("in place", "this machine, one thread", "full", PREFILL_TOKENS, None, release)
    profile = make_profile(runs, single, info, setting)
    typical, alone = asked[TYPICAL_CALLERS * count], asked[1]
    profile = dataclasses.replace(
        profile, slots=SLOTS, request_overhead_seconds=typical.spent.request_s / typical.requests
    )
    hops_s = typical.spent.proxy_s / typical.requests + open_loop.generator_s / open_loop.requests
    alone_s = alone.per_request_s() + alone.generator_s / alone.requests
    busiest = asked[SLOTS * count]
    return Known(
        profile=profile,
        transformer=TransformerModel(
            miss_seconds=typical.spent.transformer_s / typical.requests, max_connections=512
        ),
        node=Node(cores=len(os.sched_getaffinity(0)), hop_seconds=hops_s / 2),
        overhead_s=max(0.0, alone.latency_s - alone_s),
        most_per_s=SLOTS * count / busiest.latency_s,
        work_s=work_s,
    )
