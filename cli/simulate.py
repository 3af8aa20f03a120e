"""`yiwen simulate`: simulates a load on one or more deployments, without a cluster."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from cli.texts_per_request import TEXTS_PER_REQUEST, parse_texts_per_request
from protocol.command_line import UNUSABLE, add_command, fail, new_app

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.live import Live

    from knative.simulator.load.trace import Trace
    from knative.simulator.result import SimulationResult, Snapshot
    from knative.simulator.scenarios.scenario import Scenario
    from knative.simulator.simulation import SnapshotCallback

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
"""Options that set the scenario's field of the same name."""

_OF_ALL_RUNS = ("seed", "slo_ms")
"""Fields that options replace in every scenario file, since all runs of a comparison share them."""
_OF_THE_FIRST = ("slices", "price_per_slice_hour")
"""Fields that options replace in the file of ``--scenario``."""


@dataclass(frozen=True, kw_only=True)
class SimulateOptions:
    """Options of `yiwen simulate`."""

    trace: Annotated[str, Argument(metavar="TRACE", help="kind of arrivals, or a log")]
    scenario: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="all of the following from a YAML file; --seed, --slo-ms, --slices and --price replace what it says",
        ),
    ] = None
    compare: Annotated[
        list[Path] | None,
        Option(
            metavar="FILE",
            help="another scenario, beside the first; may be repeated; --seed and --slo-ms count for it too",
        ),
    ] = None
    name: Annotated[str | None, Option(metavar="NAME", help="of the column")] = None
    manifest: Annotated[
        str | None, Option(metavar="FILE", help="the InferenceService, or an overlay's directory")
    ] = None
    autoscaler: Annotated[
        str | None, Option(metavar="FILE", help="ConfigMap config-autoscaler (Knative's defaults)")
    ] = None
    profile: Annotated[
        str | None, Option(metavar="NAME", help="PROFILE.json, or a shipped profile's name")
    ] = None
    release: Annotated[
        str | None, Option("--release-id", metavar="ID", help="refuse a profile of another release")
    ] = None
    slots: Annotated[int | None, Option(metavar="N", help="concurrent sequences per pod (the profile's)")] = (
        None
    )
    slices: Annotated[int | None, Option(metavar="N", help="slices that there are (any number)")] = None
    initial: Annotated[int | None, Option(metavar="N", help="pods ready at the start (the fewest)")] = None
    chars: Annotated[float | None, Option(metavar="N", help="mean characters of a text (60)")] = None
    texts_per_request: Annotated[str | None, TEXTS_PER_REQUEST] = None
    hit_rate: Annotated[float | None, Option(metavar="SHARE", help="of texts that the cache answers")] = None
    zipf: Annotated[
        str | None,
        Option(metavar="TEXTS:EXPONENT", help="texts drawn from a Zipf distribution, cached once answered"),
    ] = None
    ttl: Annotated[
        float | None, Option(metavar="S", help="seconds an answer stays cached, with --zipf or keys (a week)")
    ] = None
    price: Annotated[float | None, Option(metavar="P", help="of a slice, per hour")] = None
    slo_ms: Annotated[float | None, Option(metavar="MS", help="latency objective (800)")] = None
    timeout_s: Annotated[
        float | None, Option("--timeout", metavar="S", help="how long a client waits (30)")
    ] = None
    lose: Annotated[list[float] | None, Option(metavar="S", help="a pod dies then; may be repeated")] = None
    seed: Annotated[int | None, Option(metavar="N", help="of every random number (0)")] = None
    output: Annotated[
        Path | None, Option("-o", "--output", metavar="FILE", help="write summaries and timelines as JSON")
    ] = None
    json: Annotated[bool, Option("--json", help="print summaries and timelines as JSON")] = False
    png: Annotated[Path | None, Option(metavar="FILE.png", help="draw the runs over time")] = None
    timeline: Annotated[bool, Option("--timeline", help="show the runs over time as bars")] = False
    live: Annotated[bool, Option("--live", help="draw the runs while they are simulated")] = False


