"""`yiwen plan`: chooses GPU slices and their number for a load and an SLO.

If nothing meets the SLO, it exits with 1 and prints the bottleneck and the nearest SLO that can be met.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option

from cli.texts_per_request import TEXTS_PER_REQUEST, parse_texts_per_request
from protocol.command_line import FAILED, UNUSABLE, add_command, fail, new_app

if TYPE_CHECKING:
    from knative.planner.hardware.gpus import GpuModel
    from knative.planner.request import CapacityPlan, CapacityRequest, HostLimits, PlanCandidate


@dataclass(frozen=True, kw_only=True)
class CapacityPlanOptions:
    """Options of `yiwen plan`."""

    checkpoint: Annotated[Path, Option(metavar="PATH", help="config.json, or its directory")]
    gpu: Annotated[str, Option(metavar="KEYS", help="separated by commas, or all")] = "h200"
    gpu_file: Annotated[
        Path | None, Option(metavar="FILE", help="YAML or JSON with GPUs of your own, for --gpu")
    ] = None
    node: Annotated[
        str,
        Option(metavar="CPUS,GIB,GPUS", help="what pods can use of a node (not checked)", show_default=False),
    ] = ""
    pod_cpu: Annotated[
        float | None, Option(metavar="N", help="CPUs that a predictor's pod asks for (8, on a slice 4)")
    ] = None
    pod_memory: Annotated[
        float | None, Option(metavar="GIB", help="memory that it asks for (its weights and 6 GiB)")
    ] = None
    qps: Annotated[float, Option(metavar="N", help="requests per second, cache hits included")]
    p99_ms: Annotated[float, Option(metavar="MS", help="latency that 99 % of the requests must keep")]
    chars: Annotated[float, Option(metavar="N", help="mean characters of a text")] = 60.0
    prompt_tokens_per_char: Annotated[float, Option(metavar="N", help="of your texts")] = 0.3
    new_tokens_per_char: Annotated[float, Option(metavar="N", help="of their translations")] = 0.35
    texts_per_request: Annotated[str, TEXTS_PER_REQUEST] = "1"
    hit_rate: Annotated[float, Option(metavar="SHARE", help="of texts that the cache answers")] = 0.0
    max_tokens: Annotated[int, Option(metavar="N", help="of a slot: prompt and answer")] = 512
    max_gpus: Annotated[int | None, Option(metavar="N", help="GPUs that may be used (any number)")] = None
    load: Annotated[float, Option(metavar="SHARE", help="of a pod's capacity to plan with")] = 0.8
    price: Annotated[
        float | None, Option(metavar="P", help="of a GPU per hour (a table of assumptions, in USD)")
    ] = None
    profile: Annotated[
        list[Path] | None,
        Option(
            metavar="FILE",
            help="a measured profile, used where hardware, slice, precision and model are its own; may be repeated",
        ),
    ] = None
    seed: Annotated[int, Option(metavar="N", help="of the simulations")] = 0
    slice: Annotated[
        str | None, Option(metavar="NAMES", help="only these, separated by commas, e.g. 1g.18gb,full (all)")
    ] = None
    precision: Annotated[Literal["float16", "int8"] | None, Option(help="only this one (both)")] = None
    write: Annotated[
        Path | None,
        Option(metavar="DIR", help="write the best as a kustomize overlay on top of --on, with its profile"),
    ] = None
    on: Annotated[
        Path | None, Option(metavar="OVERLAY", help="overlay that brings hardware, storage and values")
    ] = None
    output: Annotated[
        Path | None, Option("-o", "--output", metavar="FILE", help="write the plan as JSON")
    ] = None
    json: Annotated[bool, Option("--json", help="print the plan as JSON")] = False


def run(options: CapacityPlanOptions) -> int:
    """Plan and print; returns the exit code."""
    from rich.console import Console

    from cli.tables import print_table
    from knative.planner.candidates import check_profiles, make_candidates
    from knative.planner.errors import PlanError
    from knative.planner.hardware.checkpoint import read_model
    from knative.planner.plan import make_plan
    from knative.planner.report import details, ranking, to_json
    from knative.profiling.profile import ProfileError, load_profile
    from knative.simulator.errors import SimulationError

    try:
        request = _request(options)
        measured = [load_profile(path) for path in options.profile or ()]
        model = read_model(options.checkpoint)
        candidates = make_candidates(
            model, _gpus(options), request.max_sequence_tokens, measured, _host(options)
        )
        candidates = tuple(candidate for candidate in candidates if _wanted(candidate, options))
        check_profiles(measured, candidates, model)
        with Console(stderr=True).status("planning") as status:
            plan = make_plan(candidates, request, lambda what: status.update(f"simulating {what}"))
        if options.write and plan.sizes:
            _write(plan, options.write, options.on)
        document = json.dumps(to_json(plan), indent=1)
        if options.output:
            options.output.write_text(document + "\n", encoding="utf-8")
    except (PlanError, ProfileError, SimulationError, OSError) as error:
        return fail("plan", error, UNUSABLE)
    if options.json:
        print(document)
    else:
        console = Console()
        print_table(ranking(plan.options), console)
        for line in details(plan):
            console.print(line, highlight=False, soft_wrap=True)
    return 0 if plan.sizes else FAILED


def _request(options: CapacityPlanOptions) -> CapacityRequest:
    from knative.planner.request import SLO, CapacityRequest, ServiceWorkload
    from knative.simulator.load.workload import Traffic

    traffic = Traffic(
        chars=options.chars,
        prompt_tokens_per_char=options.prompt_tokens_per_char,
        new_tokens_per_char=options.new_tokens_per_char,
        texts_per_request=parse_texts_per_request(options.texts_per_request),
    )
    return CapacityRequest(
        ServiceWorkload(options.qps, options.hit_rate, traffic),
        SLO(options.p99_ms / 1000),
        max_sequence_tokens=options.max_tokens,
        target_utilization=options.load,
        max_gpus=options.max_gpus,
        seed=options.seed,
    )


def _wanted(candidate: PlanCandidate, options: CapacityPlanOptions) -> bool:
    slices = options.slice.split(",") if options.slice else [candidate.gpu_slice.name]
    return candidate.gpu_slice.name in slices and options.precision in (None, candidate.precision)


def _write(plan: CapacityPlan, directory: Path, overlay: Path | None) -> None:
    from knative.planner.errors import PlanError
    from knative.planner.overlay import overlay_files
    from knative.simulator.scenarios.manifest_file import read_manifest

    if overlay is None or not overlay.is_dir():
        raise PlanError(
            "--write needs --on with an overlay's directory, e.g. inferenceservices/overlays/production"
        )
    below = os.path.relpath(overlay, directory)
    files = overlay_files(plan, read_manifest(overlay), below)
    profile = plan.options[0].candidate.profile
    if profile is not None:
        files["PROFILE.json"] = json.dumps(profile.to_json(), indent=1) + "\n"
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")


def _host(options: CapacityPlanOptions) -> HostLimits:
    from knative.planner.errors import PlanError
    from knative.planner.hardware.gpus import GIB
    from knative.planner.hardware.host import HostNode
    from knative.planner.request import HostLimits

    node = None
    if options.node:
        try:
            cpus, gib, gpus = (float(word) for word in options.node.split(","))
        except ValueError:
            raise PlanError(f"--node {options.node}: give CPUS,GIB,GPUS, such as 96,1152,8") from None
        if gpus != int(gpus):
            raise PlanError(f"--node {options.node}: the number of GPUs must be whole")
        node = HostNode(cpus, gib * GIB, int(gpus))
    memory = None if options.pod_memory is None else options.pod_memory * GIB
    for value in (options.pod_cpu, memory):
        if value is not None and not 0 < value < math.inf:
            raise PlanError("--pod-cpu and --pod-memory must be above 0")
    return HostLimits(node, options.pod_cpu, memory)


def _gpus(options: CapacityPlanOptions) -> list[GpuModel]:
    from knative.planner.errors import PlanError
    from knative.planner.hardware.catalogue import GPUS
    from knative.planner.hardware.gpu_file import read_gpu_file

    known = GPUS | (read_gpu_file(options.gpu_file) if options.gpu_file else {})
    keys = list(known) if options.gpu == "all" else [key.strip() for key in options.gpu.split(",")]
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise PlanError(
            f"{unknown[0]!r} is no GPU of the catalogue: {', '.join(known)}, or all; describe others in a --gpu-file"
        )
    gpus = [known[key] for key in dict.fromkeys(keys)]
    if options.price is None:
        return gpus
    if not 0 <= options.price < math.inf:
        raise PlanError(f"--price must be a number of at least 0, not {options.price:g}")
    return [dataclasses.replace(gpu, price=options.price) for gpu in gpus]


app = new_app("Plan GPUs, slices and replicas.")
add_command(
    app,
    "plan",
    run,
    CapacityPlanOptions,
    help="Plan GPUs, slices and replicas for a load and a latency objective.",
)
