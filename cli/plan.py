"""`yiwen plan`: which slices of which GPU, and how many, for a load and an objective.

Exit codes: 0 there is a plan, 1 nothing meets the objective (what binds and the nearest that can be met are shown),
2 an option or a file cannot be used.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knative.planner.hardware.gpus import GpuModel
    from knative.planner.request import CapacityPlan, CapacityRequest, PlanCandidate

IMPOSSIBLE = 1
MISUSED = 2


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Mount `yiwen plan`."""
    parser = subparsers.add_parser("plan", help="plan GPUs, slices and replicas for a load and an objective")
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="PATH", help="config.json, or its directory")
    add("--gpu", default="h200", metavar="KEYS", help="separated by commas, or all (h200)")
    add("--qps", type=float, required=True, metavar="N", help="requests per second, hits included")
    add("--p99-ms", type=float, required=True, metavar="MS", help="99 of 100 answers are this fast")
    add("--chars", type=float, default=60.0, metavar="N", help="mean characters of a text (%(default)g)")
    add("--prompt-tokens-per-char", type=float, default=0.3, metavar="N", help="of your texts (%(default)g)")
    add("--new-tokens-per-char", type=float, default=0.35, metavar="N", help="of their answers (%(default)g)")
    add("--hit-rate", type=float, default=0.0, metavar="SHARE", help="of requests that the cache answers (0)")
    add("--max-tokens", type=int, default=512, metavar="N", help="of a slot: prompt and answer (%(default)s)")
    add("--max-gpus", type=int, metavar="N", help="GPUs that may be taken (any number)")
    add("--load", type=float, default=0.8, metavar="SHARE", help="of a pod's capacity to plan with (0.8)")
    add("--price", type=float, metavar="P", help="of a GPU per hour (a table of assumptions, in USD)")
    add(
        "--profile", type=Path, action="append", default=[], metavar="FILE",
        help="a measured profile, taken where hardware, slice, precision and model are its own; may be repeated",
    )  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="of the simulations")
    add("--slice", metavar="NAMES", help="only these, separated by commas, e.g. 1g.18gb,full (all)")
    add("--precision", choices=("float16", "int8"), help="only this one (both)")
    add(
        "--write",
        type=Path,
        metavar="DIR",
        help="write the best as a kustomize overlay on top of --on, with its profile",
    )
    add("--on", type=Path, metavar="OVERLAY", help="overlay that brings hardware, storage and values")
    add("--json", type=Path, metavar="FILE", help="write the plan")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Plan and print; returns the exit code."""
    from rich.console import Console

    from knative.planner.candidates import check_profiles, make_candidates
    from knative.planner.errors import PlanError
    from knative.planner.hardware.checkpoint import read_model
    from knative.planner.plan import make_plan
    from knative.planner.report import details, ranking, to_json
    from knative.profiling.profile import ProfileError, load_profile
    from knative.simulator.errors import SimulationError

    try:
        request = _request(arguments)
        measured = [load_profile(path) for path in arguments.profile]
        model = read_model(arguments.checkpoint)
        candidates = make_candidates(model, _gpus(arguments), request.max_sequence_tokens, measured)
        candidates = tuple(candidate for candidate in candidates if _wanted(candidate, arguments))
        check_profiles(measured, candidates, model)
        with Console(stderr=True).status("planning") as status:
            plan = make_plan(candidates, request, lambda what: status.update(f"simulating {what}"))
        if arguments.write and plan.sizes:
            _write(plan, arguments)
        if arguments.json:
            arguments.json.write_text(json.dumps(to_json(plan), indent=1) + "\n", encoding="utf-8")
    except (PlanError, ProfileError, SimulationError, OSError) as error:
        print(f"yiwen plan: {error}", file=sys.stderr)
        return MISUSED
    console = Console()
    console.print(ranking(plan.options))
    for line in details(plan):
        console.print(line, highlight=False, soft_wrap=True)
    return 0 if plan.sizes else IMPOSSIBLE


def _request(arguments: argparse.Namespace) -> CapacityRequest:
    from knative.planner.request import SLO, CapacityRequest, ServiceWorkload
    from knative.simulator.load.workload import Traffic

    traffic = Traffic(
        chars=arguments.chars,
        prompt_tokens_per_char=arguments.prompt_tokens_per_char,
        new_tokens_per_char=arguments.new_tokens_per_char,
    )
    return CapacityRequest(
        ServiceWorkload(arguments.qps, arguments.hit_rate, traffic),
        SLO(arguments.p99_ms / 1000),
        max_sequence_tokens=arguments.max_tokens,
        target_utilization=arguments.load,
        max_gpus=arguments.max_gpus,
        seed=arguments.seed,
    )


def _wanted(candidate: PlanCandidate, arguments: argparse.Namespace) -> bool:
    slices = arguments.slice.split(",") if arguments.slice else [candidate.gpu_slice.name]
    return candidate.gpu_slice.name in slices and arguments.precision in (None, candidate.precision)


def _write(plan: CapacityPlan, arguments: argparse.Namespace) -> None:
    from knative.planner.errors import PlanError
    from knative.planner.overlay import overlay_files
    from knative.simulator.scenarios.manifest_file import read_manifest

    if arguments.on is None or not arguments.on.is_dir():
        raise PlanError(
            "--write needs --on with an overlay's directory, e.g. inferenceservices/overlays/production"
        )
    below = os.path.relpath(arguments.on, arguments.write)
    files = overlay_files(plan, read_manifest(arguments.on), below)
    profile = plan.options[0].candidate.profile
    if profile is not None:
        files["PROFILE.json"] = json.dumps(profile.to_json(), indent=1) + "\n"
    arguments.write.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (arguments.write / name).write_text(text, encoding="utf-8")


def _gpus(arguments: argparse.Namespace) -> list[GpuModel]:
    from knative.planner.errors import PlanError
    from knative.planner.hardware.gpus import GPUS

    keys = list(GPUS) if arguments.gpu == "all" else [key.strip() for key in arguments.gpu.split(",")]
    unknown = [key for key in keys if key not in GPUS]
    if unknown:
        raise PlanError(f"{unknown[0]!r} is no GPU of the catalogue: {', '.join(GPUS)}, or all")
    gpus = [GPUS[key] for key in dict.fromkeys(keys)]
    if arguments.price is None:
        return gpus
    if not 0 <= arguments.price < math.inf:
        raise PlanError(f"--price must be a number of at least 0, not {arguments.price:g}")
    return [dataclasses.replace(gpu, price=arguments.price) for gpu in gpus]
