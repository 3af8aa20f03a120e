"""`python -m benchmarks.callers`: what API keys promise, measured with processes of their own on this machine.

`fairness`: a small caller's latency alone and beside a flooding caller. `trade`: what the small caller gains and the
flood loses by YIWEN_BULK_SLOWDOWN, in simulated time with measured steps. `quotas`: five keys over two transformers
and one Redis, none of which may exceed its quota by more than one request's text.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.callers import fairness, quotas, trade
from benchmarks.callers.fairness import FairnessLoad
from benchmarks.callers.quotas import QuotaLoad
from benchmarks.callers.trade import TradeLoad

STAGES = ("fairness", "trade", "quotas")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = _options(arguments)
    release = options.release.resolve()
    found: dict[str, Any] = {}
    for stage in options.only or STAGES:
        print(f"{stage} ...", file=sys.stderr, flush=True)
        if stage == "fairness":
            load = FairnessLoad(
                options.rounds,
                options.seconds,
                rate=options.rate,
                threads=options.threads,
                slots=options.slots,
                slowdowns=tuple(options.slowdowns),
            )
            found[stage] = fairness.measure(release, load)
            print(fairness.markdown(found[stage]), flush=True)
        elif stage == "trade":
            trade_load = TradeLoad(options.rate, threads=options.threads, slots=options.slots)
            found[stage] = trade.measure(release, trade_load)
            print(trade.markdown(found[stage]), flush=True)
        else:
            found[stage] = quotas.measure(release, QuotaLoad(options.requests))
            print(quotas.markdown(found[stage]), flush=True)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.callers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--release", type=Path, required=True, help="directory of the demo release")
    parser.add_argument("--only", nargs="+", choices=STAGES, help="stages to run")
    parser.add_argument("--rounds", type=int, default=3, help="of fairness")
    parser.add_argument("--seconds", type=float, default=12.0, help="of each half of a round of fairness")
    parser.add_argument("--threads", type=int, default=1, help="of the predictor, in fairness")
    parser.add_argument("--slots", type=int, default=16, help="of the predictor, in fairness")
    parser.add_argument(
        "--rate", type=float, default=20.0, help="texts of the small caller a second, in fairness"
    )
    parser.add_argument(
        "--slowdowns", nargs="+", default=[""], help="values of YIWEN_BULK_SLOWDOWN to measure, in fairness"
    )
    parser.add_argument("--requests", type=int, default=10_000, help="of quotas")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
