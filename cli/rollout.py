"""`yiwen rollout`: starts, moves, judges, promotes and rolls back a canary of a release, and shows its state.

In KServe's Knative mode it moves the traffic of revisions, in Standard mode (``rollout_standard``) that of routes.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from cli.rollout_options import ChangeOptions, RolloutOptions, RunOptions, SetOptions, StatusOptions
from protocol.command_line import FAILED, UNUSABLE, add_command, fail, new_app

if TYPE_CHECKING:
    from cli.canary_traffic import CanaryTraffic, Counters
    from inferenceservices.canary.run_state import RunPlan
    from inferenceservices.cluster import ClusterClient
    from inferenceservices.gpu_capacity import GpuAvailability
    from inferenceservices.rollout import RolloutStep
    from inferenceservices.rollout_cluster import RolloutCluster
    from inferenceservices.rollout_state import ComponentState, RolloutState
    from protocol.kubernetes.documents import Document

    Planner = Callable[[Document], RolloutStep]


POLL_S = 1.0
COLUMNS = ("component", "revision", "release", "traffic", "ready", "tag", "URL")

AnyOptions = TypeVar("AnyOptions", bound=RolloutOptions)


def run(work: Callable[[RolloutCluster, AnyOptions], int], options: AnyOptions) -> int:
    """Run one command against the cluster; returns the exit code."""
    from inferenceservices.cluster import ClusterError
    from inferenceservices.rollout_cluster import RolloutCluster
    from inferenceservices.rollout_state import RolloutRefused

    try:
        with RolloutCluster(options.namespace, context=options.context, timeout_s=options.timeout) as cluster:
            return work(cluster, options)
    except RolloutRefused as error:
        return fail("rollout", error, FAILED)
    except ClusterError as error:
        return fail("rollout", error, UNUSABLE)


def run_canary(options: RunOptions) -> int:
    """Bring the canary to all traffic by its metrics."""
    try:
        plan = _run_plan(options)
    except ValueError as error:
        return fail("rollout run", error, UNUSABLE)
    return run(lambda cluster, options: _run_canary(cluster, options, plan), options)


def _run_canary(cluster: RolloutCluster, options: RunOptions, plan: RunPlan) -> int:
    from cli.rollout_run import CanaryRunner
    from inferenceservices.canary.judgement import Thresholds

    traffic, counters = _traffic(cluster, options)
    runner = CanaryRunner(
        cluster=cluster,
        traffic=traffic,
        name=options.name,
        plan=plan,
        thresholds=Thresholds(samples=options.samples, confidence=options.confidence),
        counters=counters,
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


def _traffic(cluster: RolloutCluster, options: RunOptions) -> tuple[CanaryTraffic, Counters]:
    """How the canary's traffic is moved, and where its counters come from."""
    from cli.canary_traffic import KnativeTraffic, StandardTraffic
    from cli.prometheus import REVISION_LABEL, SERVICE_LABEL, PrometheusClient
    from inferenceservices.revision_metrics import scrape_revision, scrape_transformers

    standard = _is_standard(cluster, options)
    traffic: CanaryTraffic = (
        StandardTraffic(cluster, options.name, time.sleep)
        if standard
        else KnativeTraffic(cluster, options.name, partial(_releases, cluster))
    )
    if not options.prometheus:
        return traffic, partial(scrape_transformers if standard else scrape_revision, cluster)
    prometheus = PrometheusClient(
        options.prometheus,
        namespace=cluster.namespace,
        timeout_s=options.timeout,
        label=SERVICE_LABEL if standard else REVISION_LABEL,
    )
    return traffic, prometheus.counters


def _is_standard(cluster: ClusterClient, options: RolloutOptions) -> bool:
    from inferenceservices.rollout_state import mode_of
    from protocol.kubernetes.inference_service import STANDARD

    return mode_of(cluster.inference_service(options.name)) == STANDARD


def set_percent(cluster: RolloutCluster, options: SetOptions) -> int:
    """Start a canary, or change its percentage."""
    from cli import rollout_standard
    from inferenceservices.release_change import ReleaseChange
    from inferenceservices.rollout import plan_set

    images = {"predictor": options.predictor_image, "transformer": options.transformer_image}
    change = ReleaseChange(release=options.release, storage=options.storage, images=images)
    if _is_standard(cluster, options):
        return rollout_standard.set_percent(cluster, options, change)
    planner = _checking_gpus(
        cluster,
        lambda document: plan_set(document, options.percent, change, _releases(cluster, document)),
        options.allow_pending,
    )
    return _carry_out(cluster, options, planner)


def promote(cluster: RolloutCluster, options: ChangeOptions) -> int:
    """Give the newest release all traffic."""
    from cli import rollout_standard
    from inferenceservices.rollout import plan_promote

    if _is_standard(cluster, options):
        return rollout_standard.promote(cluster, options)
    return _carry_out(cluster, options, plan_promote)


def roll_back(cluster: RolloutCluster, options: ChangeOptions) -> int:
    """Give the previous release all traffic."""
    from cli import rollout_standard
    from inferenceservices.rollout import plan_rollback

    if _is_standard(cluster, options):
        return rollout_standard.roll_back(cluster, options)
    return _carry_out(
        cluster, options, lambda document: plan_rollback(document, _releases(cluster, document))
    )


def show_status(cluster: RolloutCluster, options: StatusOptions) -> int:
    """Print revisions and available GPUs."""
    from rich.console import Console
    from rich.table import Table

    from cli.tables import print_table
    from inferenceservices.gpu_capacity import gpu_availability
    from protocol.kubernetes.inference_service import InferenceService

    document, state, releases = _state(cluster, options)
    rows = _revisions(state, releases)
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


def _state(
    cluster: RolloutCluster, options: RolloutOptions
) -> tuple[Document, RolloutState, Mapping[str, str]]:
    """The InferenceService, its rollout, and release by revision."""
    from inferenceservices.rollout_state import mode_of, read_state
    from inferenceservices.standard_state import releases_of, rollout_state
    from protocol.kubernetes.inference_service import STANDARD

    document = cluster.inference_service(options.name)
    if mode_of(document) == STANDARD:
        rollout = cluster.standard_rollout(options.name)
        return document, rollout_state(rollout), releases_of(rollout)
    return document, read_state(document), cluster.releases(document)


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
    end = time.monotonic() + options.wait_s
    step = cluster.update(options.name, _creating_service(cluster, planner))
    print(step.summary, flush=True)
    if step.share_when_ready is None:
        return 0
    return _give_share(cluster, options, step, end)


def _give_share(cluster: ClusterClient, options: ChangeOptions, started: RolloutStep, end: float) -> int:
    """Give new revisions their share when they are ready; ``end`` is the last moment, of the monotonic clock."""
    from inferenceservices.rollout import plan_share

    later = f"give them theirs by yiwen rollout set {options.name} --percent {started.share_when_ready}"
    try:
        while True:
            step = cluster.update(options.name, lambda document: plan_share(document, started))
            if step.share_when_ready is None:
                print(step.summary)
                return 0
            if time.monotonic() >= end:
                break
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        print(f"yiwen rollout set: stopped; the new revisions have no share: {later}", file=sys.stderr)
        raise
    print(
        f"the new revisions are not ready after {options.wait}, and have no share: yiwen doctor {options.name} says "
        f"what is wrong; when they are, {later}"
    )
    return FAILED


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