def run(options: SimulateOptions) -> int:
    """Simulate and print; returns the exit code."""
    from rich.console import Console

    from knative.simulator.errors import SimulationError

    console = Console()
    try:
        _check_outputs(options)
        scenarios = _scenarios(options)
        trace = _trace(options.trace, scenarios[0].seed)
        if not options.scenario:
            scenarios[0] = _with_keys(scenarios[0], trace, options)
        _check_pod_failures(scenarios, trace)
        results = _simulate(scenarios, trace, console if options.live else None)
        _show(results, options, console)
    except (SimulationError, OSError) as error:
        return fail("simulate", error, UNUSABLE)
    return 0


def _scenarios(options: SimulateOptions) -> list[Scenario]:
    from knative.simulator.scenarios.scenario_file import load_scenario, read_scenario

    document = _document(options)
    of_all_runs = {name: document[name] for name in _OF_ALL_RUNS if name in document}
    if options.scenario:
        _refuse_both(document, options)
        first = load_scenario(options.scenario, document)
    else:
        _require_both(options)
        first = read_scenario(document, "options", Path(), name="simulated")
    return [first, *(load_scenario(path, of_all_runs) for path in options.compare or ())]


def _simulate(scenarios: Sequence[Scenario], trace: Trace, console: Console | None) -> list[SimulationResult]:
    """Simulate all scenarios in turn; shows the progress on a terminal."""
    from rich.live import Live

    from knative.simulator.simulation import simulate

    if console is None:
        return [simulate(scenario, trace) for scenario in scenarios]
    with Live(console=console, transient=True, auto_refresh=False) as live:
        return [simulate(scenario, trace, _shown(live, scenario.name)) for scenario in scenarios]


def _show(results: Sequence[SimulationResult], options: SimulateOptions, console: Console) -> None:
    """Print and write the results; the plot last, so that a failure of plotting loses no figures."""
    from cli.tables import print_table
    from knative.simulator.plot import draw
    from knative.simulator.report import summary_table, timeline

    document = json.dumps(
        {"trace": options.trace, "runs": [result.to_json() for result in results]}, indent=1
    )
    if options.json:
        print(document)
    else:
        print_table(summary_table(results), console)
        for result in results if options.timeline else ():
            console.print(result.scenario.name, *timeline(result), sep="\n", highlight=False)
    if options.output:
        options.output.write_text(document + "\n", encoding="utf-8")
    if options.png:
        draw(results, options.png)


def _shown(live: Live, name: str) -> SnapshotCallback:
    """A callback that draws the run's charts every ten simulated seconds."""
    from knative.simulator.report import so_far

    def show(snapshots: Sequence[Snapshot]) -> None:
        if len(snapshots) % 10 == 0:
            live.update(so_far(name, snapshots), refresh=True)

    return show


def _trace(text: str, seed: int) -> Trace:
    from knative.simulator.load.arrivals import generate_arrivals, is_spec
    from knative.simulator.load.trace import read_trace

    return generate_arrivals(text, seed) if is_spec(text) else read_trace(Path(text))


def _with_keys(scenario: Scenario, trace: Trace, options: SimulateOptions) -> Scenario:
    """Use the keys of a trace for the cache, unless an option sets another cache model."""
    from knative.simulator.errors import SimulationError
    from knative.simulator.load.workload import CacheModel

    if options.hit_rate is not None or options.zipf is not None:
        return scenario
    if trace.keys is None:
        if options.ttl is not None:
            raise SimulationError("--ttl has no effect: give --zipf beside it, or a log with a column key")
        return scenario
    if scenario.transformer is None:
        return scenario  # no transformer, no cache
    cache = CacheModel(kind="keys")
    if options.ttl is not None:
        cache = dataclasses.replace(cache, ttl_s=options.ttl)
    return dataclasses.replace(scenario, cache=cache)


