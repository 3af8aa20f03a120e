"""`yiwen cost`: what a service used and what that cost, from Prometheus or from log files."""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from protocol.command_line import UNUSABLE, add_command, fail, new_app

if TYPE_CHECKING:
    from inferenceservices.costs.prices import PriceFile
    from inferenceservices.costs.usage import ServiceUse
    from knative.planner.replan import PlannedBest

STDIN = "-"


@dataclass(frozen=True, kw_only=True)
class CostOptions:
    """Options of `yiwen cost`."""

    logs: Annotated[
        list[str] | None,
        Argument(metavar="[LOG]...", help="files of the services' JSON log lines, also .gz, or - for stdin"),
    ] = None
    prometheus: Annotated[
        str, Option(metavar="URL", help="read the metrics there, in place of logs", show_default=False)
    ] = ""
    since: Annotated[
        str,
        Option(metavar="DURATION", help="until now, such as 7d or 12h (7d; of logs all)", show_default=False),
    ] = ""
    namespace: Annotated[
        str, Option("-n", "--namespace", help="of the pods in Prometheus (all)", show_default=False)
    ] = ""
    price_per_hour: Annotated[float | None, Option(metavar="P", min=0, help="of each predictor's pod")] = None
    prices: Annotated[
        Path | None, Option(metavar="FILE", help="YAML with prices by component, slice and node type")
    ] = None
    slice: Annotated[
        str, Option(metavar="NAME", help="of predictors, where nothing says it", show_default=False)
    ] = ""
    pods: Annotated[
        int | None, Option(metavar="N", min=1, help="predictors, if their logs are not given")
    ] = None
    plan: Annotated[
        Path | None, Option(metavar="FILE", help="what yiwen plan -o wrote, to compare with what happened")
    ] = None
    timeout: Annotated[float, Option(metavar="S", help="of one query, seconds")] = 60.0
    json: Annotated[bool, Option("--json", help="print JSON")] = False


def run(options: CostOptions) -> int:
    """Compute and print; returns the exit code."""
    from cli.cost_report import bill_json, comparison_rows, print_bill, print_comparison
    from cli.prometheus import PrometheusError
    from inferenceservices.costs.bill import make_bill
    from inferenceservices.costs.usage import CostError
    from knative.planner.errors import PlanError
    from knative.simulator.errors import SimulationError

    try:
        _check(options)
        prices, planned = _prices(options), _plan(options)
        use = _from_prometheus(options) if options.prometheus else _from_logs(options)
        bill = make_bill(use, prices)
        rows = comparison_rows(planned, use, bill) if planned else ()
    except (CostError, PlanError, SimulationError, PrometheusError, OSError, ValueError) as error:
        return fail("cost", error, UNUSABLE)
    if options.json:
        print(json.dumps(bill_json(bill, use, rows), indent=1))
        return 0
    print_bill(bill, use)
    if planned:
        print_comparison(rows)
    return 0


def _check(options: CostOptions) -> None:
    from inferenceservices.costs.usage import CostError

    if bool(options.logs) == bool(options.prometheus):
        raise CostError("give either log files or --prometheus URL")
    if options.price_per_hour is not None and options.prices is not None:
        raise CostError("give one of --price-per-hour and --prices")
    if options.pods is not None and options.prometheus:
        raise CostError("--pods is for logs: Prometheus knows the pods")


def _from_prometheus(options: CostOptions) -> ServiceUse:
    from cli.prometheus import PrometheusClient
    from inferenceservices.costs.prometheus_use import UseQueries

    client = PrometheusClient(options.prometheus, timeout_s=options.timeout)
    seconds = round(duration_s(options.since or "7d"))
    return UseQueries(client.query, seconds, options.namespace).use(options.slice)


def _from_logs(options: CostOptions) -> ServiceUse:
    from inferenceservices.costs.request_log import RequestLog

    log = RequestLog(time.time() - duration_s(options.since) if options.since else 0.0)
    for name in options.logs or ():
        log.add(_lines(name), name)
    if log.ignored:
        print(
            f"yiwen cost: {log.ignored} lines that are no log lines of a service were left out",
            file=sys.stderr,
        )
    return log.use(slice_name=options.slice, pods=options.pods)


def _lines(name: str) -> Iterator[str]:
    if name == STDIN:
        yield from sys.stdin
        return
    file: IO[str]
    opener = gzip.open if name.endswith(".gz") else open
    with opener(name, "rt", encoding="utf-8", errors="replace") as file:
        yield from file


def duration_s(text: str) -> float:
    """Seconds of a duration such as ``90s``, ``12h`` or ``7d``.

    Raises:
        ValueError: it is none, or not at least a second.
    """
    from protocol.kubernetes.durations import parse_duration

    days, unit, rest = text.partition("d")
    try:
        seconds = (
            float(days) * 86_400 + (parse_duration(rest) if rest else 0.0) if unit else parse_duration(text)
        )
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds < float("inf"):
        raise ValueError(f"--since {text}: give a duration of at least a second, such as 12h or 7d")
    return seconds


def _prices(options: CostOptions) -> PriceFile:
    from inferenceservices.costs.prices import POD_HOURS, one_price, parse_prices

    if options.prices is not None:
        return parse_prices(options.prices.read_text(encoding="utf-8"), options.prices.name)
    return POD_HOURS if options.price_per_hour is None else one_price(options.price_per_hour)


def _plan(options: CostOptions) -> PlannedBest | None:
    from knative.planner.replan import read_plan

    if options.plan is None:
        return None
    document: Any = json.loads(options.plan.read_text(encoding="utf-8"))
    return read_plan(document, options.plan.name)


app = new_app("What a service used, and what that cost.")
add_command(
    app, "cost", run, CostOptions,
    help="Show pod-hours, idle time, characters, tokens and costs by language pair and caller.",
)  # fmt: skip
