"""`yiwen simulate`: a trace through one or more deployments, before there is a cluster.

Exit codes: 0 simulated, 2 the trace, the manifest or an option cannot be used.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.live import Live

    from knative.simulator.outcome import Moment
    from knative.simulator.simulation import Watch
    from knative.simulator.trace import Trace

MISUSED = 2

_PLAIN = (
    "name",
    "manifest",
    "autoscaler",
    "profile",
    "release",
    "slots",
    "slices",
    "initial",
    "timeout_s",
    "slo_ms",
)
"""Options that are a scenario's fields of the same name."""


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Mount `yiwen simulate`."""
    parser = subparsers.add_parser(
        "simulate", help="simulate a load on a deployment: latency, errors, slices, cost",
        epilog="TRACE: poisson:rate=,seconds= | steady:rate=,seconds= | step:from=,to=,at=,seconds= | "
        "bursts:rate=,burst=,every=,for=,seconds= | diurnal:low=,high=,period=,seconds= | a CSV or Parquet file with "
        "a column time and, if known, chars, prompt_tokens, new_tokens, key. docs/guides/capacity.md has examples.",
    )  # fmt: skip
    parser.add_argument("trace", metavar="TRACE", help="kind of arrivals, or a log")
    _add_scenario(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write summaries and timelines")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the runs over time")
    parser.add_argument("--timeline", action="store_true", help="show the runs over time as bars")
    parser.add_argument("--live", action="store_true", help="draw the runs as they go on")
    parser.set_defaults(run=run)


def _add_scenario(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--scenario", type=Path, metavar="FILE", help="all of the following from a YAML file")
    add(
        "--compare", type=Path, metavar="FILE", action="append", default=[],
        help="another scenario, beside the first; may be repeated",
    )  # fmt: skip
    add("--name", metavar="NAME", help="of the column")
    add("--manifest", metavar="FILE", help="the InferenceService, or an overlay's directory")
    add("--autoscaler", metavar="FILE", help="ConfigMap config-autoscaler (Knative's defaults)")
    add("--profile", metavar="NAME", help="PROFILE.json, or a shipped profile's name")
    add("--release", metavar="ID", help="refuse a profile of another release")
    add("--slots", type=int, metavar="N", help="sequences at once per pod (the profile's)")
    add("--slices", type=int, metavar="N", help="slices that there are (any number)")
    add("--initial", type=int, metavar="N", help="pods ready at the start (the fewest)")
    add("--chars", type=float, metavar="N", help="mean characters of a text (60)")
    add("--hit-rate", type=float, metavar="SHARE", help="of requests that the cache answers")
    add("--zipf", metavar="TEXTS:EXPONENT", help="texts drawn from a Zipf distribution, cached once answered")
    add("--ttl", type=float, metavar="S", help="seconds an answer stays cached (a week)")
    add("--price", type=float, metavar="P", help="of a slice, per hour")
    add("--slo-ms", type=float, metavar="MS", help="an answer in time (800)")
    add("--timeout", dest="timeout_s", type=float, metavar="S", help="how long a caller waits (30)")
    add("--lose", type=float, metavar="S", action="append", help="a pod dies then; may be repeated")
    add("--seed", type=int, default=None, metavar="N", help="another draw of all that is chance (0)")


def run(arguments: argparse.Namespace) -> int:
    """Simulate and print; returns the exit code."""
    from rich.console import Console
    from rich.live import Live

    from knative.simulator.errors import SimulationError
    from knative.simulator.plot import draw
    from knative.simulator.report import summary_table, timeline
    from knative.simulator.scenario_file import load_scenario, read_scenario
    from knative.simulator.simulation import simulate

    console = Console()
    try:
        if arguments.scenario:
            _refuse_both(arguments)
            scenarios = [load_scenario(arguments.scenario)]
        else:
            scenarios = [read_scenario(_document(arguments), "options", Path(), name="simulated")]
        scenarios += [load_scenario(path) for path in arguments.compare]
        trace = _trace(arguments.trace, scenarios[0].seed)
        if arguments.live:
            with Live(console=console, transient=True, auto_refresh=False) as live:
                outcomes = [simulate(s, trace, _shown(live, s.name)) for s in scenarios]
        else:
            outcomes = [simulate(scenario, trace) for scenario in scenarios]
        if arguments.png:
            draw(outcomes, arguments.png)
        if arguments.json:
            document = {"trace": arguments.trace, "runs": [outcome.to_json() for outcome in outcomes]}
            arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except (SimulationError, OSError) as error:
        print(f"yiwen simulate: {error}", file=sys.stderr)
        return MISUSED
    console.print(summary_table(outcomes))
    if arguments.timeline:
        for outcome in outcomes:
            console.print(outcome.scenario.name, *timeline(outcome), sep="\n", highlight=False)
    return 0


def _shown(live: Live, name: str) -> Watch:
    """Draws a run as it goes on, ten simulated seconds at a time."""
    from knative.simulator.report import so_far

    def show(moments: Sequence[Moment]) -> None:
        if len(moments) % 10 == 0:
            live.update(so_far(name, moments), refresh=True)

    return show


def _trace(text: str, seed: int) -> Trace:
    from knative.simulator.arrivals import generate_arrivals, is_spec
    from knative.simulator.trace import read_trace

    return generate_arrivals(text, seed) if is_spec(text) else read_trace(Path(text))


def _document(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options as a scenario's document; what was not given is left out."""
    document = {name: getattr(arguments, name) for name in _PLAIN}
    document |= {
        "seed": arguments.seed,
        "price_per_slice_hour": arguments.price,
        "losses": arguments.lose,
        "traffic": {"chars": arguments.chars} if arguments.chars else None,
        "cache": _cache(arguments),
    }
    return {name: value for name, value in document.items() if value is not None}


def _cache(arguments: argparse.Namespace) -> dict[str, Any] | None:
    from knative.simulator.errors import SimulationError

    if arguments.hit_rate is not None:
        return {"kind": "rate", "rate": arguments.hit_rate}
    if not arguments.zipf:
        return None
    texts, _, exponent = arguments.zipf.partition(":")
    try:
        cache: dict[str, Any] = {"kind": "zipf", "texts": int(texts), "exponent": float(exponent or 1)}
    except ValueError as error:
        raise SimulationError("--zipf must be TEXTS:EXPONENT, as in 100000:1.1") from error
    return cache | ({"ttl_s": arguments.ttl} if arguments.ttl else {})


def _refuse_both(arguments: argparse.Namespace) -> None:
    from knative.simulator.errors import SimulationError

    given = sorted(_document(arguments))
    if given:
        raise SimulationError(f"{given[0]} is given beside --scenario: write it into {arguments.scenario}")
