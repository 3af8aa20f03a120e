"""Shows a bill, and a plan beside what happened."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.tables import print_table
from inferenceservices.costs.bill import HOUR_S, MILLION, Bill, TrafficCost
from inferenceservices.costs.usage import CostError, ServiceUse
from knative.planner.replan import PlannedBest
from knative.planner.request import PlanOption, ServiceWorkload
from knative.simulator.load.workload import Traffic

COMPARED = ("", "planned", "happened", "planner, for what happened", "planner, for the busiest time")
UNKNOWN = "-"

Row = tuple[str, ...]


def print_bill(bill: Bill, use: ServiceUse) -> None:
    """Print pods, pairs, callers and totals."""
    console = Console()
    print_table(_pods_table(bill), console)
    for title, parts in (("pair", bill.pairs), ("caller", bill.callers)):
        if parts:
            console.print()
            print_table(_traffic_table(title, parts, bill.currency), console)
    console.print()
    for line in _totals(bill, use):
        console.print(line, highlight=False, soft_wrap=True)


def bill_json(bill: Bill, use: ServiceUse, rows: Sequence[Row] = ()) -> dict[str, Any]:
    """The bill as a JSON document; ``rows`` are those of :func:`comparison_rows`."""
    return {
        "currency": bill.currency,
        "seconds": bill.seconds,
        "cost": bill.total.cost,
        "cost_per_hour": bill.per_hour,
        "cost_per_million_characters": bill.total.per_million,
        "idle_cost": bill.idle_cost,
        "requests": use.requests,
        "peak_requests_per_s": use.peak_requests_per_s,
        "p99_s": use.p99_s,
        "pods": [{**dataclasses.asdict(each), "idle_share": each.idle_share} for each in bill.pods],
        "pairs": [_traffic_json(each) for each in bill.pairs],
        "callers": [_traffic_json(each) for each in bill.callers],
        "total": _traffic_json(bill.total),
        "plan": [dict(zip(COMPARED[1:], row[1:], strict=True)) | {"what": row[0]} for row in rows],
    }


def print_comparison(rows: Sequence[Row]) -> None:
    """Print a plan beside what happened."""
    print()
    table = Table(title="The plan, what happened, and what the planner says now")
    for name in COMPARED:
        table.add_column(name, justify="left" if not name else "right")
    for row in rows:
        table.add_row(*row)
    print_table(table)


def comparison_rows(planned: PlannedBest, use: ServiceUse, bill: Bill) -> tuple[Row, ...]:
    """Rows of :data:`COMPARED`: the plan, what happened, and plans with the same option for mean and busiest load.

    Raises:
        PlanError: the observed texts cannot be planned with.
        CostError: nothing was translated.
    """
    mean = observed_workload(use, use.requests / use.seconds)
    peak = observed_workload(use, use.peak_requests_per_s)
    again = planned.for_load(mean), planned.for_load(peak)
    before = planned.request.workload
    predictors = [pod for pod in use.pods if pod.component == "predictor"]
    pods = sum(pod.seconds for pod in predictors) / use.seconds
    loads = (before, mean, mean, peak)
    return (
        ("requests per second", *(f"{load.qps:.3g}" for load in loads)),
        ("texts per request", *(f"{load.traffic.mean_texts:.3g}" for load in loads)),
        ("characters per text", *(f"{load.traffic.chars:.4g}" for load in loads)),
        ("hit rate", *(f"{load.hit_rate:.1%}" for load in loads)),
        ("prompt tokens per character", *(f"{_prompt_tokens(load):.3g}" for load in loads)),
        ("new tokens per character", *(f"{load.traffic.new_tokens_per_char:.3g}" for load in loads)),
        (
            "predictor pods",
            str(planned.replicas),
            f"{pods:.1f}, at most {use.peak_predictors}",
            *(_replicas(option) for option in again),
        ),
        (
            "P99",
            _milliseconds(planned.p99_s),
            _milliseconds(use.p99_s),
            *(_milliseconds(option.p99_s) for option in again),
        ),
        ("per hour", f"{planned.cost:.2f}", f"{bill.per_hour:.2f}", *(f"{each.cost:.2f}" for each in again)),
        (
            "per million characters",
            _per_million(planned.cost, before),
            f"{bill.total.per_million:.4g}",
            _per_million(again[0].cost, mean),
            _per_million(again[1].cost, peak),
        ),
    )


def observed_workload(use: ServiceUse, qps: float) -> ServiceWorkload:
    """The load of a service for the planner: so many requests per second, of the lengths that were seen.

    Lengths of prompts are those of all tokens, the template's among them.

    Raises:
        CostError: nothing was translated.
    """
    total, default = use.total, Traffic()
    if not total.texts or not use.requests:
        raise CostError("nothing was translated: there is no load to plan for; leave --plan out")
    texts = total.texts / use.requests
    characters = total.missed_characters
    return ServiceWorkload(
        qps,
        min(total.hit_share, 0.999),
        Traffic(
            chars=max(1.0, total.characters / total.texts),
            template_tokens=0,
            prompt_tokens_per_char=total.prompt_tokens / characters
            if characters and total.prompt_tokens
            else default.prompt_tokens_per_char,
            new_tokens_per_char=total.generated_tokens / characters
            if characters and total.generated_tokens
            else default.new_tokens_per_char,
            texts_per_request=max(1, round(texts)),
        ),
    )


def _prompt_tokens(load: ServiceWorkload) -> float:
    """Tokens of a prompt, the template's among them, per character."""
    return load.traffic.prompt_tokens_per_char + load.traffic.template_tokens / load.traffic.chars


