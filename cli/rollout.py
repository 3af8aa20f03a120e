"""`yiwen rollout`: try a release on a share of the traffic, promote it, take it back, and see how it stands.

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
"""That of inferenceservices/base."""
Work = Callable[["ClusterClient", argparse.Namespace], int]


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Mount `yiwen rollout`."""
    parser = subparsers.add_parser(
        "rollout", help="try, promote or take back a release in a cluster", description=__doc__
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add(commands, "status", show_status, "revisions, their traffic, and the slices that they take")
    setting = _add(commands, "set", set_share, "start a canary, or give it another share")
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
    promote = _add(commands, "promote", promote_canary, "all traffic to the newest release")
    rollback = _add(commands, "rollback", roll_back, "all traffic to the release before")
    for command in (setting, promote, rollback):
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
    """Do one command's work on the cluster; returns the exit code."""
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


def set_share(cluster: ClusterClient, arguments: argparse.Namespace) -> int:
    """Start a canary, or give it another share."""
    from inferenceservices.release_change import ReleaseChange
    from inferenceservices.rollout import plan_set

    images = {"predictor": arguments.predictor_image, "transformer": arguments.transformer_image}
    change = ReleaseChange(release=arguments.release, storage=arguments.storage, images=images)
    planner = _with_room(
        cluster,
        lambda document: plan_set(document, arguments.percent, change, _releases(cluster, document)),
        arguments.allow_pending,
    )
    return _carry_out(cluster, arguments, planner)


def promote_canary(cluster: ClusterClient, arguments: argparse.Namespace) -> int:
    """Give the newest release all traffic."""
    from inferenceservices.rollout import plan_promote

    return _carry_out(cluster, arguments, plan_promote)


def roll_back(cluster: ClusterClient, arguments: argparse.Namespace) -> int:
    """Give the release before all traffic."""
    from inferenceservices.rollout import plan_rollback

    return _carry_out(
        cluster, arguments, lambda document: plan_rollback(document, _releases(cluster, document))
    )


def show_status(cluster: ClusterClient, arguments: argparse.Namespace) -> int:
    """Print revisions and slices."""
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
    for room in gpu_availability(service, cluster.capacity()):
        console.print(_slices(room), highlight=False, soft_wrap=True)
    return 0


def _with_room(cluster: ClusterClient, planner: Planner, allow_pending: bool) -> Planner:
    """``planner``, that refuses to start pods for which there is no room."""
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
    """Release of each revision, with a word about those that it cannot be told of."""
    from inferenceservices.rollout_state import revision_names

    found = cluster.releases(document)
    if unknown := sorted(revision_names(document) - set(found)):
        told = "the releases of these revisions could not be read, so that nothing says whether two would mix"
        print(f"yiwen rollout: {told}: {', '.join(unknown)}", file=sys.stderr)
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
        shares = component.traffic
        if component.latest_created and component.latest_created not in {share.revision for share in shares}:
            shares = (TrafficTarget(component.latest_created, 0, "", ""), *shares)
        for share in shares:
            release, ready = releases.get(share.revision, "?"), _ready(component, share.revision)
            traffic = f"{share.percent} %"
            table.add_row(component.name, share.revision, release, traffic, ready, share.tag, share.url)
    return table


def _ready(component: ComponentState, revision: str) -> str:
    if revision != component.latest_created or component.is_ready:
        return "yes"
    return "no"


def _slices(room: GpuAvailability) -> str:
    quota = (
        "no quota" if room.quota_remaining is None else f"quota {room.quota} leaves {room.quota_remaining}"
    )
    nodes = (
        "free on nodes: not known" if room.nodes_free is None else f"{room.nodes_free} free on nodes that fit"
    )
    return f"{room.component}: a new revision needs {room.needed} of {room.resource} more; {quota}, {nodes}"
