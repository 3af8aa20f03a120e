"""`python -m benchmarks.prediction --release DIR`: prediction against reality, on this machine.

The real transformer in front of 1, 2 and 3 real predictors with one thread each behind a round-robin proxy; real
open-loop load at three rates and with a step. The same arrivals and the same lengths go through the simulator, which
knows a profile of one predictor, measured minutes before, and what one request at a time costs the transformer.

All of it shares this machine's cores, the load generator and the proxy too; the simulator knows nothing of that.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from benchmarks.engine.__main__ import machine
from benchmarks.engine.processes import Usage
from benchmarks.prediction.stack import Stack, running
from benchmarks.transformer_stages.job import Job, Request
from benchmarks.transformer_stages.processes import run_load
from benchmarks.transformer_stages.setting import SOURCE, TARGET, infer_body, titles
from knative.fitting import Setting, least_disturbed, make_profile
from knative.planner.capacity import fixed_scaling
from knative.profile import Profile
from knative.profiling import connected, find_prompts, run_callers
from knative.simulator.arrivals import generate_arrivals
from knative.simulator.pods import TransformerModel
from knative.simulator.scenario import PredictorService, Scenario, TransformerService
from knative.simulator.simulation import simulate
from knative.simulator.trace import Trace
from protocol.release import TOKENIZER_DIR, TRANSLATION_FILE, load_release, load_translation_spec
from transformer.tokens.tokenizer import TextToEncode, load_tokenizer

CALLERS, LENGTHS, NEW_TOKENS, ROUNDS = (1, 2, 4, 8, 16), (8, 24, 64), 12, 4
GENERATOR_START_S = 0.5
"""Processor time that a load generator takes before it begins to count, about."""
ALONE = 40
"""Requests, one at a time, that tell what the way through the service costs."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of a load. Latencies are seconds."""

    per_s: float
    """Answers per second, over the time of the load."""
    p50: float
    p99: float
    failed: int


@dataclass(frozen=True, slots=True)
class Texts:
    """Titles with their lengths in tokens."""

    texts: tuple[str, ...]
    prompt_tokens: tuple[int, ...]
    new_tokens: tuple[int, ...]
    """The stop token included."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the simulator is told."""

    profile: Profile
    transformer: TransformerModel
    overhead_s: float


def main() -> int:
    """Measure, simulate, print a table, write JSON."""
    options = _options()
    rows: list[dict[str, Any]] = []
    texts = encode_titles(options.release, int(options.seconds * options.most * 1.5) + ALONE)
    for count in options.predictors:
        with running(options.release, count) as stack:
            known = asyncio.run(learn(stack, options, texts))
            for load in loads(options.most * min(count, 2), options.seconds):
                trace = lengths_of(generate_arrivals(load, seed=1), texts)
                real, others = min(
                    (measure(stack, trace, texts) for _ in range(options.tries)), key=lambda pair: pair[1]
                )
                row = _row(real, predict(known, trace, count))
                rows.append({"predictors": count, "load": load, "others_busy_cores": round(others, 2)} | row)
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    results = {"machine": machine(), "rows": rows}
    print(markdown(rows))
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


def loads(most: float, seconds: float) -> list[str]:
    """Three rates and a step, as the simulator reads them."""
    rates = [f"poisson:rate={round(most * share)},seconds={seconds:g}" for share in (0.3, 0.6, 0.9)]
    step = f"step:from={round(most * 0.2)},to={round(most * 0.8)},at={seconds / 2:g},seconds={seconds:g}"
    return [*rates, step]


def encode_titles(release: Path, count: int) -> Texts:
    """Titles of the demo model's world, with the tokens of their prompts and of the answers that they should get."""
    spec = load_translation_spec(release / TRANSLATION_FILE)
    tokenizer = load_tokenizer(release, spec, load_release(release).limits.max_sequence_tokens)
    plain = Tokenizer.from_file(str(release / TOKENIZER_DIR / "tokenizer.json"))
    pairs = list(islice(titles(), count))
    wanted = [TextToEncode(index, text, SOURCE, TARGET) for index, (text, _) in enumerate(pairs)]
    prompts = tuple(len(prompt.token_ids) for prompt in tokenizer.encode(wanted, None))
    answers = tuple(len(plain.encode(answer, add_special_tokens=False).ids) + 1 for _, answer in pairs)
    return Texts(tuple(text for text, _ in pairs), prompts, answers)


def lengths_of(trace: Trace, texts: Texts) -> Trace:
    """The trace with each request's real lengths; requests take the titles in order."""
    order = np.arange(len(trace)) % len(texts.texts)
    return dataclasses.replace(
        trace,
        prompt_tokens=np.array(texts.prompt_tokens)[order],
        new_tokens=np.array(texts.new_tokens)[order],
    )


