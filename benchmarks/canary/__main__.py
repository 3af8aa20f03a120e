"""`python -m benchmarks.canary`: how often `yiwen rollout run` is right.

Over simulated requests, in seconds; with --real over real processes on this machine, a quarter of a minute a rollout.
Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.canary import simulated


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, or roll out, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.canary",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, help="of each row (200; with --real 20)")
    parser.add_argument("--seed", type=int, default=1, help="(1)")
    parser.add_argument(
        "--real", action="store_true", help="with real processes; needs Linux and the tests' extras"
    )
    parser.add_argument(
        "--interrupt", action="store_true", help="with --real: interrupt the command in each phase"
    )
    parser.add_argument("--canary", help="with --real: only those whose row begins with this word")
    parser.add_argument("--rate", type=float, default=30.0, help="with --real: requests per second (30)")
    parser.add_argument("--out", type=Path, help="with --real: JSON file of all rollouts; those in it count")
    options = parser.parse_args(arguments)
    if options.real:
        _roll_out(options)
    else:
        print(simulated.table(options.runs or 200, options.seed))


def _roll_out(options: argparse.Namespace) -> None:
    from benchmarks.canary import real, rollouts  # kserve and the tests' fork server take seconds to import

    kinds = [kind for kind in real.CANARIES if kind.startswith(options.canary or "")]
    if not kinds:
        raise SystemExit(f"--canary {options.canary}: there are {', '.join(real.CANARIES)}")
    found = rollouts.read(options.out, kinds) if options.out else {kind: [] for kind in kinds}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no process outlives this one
    try:
        with tempfile.TemporaryDirectory(prefix="yiwen-canary-") as folder:
            runs, interrupt = options.runs or 20, options.interrupt
            asyncio.run(real.measure(Path(folder), found, runs, options.rate, options.seed, interrupt))
    except KeyboardInterrupt:
        print("ended early")
    finally:
        if options.out:
            rollouts.write(options.out, found)
        print(rollouts.interruption_table(found) if options.interrupt else rollouts.detection_table(found))


if __name__ == "__main__":
    main()
