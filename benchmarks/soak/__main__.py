"""``python -m benchmarks.soak --release DIR``: a share of the capacity for long, a fault every minute, and the leaks.

Prints requests, failures and wrong texts, and the slope of memory, files, threads and tasks of the processes that no
fault ended. Exit code 1: a request failed, a text was wrong, or something grew.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random

import aiohttp
import numpy as np

from benchmarks.soak.faults import FAULTS
from benchmarks.soak.load import Load
from benchmarks.soak.stack import REDIS_CONNECTIONS, Process, Stack, running

SAMPLE_S = 15.0
CALLERS = 16
CAPACITY_S = 20.0
IDLE_S = 120.0
"""After the load; longer than any time-out of a connection's head or body, and than idle connections are kept: 65 s,
after requests that waited for a predictor."""
MAX_MIB_PER_HOUR = 40.0
MAX_TITLES_PER_S = 400


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--release", type=Path, required=True, help="the demo release")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--share", type=float, default=0.7, help="of the capacity measured at the start")
    parser.add_argument("--fault-every", type=float, default=60.0, metavar="S")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


async def soak(options: argparse.Namespace) -> int:
    """Run it and print the report; the exit code."""
    seconds = options.minutes * 60
    async with running(options.release) as stack, aiohttp.ClientSession() as session:
        titles = int(MAX_TITLES_PER_S * (seconds + CAPACITY_S))
        load = Load(stack.transformers.url, session, Random(options.seed), titles)
        capacity = await load.capacity(CALLERS, CAPACITY_S)
        rate = capacity * options.share
        print(
            f"capacity {capacity:.1f} requests/s with {CALLERS} callers; load {rate:.1f} requests/s",
            flush=True,
        )
        started = time.monotonic()
        sampling = asyncio.create_task(_sample(stack, started))
        breaking = asyncio.create_task(_break(stack, options.fault_every, started + seconds))
        await load.run(rate, seconds)
        faults = await breaking
        sampling.cancel()
        await asyncio.sleep(IDLE_S)
        for process in stack.services:
            await process.sample(time.monotonic() - started)
        await load.judge((await stack.forgetful_transformer()).url)
        return _report(stack, load, faults)


async def _sample(stack: Stack, started: float) -> None:
    while True:
        for process in stack.services:
            if process.is_ready:
                await process.sample(time.monotonic() - started)
        await asyncio.sleep(SAMPLE_S)


async def _break(stack: Stack, every_s: float, end: float) -> dict[str, int]:
    """Cause one fault after the other; how often each was caused."""
    counts: dict[str, int] = {}
    number = 0
    while time.monotonic() + every_s < end:
        await asyncio.sleep(every_s)
        fault: Callable[[Stack], Awaitable[None]] = FAULTS[number % len(FAULTS)]
        number += 1
        await fault(stack)
        counts[fault.__name__] = counts.get(fault.__name__, 0) + 1
        print(f"  {fault.__name__}", flush=True)
    return counts


def _report(stack: Stack, load: Load, faults: dict[str, int]) -> int:
    result = load.result
    p50, p99 = (1e3 * value for value in np.percentile(result.latencies_s, (50, 99)))
    print(f"faults: {', '.join(f'{name} {count}' for name, count in faults.items())}")
    print(f"requests: {dict(result.requests)}, P50 {p50:.0f} ms, P99 {p99:.0f} ms")
    print(f"failed: {dict(result.failed) or 0}; wrong texts: {result.wrong}, ", end="")
    print(f"and {len(result.differing) - result.wrong} that the model itself gets wrong")
    for reason in result.reasons:
        print(f"  {reason}")
    print(f"balancers' own 502 and 503: {stack.predictors.failures} before predictors, ", end="")
    print(f"{stack.transformers.failures} before transformers")
    grown = [_row(process) for process in (stack.transformers.processes[0], stack.predictors.processes[0])]
    return 1 if result.failed or result.wrong or any(grown) else 0


def slope_without_steps(times: Sequence[float], values: Sequence[float]) -> float:
    """The median of the least-squares slopes of three thirds.

    Memory grows by steps too, when a fault makes a process hold more at once than ever before; a step is in one third
    alone. A leak is in all.
    """
    thirds = zip(
        np.array_split(np.asarray(times), 3), np.array_split(np.asarray(values, float), 3), strict=True
    )
    return float(np.median([np.polyfit(at, value, 1)[0] for at, value in thirds]))


def _row(process: Process) -> bool:
    """Print what a process held over time; whether something grew.

    Memory is judged over the second half, when caches and pools are full. Files and tasks are those after the load
    against those at its start, but for the connections to Redis, which a pool keeps.
    """
    samples = process.samples
    half = samples[len(samples) // 2 : -1]
    slope = slope_without_steps([each.at_s for each in half], [each.rss for each in half]) * 3600 / 2**20
    first, last = samples[0], samples[-1]
    print(
        f"{process.name}: {first.rss >> 20} to {last.rss >> 20} MiB, slope of the second half {slope:+.1f} MiB/h; "
        f"files {first.files} to {last.files}, threads {first.threads} to {last.threads}, "
        f"tasks {first.tasks} to {last.tasks} (most {max(each.tasks for each in samples)})"
    )
    print(
        f"  MiB over time: {' '.join(str(each.rss >> 20) for each in samples[:: max(1, len(samples) // 24)])}"
    )
    more_files = last.files - first.files
    return slope > MAX_MIB_PER_HOUR or last.tasks > first.tasks or more_files > REDIS_CONNECTIONS


if __name__ == "__main__":
    sys.exit(asyncio.run(soak(arguments())))