def _replicas(option: PlanOption) -> str:
    return str(option.replicas) if option.feasible else f"none: {option.reason}"


def _milliseconds(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else f"{seconds * 1000:,.0f} ms"


def _per_million(cost_per_hour: float, load: ServiceWorkload) -> str:
    characters = load.qps * load.traffic.mean_texts * load.traffic.chars * HOUR_S
    return f"{cost_per_hour / characters * MILLION:.4g}"


def _traffic_json(part: TrafficCost) -> dict[str, Any]:
    return {
        "name": part.name,
        **dataclasses.asdict(part.use),
        "hit_share": part.use.hit_share,
        "cost": part.cost,
        "cost_per_million_characters": part.per_million,
    }


def _pods_table(bill: Bill) -> Table:
    table = Table()
    for name in ("component", "slice", "node type", "pods", "hours", "idle", bill.currency):
        table.add_column(name, justify="left" if name in ("component", "slice", "node type") else "right")
    for each in bill.pods:
        idle = UNKNOWN if each.idle_share is None else f"{each.idle_share:.1%}"
        table.add_row(
            each.component,
            each.slice or UNKNOWN,
            each.node_type or UNKNOWN,
            str(each.pods),
            f"{each.hours:,.3f}",
            idle,
            f"{each.cost:,.4g}",
        )
    return table


def _traffic_table(title: str, parts: Sequence[TrafficCost], currency: str) -> Table:
    table = Table()
    for name in (title, "characters", "texts", "cached", "tokens in", "tokens out", currency, "per million"):
        table.add_column(name, justify="left" if name == title else "right")
    for each in parts:
        use = each.use
        table.add_row(
            each.name,
            f"{use.characters:,.0f}",
            f"{use.texts:,.0f}" if use.texts else UNKNOWN,
            f"{use.hit_share:.1%}" if use.texts else UNKNOWN,
            *(f"{n:,.0f}" if n else UNKNOWN for n in (use.prompt_tokens, use.generated_tokens)),
            f"{each.cost:,.4g}",
            f"{each.per_million:,.4g}",
        )
    return table


def _totals(bill: Bill, use: ServiceUse) -> Iterator[str]:
    hours = use.seconds / HOUR_S
    yield (
        f"{bill.total.cost:,.4g} {bill.currency} in {hours:,.3g} hours ({bill.per_hour:,.4g} per hour), "
        f"{bill.idle_cost:,.4g} of it while predictors had no work; {bill.total.per_million:,.4g} per million "
        f"characters of {bill.total.use.characters:,.0f}."
    )
    if bill.currency == "pod-hours":
        yield "No prices: costs are hours of predictors' pods. Give --price-per-hour or --prices."