def _check_pod_failures(scenarios: Sequence[Scenario], trace: Trace) -> None:
    from knative.simulator.errors import SimulationError

    for scenario in scenarios:
        if any(time > trace.seconds for time in scenario.pod_failures):
            raise SimulationError(
                f"{scenario.name}: a pod is to die at second {max(scenario.pod_failures):g}, after the end of the "
                f"trace at {trace.seconds:g}: take an earlier time, or a longer trace"
            )


def _check_outputs(options: SimulateOptions) -> None:
    """Check before the run that the outputs can be written."""
    from knative.simulator.errors import SimulationError
    from knative.simulator.plot import check_drawable

    if options.png:
        check_drawable(options.png)
    for path in filter(None, (options.output, options.png)):
        if not path.absolute().parent.is_dir():
            raise SimulationError(f"{path} cannot be written: make the directory {path.parent} first")


def _document(options: SimulateOptions) -> dict[str, Any]:
    """Convert the options to a scenario document, without those that were not given."""
    document = {name: getattr(options, name) for name in _PLAIN}
    document |= {
        "seed": options.seed,
        "price_per_slice_hour": options.price,
        "initial_pods": options.initial,
        "pod_failures": options.lose,
        "traffic": _traffic(options),
        "cache": _cache(options),
    }
    return {name: value for name, value in document.items() if value is not None}


def _traffic(options: SimulateOptions) -> dict[str, Any] | None:
    texts = None if options.texts_per_request is None else parse_texts_per_request(options.texts_per_request)
    traffic = {"chars": options.chars, "texts_per_request": texts}
    return {name: value for name, value in traffic.items() if value is not None} or None


def _cache(options: SimulateOptions) -> dict[str, Any] | None:
    from knative.simulator.errors import SimulationError

    if options.hit_rate is not None:
        for option, value in (("--zipf", options.zipf), ("--ttl", options.ttl)):
            if value is not None:
                raise SimulationError(f"{option} has no effect beside --hit-rate: give one of the two")
        return {"kind": "rate", "rate": options.hit_rate}
    if options.zipf is None:
        return None
    texts, _, exponent = options.zipf.partition(":")
    try:
        cache: dict[str, Any] = {"kind": "zipf", "texts": int(texts), "exponent": float(exponent or 1)}
    except ValueError as error:
        raise SimulationError("--zipf must be TEXTS:EXPONENT, as in 100000:1.1") from error
    return cache | ({} if options.ttl is None else {"ttl_s": options.ttl})


def _refuse_both(document: Mapping[str, Any], options: SimulateOptions) -> None:
    """Refuse options that a scenario file does not allow beside it."""
    from knative.simulator.errors import SimulationError

    given = sorted(set(document) - set(_OF_ALL_RUNS) - set(_OF_THE_FIRST))
    if options.ttl is not None:
        given.append("ttl")
    if given:
        raise SimulationError(f"{given[0]} is given beside --scenario: write it into {options.scenario}")


def _require_both(options: SimulateOptions) -> None:
    from knative.simulator.errors import SimulationError

    for option, meaning in (("manifest", "the InferenceService"), ("profile", "of its predictor")):
        if not getattr(options, option):
            raise SimulationError(f"give --{option}, {meaning}, or all in one file with --scenario")


app = new_app("Simulate a load on a deployment.")
add_command(
    app,
    "simulate",
    run,
    SimulateOptions,
    help="Simulate a load on a deployment: latency, errors, slices, cost.",
    epilog="TRACE: poisson:rate=,seconds= | steady:rate=,seconds= | step:from=,to=,at=,seconds= | "
    "bursts:rate=,burst=,every=,for=,seconds= | diurnal:low=,high=,period=,seconds= | a CSV or Parquet file with "
    "a column time and, if known, chars, prompt_tokens, new_tokens, key. Requests with equal keys are answered "
    "from the cache, unless --hit-rate (0: no cache) or --zipf says otherwise. See docs/guides/capacity.md.",
)
