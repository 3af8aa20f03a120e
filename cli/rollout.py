"""`yiwen rollout`: starts, moves, judges, promotes and rolls back a canary of a release, and shows its state.

For InferenceServices in KServe's Knative mode.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from typer import Argument, Option

from protocol.command_line import FAILED, UNUSABLE, add_command, fail, new_app

if TYPE_CHECKING:
    from inferenceservices.canary.run_state import RunPlan
    from inferenceservices.cluster import ClusterClient
    from inferenceservices.cluster_snapshot import ClusterReader
    from inferenceservices.gpu_capacity import GpuAvailability
    from inferenceservices.rollout import RolloutStep
    from inferenceservices.rollout_state import ComponentState, RolloutState
    from protocol.kubernetes.documents import Document

    Planner = Callable[[Document], RolloutStep]


@dataclass(frozen=True, kw_only=True)
class RolloutOptions:
    """Options of every command of `yiwen rollout`."""

    name: Annotated[str, Argument(metavar="NAME", help="of the InferenceService")]
    namespace: Annotated[
        str | None,
        Option("-n", "--namespace", help="of the InferenceService (that of the kubeconfig's context)"),
    ] = None
    context: Annotated[str | None, Option(help="of the kubeconfig (the current one)")] = None
    timeout: Annotated[float, Option(metavar="S", help="of one call to the cluster, seconds")] = 10.0


@dataclass(frozen=True, kw_only=True)
class StatusOptions(RolloutOptions):
    """Options of `yiwen rollout status`."""

    json: Annotated[bool, Option("--json", help="print JSON")] = False


@dataclass(frozen=True, kw_only=True)
class ChangeOptions(RolloutOptions):
    """Options of the commands that change the InferenceService."""

    dry_run: Annotated[bool, Option("--dry-run", help="print the patch (JSON) and change nothing")] = False


@dataclass(frozen=True, kw_only=True)
class SetOptions(ChangeOptions):
    """Options of `yiwen rollout set`."""

    percent: Annotated[int, Option(metavar="N", help="of the requests, to the newest release (0 to 100)")]
    release: Annotated[
        str, Option(metavar="DIR", help="directory of the new release on the volume", show_default=False)
    ] = ""
    storage: Annotated[
        str, Option(metavar="URI", help="storageUri of a predictor with a model", show_default=False)
    ] = ""
    predictor_image: Annotated[
        str, Option(metavar="IMAGE", help="of the new predictor", show_default=False)
    ] = ""
    transformer_image: Annotated[
        str, Option(metavar="IMAGE", help="of the new transformer", show_default=False)
    ] = ""
    allow_pending: Annotated[
        bool, Option("--allow-pending", help="start although no node has the devices free")
    ] = False


@dataclass(frozen=True, kw_only=True)
class RunOptions(RolloutOptions):
    """Options of `yiwen rollout run`."""

    to: Annotated[
        str, Option(metavar="N,N,...", help="percentages that the canary gets one after another")
    ] = "10,50,100"
    every: Annotated[str, Option(metavar="DURATION", help="between two looks, such as 5m")] = "5m"
    start: Annotated[
        str, Option(metavar="DURATION", help="in which the canary must become ready, or it is rolled back")
    ] = "20m"
    looks: Annotated[int, Option(metavar="N", min=1, help="at one percentage, without a decision")] = 12
    samples: Annotated[
        int, Option(metavar="N", min=1, help="requests of each release that a promotion needs")
    ] = 200
    confidence: Annotated[
        float,
        Option(metavar="D", min=0, max=1, help="tolerated decrease of the mean confidence; 1 leaves it out"),
    ] = 0.05
    prometheus: Annotated[
        str, Option(metavar="URL", help="read the metrics there (from the pods)", show_default=False)
    ] = ""


COLUMNS = ("component", "revision", "release", "traffic", "ready", "tag", "URL")

AnyOptions = TypeVar("AnyOptions", bound=RolloutOptions)
AnyCluster = TypeVar("AnyCluster", bound="ClusterClient")


def run(work: Callable[[ClusterClient, AnyOptions], int], options: AnyOptions) -> int:
    """Run one command against the cluster; returns the exit code."""
    from inferenceservices.cluster import ClusterClient

    return _reporting(
        lambda: ClusterClient(options.namespace, context=options.context, timeout_s=options.timeout),
        lambda cluster: work(cluster, options),
    )


def run_canary(options: RunOptions) -> int:
    """Bring the canary to all traffic by its metrics."""
    from inferenceservices.cluster_snapshot import ClusterReader

    try:
        plan = _run_plan(options)
    except ValueError as error:
        return fail("rollout run", error, UNUSABLE)
    return _reporting(
        lambda: ClusterReader(options.namespace, context=options.context, timeout_s=options.timeout),
        lambda reader: _run_canary(reader, options, plan),
    )


def _run_canary(reader: ClusterReader, options: RunOptions, plan: RunPlan) -> int:
    from cli.prometheus import PrometheusClient
    from cli.rollout_run import CanaryRunner
    from inferenceservices.canary.judgement import Thresholds
    from inferenceservices.revision_metrics import scrape_revision

    if options.prometheus:
        source = PrometheusClient(options.prometheus, namespace=reader.namespace, timeout_s=options.timeout)
    runner = CanaryRunner(
        cluster=reader,
        name=options.name,
        plan=plan,
        thresholds=Thresholds(samples=options.samples, confidence=options.confidence),
        counters=source.counters if options.prometheus else partial(scrape_revision, reader),
        releases=partial(_releases, reader),
        now=time.time,
        sleep=time.sleep,
        say=partial(print, flush=True),
    )
    try:
        return runner.run()
    except KeyboardInterrupt:
        print("yiwen rollout run: stopped; the same command goes on from here", file=sys.stderr)
        raise


def _run_plan(options: RunOptions) -> RunPlan:
    """The options as a plan.

    Raises:
        ValueError: one of them is not valid.
    """
    from inferenceservices.canary.run_state import RunPlan
    from protocol.kubernetes.durations import parse_duration

    try:
        percents = tuple(int(word) for word in options.to.split(","))
    except ValueError:
        percents = ()
    if not percents or list(percents) != sorted(set(percents)) or not 1 <= percents[0] <= percents[-1] <= 100:
        raise ValueError(f"--to {options.to}: give ascending percentages from 1 to 100, such as 10,50,100")
    every, start = parse_duration(options.every), parse_duration(options.start)
    if every <= 0 or start <= 0:
        raise ValueError("--every and --start: give durations above 0, such as 5m")
    return RunPlan(percents=percents, every_s=every, start_s=start, looks=options.looks)


def _reporting(connect: Callable[[], AnyCluster], work: Callable[[AnyCluster], int]) -> int:
    """Work on a cluster; errors become a line and an exit code."""
    from inferenceservices.cluster import ClusterError
    from inferenceservices.rollout_state import RolloutRefused

    try:
        with connect() as cluster:
            return work(cluster)
    except RolloutRefused as error:
        return fail("rollout", error, FAILED)
    except ClusterError as error:
        return fail("rollout", error, UNUSABLE)


def set_percent(cluster: ClusterClient, options: SetOptions) -> int:
    """Start a canary, or change its percentage."""
    from inferenceservices.release_change import ReleaseChange
    from inferenceservices.rollout import plan_set

    images = {"predictor": options.predictor_image, "transformer": options.transformer_image}
    change = ReleaseChange(release=options.release, storage=options.storage, images=images)
    planner = _checking_gpus(
        cluster,
        lambda document: plan_set(document, options.percent, change, _releases(cluster, document)),
        options.allow_pending,
    )
    return _carry_out(cluster, options, planner)


def promote(cluster: ClusterClient, options: ChangeOptions) -> int:
    """Give the newest release all traffic."""
    from inferenceservices.rollout import plan_promote

    return _carry_out(cluster, options, plan_promote)


def roll_back(cluster: ClusterClient, options: ChangeOptions) -> int:
    """Give the previous release all traffic."""
    from inferenceservices.rollout import plan_rollback

    return _carry_out(
        cluster, options, lambda document: plan_rollback(document, _releases(cluster, document))
    )


def show_status(cluster: ClusterClient, options: StatusOptions) -> int:
    """Print revisions and available GPUs."""
    from rich.console import Console
    from rich.table import Table

    from cli.tables import print_table
    from inferenceservices.gpu_capacity import gpu_availability
    from inferenceservices.rollout_state import read_state
    from protocol.kubernetes.inference_service import InferenceService

    document = cluster.inference_service(options.name)
    state = read_state(document)
    rows = _revisions(state, cluster.releases(document))
    service = InferenceService(document, cluster.serving_runtimes(document))
    availability = gpu_availability(service, cluster.capacity())
    if options.json:
        print(json.dumps(_status_document(state, rows, availability), indent=1))
        return 0
    console = Console()
    table = Table()
    for column in COLUMNS:
        table.add_column(column, justify="right" if column == "traffic" else "left")
    for row in rows:
        table.add_row(*row)
    print_table(table, console)
    for component in state.components:
        if component.failure:
            console.print(
                f"{component.name} is not ready: {component.failure}", highlight=False, soft_wrap=True
            )
    for gpus in availability:
        console.print(_describe(gpus), highlight=False, soft_wrap=True)
    return 0


def _checking_gpus(cluster: ClusterClient, planner: Planner, allow_pending: bool) -> Planner:
    """``planner`` with a check that GPUs are available for new pods."""
    from inferenceservices.gpu_capacity import check_gpu_availability
    from inferenceservices.rollout import merge
    from protocol.kubernetes.inference_service import InferenceService

    def plan(document: Document) -> RolloutStep:
        step = planner(document)
        if step.makes_revisions:
            after = merge(document, step.patch)
            service = InferenceService(after, cluster.serving_runtimes(after))
            for note in check_gpu_availability(service, cluster.capacity(), allow_pending=allow_pending):
                print(f"yiwen rollout: {note}", file=sys.stderr)
        return step

    return plan


def _creating_service(cluster: ClusterClient, planner: Planner) -> Planner:
    """``planner``, which also creates the Service of a release before its pods."""
    from inferenceservices.cluster import PermissionDenied
    from inferenceservices.release_change import release_service
    from inferenceservices.rollout import merge

    def plan(document: Document) -> RolloutStep:
        step = planner(document)
        service = release_service(merge(document, step.patch)) if step.makes_revisions else {}
        if service:
            try:
                cluster.create_service(service)
            except PermissionDenied as error:
                print(
                    f"yiwen rollout: {error}; without it, requests may fail for seconds when traffic moves",
                    file=sys.stderr,
                )
        return step

    return plan


def _releases(cluster: ClusterClient, document: Document) -> dict[str, str]:
    """Release by revision name, with a warning about revisions whose release cannot be read."""
    from inferenceservices.rollout_state import revision_names

    found = cluster.releases(document)
    if unknown := sorted(revision_names(document) - set(found)):
        warning = (
            "the releases of these revisions could not be read, so that nothing says whether two would mix"
        )
        print(f"yiwen rollout: {warning}: {', '.join(unknown)}", file=sys.stderr)
    return found


def _carry_out(cluster: ClusterClient, options: ChangeOptions, planner: Planner) -> int:
    if options.dry_run:
        step = planner(cluster.inference_service(options.name))
        print(json.dumps(step.patch, indent=1))
        print(f"yiwen rollout: nothing was changed; without --dry-run: {step.summary}", file=sys.stderr)
        return 0
    print(cluster.update(options.name, _creating_service(cluster, planner)).summary)
    return 0


def _revisions(state: RolloutState, releases: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Rows of :data:`COLUMNS`."""
    from inferenceservices.rollout_state import TrafficTarget

    rows: list[tuple[str, ...]] = []
    for component in state.components:
        targets = component.traffic
        if component.latest_created and component.latest_created not in {
            target.revision for target in targets
        }:
            targets = (TrafficTarget(component.latest_created, 0, "", ""), *targets)
        for target in targets:
            release, ready = releases.get(target.revision, "?"), _ready(component, target.revision)
            traffic = f"{target.percent} %"
            rows.append((component.name, target.revision, release, traffic, ready, target.tag, target.url))
    return rows


