"""`yiwen rollout`: start, move, promote and roll back a canary of a release, and show its state.

For InferenceServices in KServe's Knative mode. Exit codes: 0 done, or nothing to do; 1 refused, with the reason;
2 the cluster could not be reached, or did not accept it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from inferenceservices.cluster import ClusterClient
    from inferenceservices.gpu_capacity import GpuAvailability
    from inferenceservices.rollout import RolloutStep
    from inferenceservices.rollout_state import ComponentState, RolloutState
    from protocol.kubernetes.documents import Document

    Planner = Callable[[Document], RolloutStep]

REFUSED = 1
FAILED = 2
NAMESPACE = "yiwen"
"""The namespace of inferenceservices/base."""
Work = Callable[["ClusterClient", argparse.Namespace], int]


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Mount `yiwen rollout`."""
    parser = subparsers.add_parser(
        "rollout", help="try, promote or take back a release in a cluster", description=__doc__
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add(commands, "status", show_status, "revisions, their traffic, and available GPUs")
    setting = _add(commands, "set", set_percent, "start a canary, or change its percentage")
    setting.add_argument(
        "--percent",
        type=int,
        required=True,
        metavar="N",
        help="of the requests, to the newest release (0 to 100)",
    )
    setting.add_argument(
        "--release", default="", metavar="NAME", help="directory of the new release on the volume"
    )
    setting.add_argument(
        "--storage", default="", metavar="URI", help="storageUri of a predictor with a model"
    )
    setting.add_argument("--predictor-image", default="", metavar="IMAGE", help="of the new predictor")
    setting.add_argument("--transformer-image", default="", metavar="IMAGE", help="of the new transformer")
    setting.add_argument(
        "--allow-pending", action="store_true", help="start although no node has the devices free"
    )
    promotion = _add(commands, "promote", promote, "all traffic to the newest release")
    rollback = _add(commands, "rollback", roll_back, "all traffic to the release before")
    for command in (setting, promotion, rollback):
        command.add_argument(
            "--dry-run", action="store_true", help="print the patch (JSON) and change nothing"
        )


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, work: Work, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("name", metavar="NAME", help="of the InferenceService")
    parser.add_argument("--namespace", "-n", default=NAMESPACE, help="of the InferenceService (%(default)s)")
    parser.add_argument("--context", help="of the kubeconfig (the current one)")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="S", help="of one call, seconds (10)")
    parser.set_defaults(run=lambda arguments: run(work, arguments))
    return parser


def run(work: Work, arguments: argparse.Namespace) -> int:
    """Run one command against the cluster; returns the exit code."""
    from inferenceservices.cluster import ClusterClient, ClusterError
    from inferenceservices.rollout_state import RolloutRefused

    try:
        with ClusterClient(
            arguments.namespace, context=arguments.context, timeout_s=arguments.timeout
        ) as cluster:
            return work(cluster, arguments)
    except RolloutRefused as error:
        print(f"yiwen rollout: {error}", file=sys.stderr)
        return REFUSED
    except ClusterError as error:
        print(f"yiwen rollout: {error}", file=sys.stderr)
        return FAILED


def set_percent(cluster: ClusterClient, arguments: argparse.Namespace) -> int:
    """Start a canary, or change its percentage."""
    from inferenceservices.release_change import ReleaseChange
    from inferenceservices.rollout import plan_set

    images = {"predictor": arguments.predictor_image, "transformer": arguments.transformer_image}
    change = ReleaseChange(release=arguments.release, storage=arguments.storage, images=images)
    planner = _checking_gpus(
        cluster,
        lambda document: plan_set(document, arguments.percent, change, _releases(cluster, document)),
        arguments.allow_pending,
    )
    return _carry_out(cluster, arguments, planner)


def promote(cluster: ClusterClient, arguments: argparse.Namespace) -> int:
    """Give the newest release all traffic."""
    from inferenceservices.rollout import plan_promote

    return _carry_out(cluster, arguments, plan_promote)


def roll_back(cluster: ClusterClient, arguments: argparse.Namespace) -> int:
    """Give the previous release all traffic."""
    from inferenceservices.rollout import plan_rollback

    return _carry_out(
        cluster, arguments, lambda document: plan_rollback(document, _releases(cluster, document))
    )


def show_status(cluster: ClusterClient, arguments: argparse.Namespace) -> int:
    """Print revisions and available GPUs."""
    from rich.console import Console

    from inferenceservices.gpu_capacity import gpu_availability
    from inferenceservices.rollout_state import read_state
    from protocol.kubernetes.inference_service import InferenceService

    document = cluster.inference_service(arguments.name)
    state = read_state(document)
    console = Console()
    console.print(_revisions(state, cluster.releases(document)))
    for component in state.components:
        if component.failure:
            console.print(
                f"{component.name} is not ready: {component.failure}", highlight=False, soft_wrap=True
            )
    service = InferenceService(document, cluster.serving_runtimes(document))
    for gpus in gpu_availability(service, cluster.capacity()):
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


def _carry_out(cluster: ClusterClient, arguments: argparse.Namespace, planner: Planner) -> int:
    if arguments.dry_run:
        step = planner(cluster.inference_service(arguments.name))
        print(json.dumps(step.patch, indent=1))
        print(f"yiwen rollout: nothing was changed; without --dry-run: {step.summary}", file=sys.stderr)
        return 0
    print(cluster.update(arguments.name, planner).summary)
    return 0


def _revisions(state: RolloutState, releases: Mapping[str, str]) -> Table:
    from rich.table import Table

    from inferenceservices.rollout_state import TrafficTarget

    table = Table()
    for column in ("component", "revision", "release", "traffic", "ready", "tag", "URL"):
        table.add_column(column, justify="right" if column == "traffic" else "left", overflow="fold")
    for component in state.components:
        targets = component.traffic
        if component.latest_created and component.latest_created not in {
            target.revision for target in targets
        }:
            targets = (TrafficTarget(component.latest_created, 0, "", ""), *targets)
        for target in targets:
            release, ready = releases.get(target.revision, "?"), _ready(component, target.revision)
            traffic = f"{target.percent} %"
            table.add_row(component.name, target.revision, release, traffic, ready, target.tag, target.url)
    return table


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
