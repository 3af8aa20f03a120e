"""`yiwen doctor`: says what is wrong with a cluster before, or a service after, an overlay is applied."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cli.service_options import ServiceOptions
from protocol.command_line import FAILED, UNUSABLE, add_command, fail, new_app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferenceservices.doctor.diagnosis import Check, Examination
    from inferenceservices.doctor.snapshot import ClusterSnapshot


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(ServiceOptions):
    """Options of `yiwen doctor`."""

    name: Annotated[
        str, Argument(metavar="NAME", help="an InferenceService that was applied", show_default=False)
    ] = ""
    overlay: Annotated[
        Path | None, Option(metavar="DIR", help="an overlay that is to be applied", show_default=False)
    ] = None
    url: Annotated[
        str, Option(metavar="URL", help="a service that runs anywhere, by its URL", show_default=False)
    ] = ""
    predictor_url: Annotated[
        str, Option(metavar="URL", help="its predictor's (port 8082 beside 8080)", show_default=False)
    ] = ""
    namespace: Annotated[
        str | None,
        Option("-n", "--namespace", help="to look at (the overlay's, or that of the kubeconfig's context)"),
    ] = None
    context: Annotated[str | None, Option(help="of the kubeconfig (the current one)")] = None
    timeout: Annotated[float, Option(metavar="S", help="of one call, seconds")] = 10.0
    json: Annotated[bool, Option("--json", help="print JSON")] = False


def run(options: DoctorOptions) -> int:
    """Look, print what was found, and return the exit code."""
    from cli.doctor_url import Unreachable
    from inferenceservices.cluster import ClusterError
    from inferenceservices.doctor.diagnosis import examine
    from protocol.kubernetes.documents import DocumentError
    from protocol.kubernetes.kubectl import KustomizeError

    if sum(map(bool, (options.name, options.overlay, options.url))) != 1:
        return fail("doctor", "give one of NAME, --overlay DIR and --url URL", UNUSABLE)
    try:
        checks, snapshot = _look(options)
    except (ClusterError, KustomizeError, DocumentError, Unreachable, OSError) as error:
        return fail("doctor", error, UNUSABLE)
    examination = examine(checks, snapshot)
    if options.json:
        print(json.dumps(_as_json(len(checks), examination), indent=1))
    else:
        _print(len(checks), examination)
    return FAILED if examination.found else 0


def _look(options: DoctorOptions) -> tuple[Sequence[Check], ClusterSnapshot]:
    from cli.doctor_url import predictor_url_of, read_service
    from inferenceservices.cluster_snapshot import ClusterReader, cluster_after, cluster_before
    from inferenceservices.doctor.table import AFTER, BEFORE, URL
    from protocol.kubernetes.documents import load_manifests
    from protocol.kubernetes.inference_service import inference_services
    from protocol.kubernetes.kubectl import build_kustomization

    if options.url:
        url = options.url.rstrip("/")
        predictor = options.predictor_url.rstrip("/") or predictor_url_of(url)
        return URL, read_service(url, predictor, options.http_headers(), options.timeout)
    if options.overlay is None:
        with ClusterReader(options.namespace, context=options.context, timeout_s=options.timeout) as reader:
            return AFTER, cluster_after(reader, options.name)
    manifests = load_manifests(build_kustomization(options.overlay))
    namespaces = [service.namespace for service in inference_services(manifests) if service.namespace]
    namespace = options.namespace or next(iter(namespaces), None)
    with ClusterReader(namespace, context=options.context, timeout_s=options.timeout) as reader:
        return BEFORE, cluster_before(reader, manifests)


def _as_json(checks: int, examination: Examination) -> dict[str, object]:
    return {
        "checks": checks,
        "found": [{"check": name, **dataclasses.asdict(found)} for name, found in examination.found],
        "unchecked": [{"check": name, "reason": reason} for name, reason in examination.unchecked],
    }


def _print(checks: int, examination: Examination) -> None:
    for name, found in examination.found:
        print(f"{found.subject}: {found.problem} [{name}]")
        print(f"  evidence: {' '.join(found.evidence.split())}")
        print(f"  fix:      {found.fix}\n")
    hidden: dict[str, list[str]] = {}
    for name, reason in examination.unchecked:
        hidden.setdefault(reason, []).append(name)
    for reason, names in hidden.items():
        print(f"could not see: {reason}\n  not checked: {', '.join(names)}\n")
    made, found_in = checks - len(examination.unchecked), len(examination.found)
    print(f"{made} of {checks} checks made; {found_in or 'nothing'} found")


app = new_app("Say what is wrong, and how to mend it.")
add_command(
    app,
    "doctor",
    run,
    DoctorOptions,
    help="Say what is wrong with a cluster (--overlay), an applied service (NAME) or a running one (--url), with "
    "the evidence and the command that mends it. Nothing is changed.",
)