async def learn(stack: Stack, options: argparse.Namespace, texts: Texts) -> Known:
    """A profile of one predictor, and what the rest of the way costs one request."""
    profile = await _profile(stack.predictors[0].port, options)
    target = stack.transformer.infer
    requests = tuple(Request(target, infer_body([text])) for text in texts.texts[:ALONE])
    cpu = stack.transformer.cpu_s()
    outcome = run_load(Job(requests))
    per_request = (stack.transformer.cpu_s() - cpu) / ALONE
    waits = [sample.latency_s for sample in outcome.samples]
    alone = [
        profile.request_seconds
        + prompt * profile.prefill_seconds_per_token
        + new * profile.step_seconds(1, prompt)
        for prompt, new in zip(texts.prompt_tokens[:ALONE], texts.new_tokens[:ALONE], strict=True)
    ]
    overhead = float(np.median(waits)) - float(np.median(alone)) - per_request
    model = TransformerModel(miss_seconds=per_request, max_connections=128)
    return Known(profile, model, max(0.0, overhead))


async def _profile(port: int, options: argparse.Namespace) -> Profile:
    seconds = options.profile_seconds / ROUNDS
    chance, runs = Random(0), []
    async with connected(f"http://127.0.0.1:{port}") as predictor:
        facts = await predictor.facts()
        prompts = {n: await find_prompts(predictor, n, NEW_TOKENS, chance) for n in LENGTHS}
        cells = [(1, LENGTHS[0], 1), (1, LENGTHS[-1], 1)]
        cells += [(callers, length, NEW_TOKENS) for callers in CALLERS for length in LENGTHS]
        for callers, length, new in cells * ROUNDS:
            run = await run_callers(
                predictor, prompts[length], callers=callers, new_tokens=new, seconds=seconds
            )
            runs.append(run)
    best = least_disturbed(runs)
    setting = Setting("here", "this machine", "full", 512, None, load_release(options.release))
    return make_profile(best[2:], best[:2], facts, setting)


def measure(stack: Stack, trace: Trace, texts: Texts) -> tuple[Figures, float]:
    """The real service, and how many cores others kept busy meanwhile."""
    target = stack.transformer.infer
    count = len(texts.texts)
    requests = tuple(Request(target, infer_body([texts.texts[n % count]])) for n in range(len(trace)))
    machine_s, own_s, started = Usage.now().machine_s, stack.cpu_s(), time.monotonic()
    outcome = run_load(Job(requests, at_s=tuple(trace.times.tolist()), patience_s=30.0))
    own_s = stack.cpu_s() - own_s + outcome.cpu_s + GENERATOR_START_S
    others_s = max(0.0, Usage.now().machine_s - machine_s - own_s)
    answered = [s.latency_s for s in outcome.samples if s.status == 200]
    figures = _figures(answered, len(outcome.samples) - len(answered), outcome.wall_s)
    return figures, others_s / (time.monotonic() - started)


def predict(known: Known, trace: Trace, predictors: int) -> Figures:
    """The simulated one, straight to the predictors in turns."""
    scaling = dataclasses.replace(fixed_scaling(predictors, 0), target_burst_capacity=0.0)
    front = dataclasses.replace(fixed_scaling(1, 0), target_burst_capacity=0.0)
    outcome = simulate(
        Scenario(
            "foretold",
            (PredictorService("predictor", scaling, known.profile),),
            TransformerService(front, known.transformer),
            overhead_s=known.overhead_s,
        ),
        trace,
    )
    answered = outcome.answered()
    latencies = outcome.full_latencies()
    last = float((trace.times + latencies).max())
    return _figures(latencies[answered].tolist(), int((~answered).sum()), last)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table."""
    names: tuple[str, ...] = ("predictors", "load", "answers/s", "foretold")
    names += ("P50, ms", "foretold", "P99, ms", "foretold")
    names += ("failed", "foretold", "others' cores")
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for row in rows:
        real, told = row["real"], row["foretold"]
        cells = [row["predictors"], row["load"], f"{real['per_s']:.1f}", _off(told["per_s"], real["per_s"])]
        for name in ("p50", "p99"):
            cells += [f"{real[name] * 1000:.1f}", _off(told[name], real[name])]
        cells += [real["failed"], told["failed"], row["others_busy_cores"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _off(told: float, real: float) -> str:
    return f"{told / real - 1:+.0%}" if real else "-"


def _figures(latencies: Sequence[float], failed: int, seconds: float) -> Figures:
    p50, p99 = np.percentile(latencies, (50, 99)) if latencies else (0.0, 0.0)
    return Figures(len(latencies) / seconds, float(p50), float(p99), failed)


def _row(real: Figures, foretold: Figures) -> dict[str, Any]:
    return {"real": dataclasses.asdict(real), "foretold": dataclasses.asdict(foretold)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prediction",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--release", type=Path, required=True, metavar="DIR", help="the demo release")
    parser.add_argument("--predictors", type=int, nargs="+", default=[1, 2, 3], metavar="N")
    parser.add_argument(
        "--most", type=float, default=120.0, help="requests/s of the highest rate, near enough"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument(
        "--profile-seconds", type=float, default=2.0, help="of each measurement of the profile"
    )
    parser.add_argument("--tries", type=int, default=3, help="of each load; the least disturbed counts")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
