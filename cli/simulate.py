"""`yiwen simulate`: a trace through one or more deployments, before there is a cluster.

Exit codes: 0 simulated, 2 the trace, the manifest or an option cannot be used.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.live import Live

    from knative.simulator.load.trace import Trace
    from knative.simulator.result import SimulationResult, Snapshot
    from knative.simulator.scenarios.scenario import Scenario
    from knative.simulator.simulation import SnapshotCallback

MISUSED = 2

_PLAIN = (
    "name",
    "manifest",
    "autoscaler",
    "profile",
    "release",
    "slots",
    "slices",
    "timeout_s",
    "slo_ms",
)
"""Options that are a scenario's fields of the same name."""

_OF_ALL_RUNS = ("seed", "slo_ms")
"""Fields that options replace in every scenario's file: runs side by side have them in common."""
_OF_THE_FIRST = ("slices", "price_per_slice_hour")
"""Those that options replace in the file of ``--scenario``."""


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Mount `yiwen simulate`."""
    parser = subparsers.add_parser(
        "simulate", help="simulate a load on a deployment: latency, errors, slices, cost",
        epilog="TRACE: poisson:rate=,seconds= | steady:rate=,seconds= | step:from=,to=,at=,seconds= | "
        "bursts:rate=,burst=,every=,for=,seconds= | diurnal:low=,high=,period=,seconds= | a CSV or Parquet file with "
        "a column time and, if known, chars, prompt_tokens, new_tokens, key. Requests with equal keys are answered "
        "from the cache, unless --hit-rate (0: no cache) or --zipf says otherwise. See docs/guides/capacity.md.",
    )  # fmt: skip
    parser.add_argument("trace", metavar="TRACE", help="kind of arrivals, or a log")
    _add_scenario(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write summaries and timelines")
    parser.add_argument("--png", type=Path, metavar="FILE.png", help="draw the runs over time")
    parser.add_argument("--timeline", action="store_true", help="show the runs over time as bars")
    parser.add_argument("--live", action="store_true", help="draw the runs as they go on")
    parser.set_defaults(run=run)


def _add_scenario(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--scenario", type=Path, metavar="FILE",
        help="all of the following from a YAML file; --seed, --slo-ms, --slices and --price replace what it says",
    )  # fmt: skip
    add(
        "--compare", type=Path, metavar="FILE", action="append", default=[],
        help="another scenario, beside the first; may be repeated; --seed and --slo-ms count for it too",
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
    add("--ttl", type=float, metavar="S", help="seconds an answer stays cached, with --zipf or keys (a week)")
    add("--price", type=float, metavar="P", help="of a slice, per hour")
    add("--slo-ms", type=float, metavar="MS", help="an answer in time (800)")
    add("--timeout", dest="timeout_s", type=float, metavar="S", help="how long a caller waits (30)")
    add("--lose", type=float, metavar="S", action="append", help="a pod dies then; may be repeated")
    add("--seed", type=int, default=None, metavar="N", help="another draw of all that is chance (0)")


def run(arguments: argparse.Namespace) -> int:
    """Simulate and print; returns the exit code."""
    from rich.console import Console

    from knative.simulator.errors import SimulationError

    console = Console()
    try:
        _check_outputs(arguments)
        scenarios = _scenarios(arguments)
        trace = _trace(arguments.trace, scenarios[0].seed)
        if not arguments.scenario:
            scenarios[0] = _with_keys(scenarios[0], trace, arguments)
        _check_pod_failures(scenarios, trace)
        results = _simulate(scenarios, trace, console if arguments.live else None)
        _show(results, arguments, console)
    except (SimulationError, OSError) as error:
        print(f"yiwen simulate: {error}", file=sys.stderr)
        return MISUSED
    return 0


def _scenarios(arguments: argparse.Namespace) -> list[Scenario]:
    from knative.simulator.scenarios.scenario_file import load_scenario, read_scenario

    document = _document(arguments)
    of_all_runs = {name: document[name] for name in _OF_ALL_RUNS if name in document}
    if arguments.scenario:
        _refuse_both(document, arguments)
        first = load_scenario(arguments.scenario, document)
    else:
        _require_both(arguments)
        first = read_scenario(document, "options", Path(), name="simulated")
    return [first, *(load_scenario(path, of_all_runs) for path in arguments.compare)]


def _simulate(scenarios: Sequence[Scenario], trace: Trace, console: Console | None) -> list[SimulationResult]:
    """All runs, one after the other, drawn as they go on if there is a console."""
    from rich.live import Live

    from knative.simulator.simulation import simulate

    if console is None:
        return [simulate(scenario, trace) for scenario in scenarios]
    with Live(console=console, transient=True, auto_refresh=False) as live:
        return [simulate(scenario, trace, _shown(live, scenario.name)) for scenario in scenarios]


def _show(results: Sequence[SimulationResult], arguments: argparse.Namespace, console: Console) -> None:
    """The picture last: should it fail, the numbers are there."""
    from knative.simulator.plot import draw
    from knative.simulator.report import summary_table, timeline

    console.print(summary_table(results))
    if arguments.timeline:
        for result in results:
            console.print(result.scenario.name, *timeline(result), sep="\n", highlight=False)
    if arguments.json:
        document = {"trace": arguments.trace, "runs": [result.to_json() for result in results]}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if arguments.png:
        draw(results, arguments.png)


def _shown(live: Live, name: str) -> SnapshotCallback:
    """Draws a run as it goes on, ten simulated seconds at a time."""
    from knative.simulator.report import so_far

    def show(snapshots: Sequence[Snapshot]) -> None:
        if len(snapshots) % 10 == 0:
            live.update(so_far(name, snapshots), refresh=True)

    return show


def _trace(text: str, seed: int) -> Trace:
    from knative.simulator.load.arrivals import generate_arrivals, is_spec
    from knative.simulator.load.trace import read_trace

    return generate_arrivals(text, seed) if is_spec(text) else read_trace(Path(text))


def _with_keys(scenario: Scenario, trace: Trace, arguments: argparse.Namespace) -> Scenario:
    """A log that says which texts are equal has the cache go by it, unless an option names another cache."""
    from knative.simulator.errors import SimulationError
    from knative.simulator.load.workload import CacheModel

    if arguments.hit_rate is not None or arguments.zipf is not None:
        return scenario
    if trace.keys is None:
        if arguments.ttl is not None:
            raise SimulationError("--ttl has no effect: give --zipf beside it, or a log with a column key")
        return scenario
    if scenario.transformer is None:
        return scenario  # nobody there to cache
    ttl = {} if arguments.ttl is None else {"ttl_s": arguments.ttl}
    return dataclasses.replace(scenario, cache=CacheModel(kind="keys", **ttl))


def _check_pod_failures(scenarios: Sequence[Scenario], trace: Trace) -> None:
    from knative.simulator.errors import SimulationError

    for scenario in scenarios:
        if any(time > trace.seconds for time in scenario.pod_failures):
            raise SimulationError(
                f"{scenario.name}: a pod is to die at second {max(scenario.pod_failures):g}, after the end of the "
                f"trace at {trace.seconds:g}: take an earlier time, or a longer trace"
            )


def _check_outputs(arguments: argparse.Namespace) -> None:
    """What would only fail after the run."""
    from knative.simulator.errors import SimulationError
    from knative.simulator.plot import check_drawable

    if arguments.png:
        check_drawable(arguments.png)
    for path in filter(None, (arguments.json, arguments.png)):
        if not path.absolute().parent.is_dir():
            raise SimulationError(f"{path} cannot be written: make the directory {path.parent} first")


def _document(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options as a scenario's document; what was not given is left out."""
    document = {name: getattr(arguments, name) for name in _PLAIN}
    document |= {
        "seed": arguments.seed,
        "price_per_slice_hour": arguments.price,
        "initial_pods": arguments.initial,
        "pod_failures": arguments.lose,
        "traffic": None if arguments.chars is None else {"chars": arguments.chars},
        "cache": _cache(arguments),
    }
    return {name: value for name, value in document.items() if value is not None}