def _status_document(
    state: RolloutState, rows: Sequence[tuple[str, ...]], availability: Iterable[GpuAvailability]
) -> dict[str, Any]:
    return {
        "revisions": [dict(zip(COLUMNS, row, strict=True)) for row in rows],
        "faults": {each.name: each.failure for each in state.components if each.failure},
        "gpus": [dataclasses.asdict(each) for each in availability],
    }


def _ready(component: ComponentState, revision: str) -> str:
    if revision != component.latest_created or component.is_ready:
        return "yes"
    return "no"


def _describe(gpus: GpuAvailability) -> str:
    quota = (
        "no quota" if gpus.quota_remaining is None else f"quota {gpus.quota} leaves {gpus.quota_remaining}"
    )
    nodes = (
        "free on nodes: not known" if gpus.nodes_free is None else f"{gpus.nodes_free} free on nodes that fit"
    )
    return f"{gpus.component}: a new revision needs {gpus.needed} of {gpus.resource} more; {quota}, {nodes}"


app = new_app("Try, promote or take back a release in a cluster.")
add_command(
    app, "status", partial(run, show_status), StatusOptions,
    help="Show revisions, their traffic, and available GPUs.",
)  # fmt: skip
add_command(
    app, "set", partial(run, set_percent), SetOptions, help="Start a canary, or change its percentage."
)
add_command(
    app, "run", run_canary, RunOptions,
    help="Compare a canary with the stable release, and promote it step by step or roll it back.",
)  # fmt: skip
add_command(app, "promote", partial(run, promote), ChangeOptions, help="Give the newest release all traffic.")
add_command(
    app, "rollback", partial(run, roll_back), ChangeOptions, help="Give the previous release all traffic."
)