def _cache(arguments: argparse.Namespace) -> dict[str, Any] | None:
    from knative.simulator.errors import SimulationError

    if arguments.hit_rate is not None:
        for option, value in (("--zipf", arguments.zipf), ("--ttl", arguments.ttl)):
            if value is not None:
                raise SimulationError(f"{option} has no effect beside --hit-rate: give one of the two")
        return {"kind": "rate", "rate": arguments.hit_rate}
    if arguments.zipf is None:
        return None
    texts, _, exponent = arguments.zipf.partition(":")
    try:
        cache: dict[str, Any] = {"kind": "zipf", "texts": int(texts), "exponent": float(exponent or 1)}
    except ValueError as error:
        raise SimulationError("--zipf must be TEXTS:EXPONENT, as in 100000:1.1") from error
    return cache | ({} if arguments.ttl is None else {"ttl_s": arguments.ttl})


def _refuse_both(document: Mapping[str, Any], arguments: argparse.Namespace) -> None:
    """Options that would not replace one field, but say again what the file is there to say."""
    from knative.simulator.errors import SimulationError

    given = sorted(set(document) - set(_OF_ALL_RUNS) - set(_OF_THE_FIRST))
    if arguments.ttl is not None:
        given.append("ttl")
    if given:
        raise SimulationError(f"{given[0]} is given beside --scenario: write it into {arguments.scenario}")


def _require_both(arguments: argparse.Namespace) -> None:
    from knative.simulator.errors import SimulationError

    for option, meaning in (("manifest", "the InferenceService"), ("profile", "of its predictor")):
        if not getattr(arguments, option):
            raise SimulationError(f"give --{option}, {meaning}, or all in one file with --scenario")
