"""`python benchmarks/gpu.py`: runs all measurements of the TensorRT predictor on a GPU.

Builds a 7B release with random weights and its plans with the commands that users run, measures decode steps and
their lower bounds, tokens/s offline and over HTTP and over the number of slots, Hugging Face on the same GPU, parity
of the demo model, the whole service, and PROFILE.json as `yiwen profile` does. Each stage runs in its own process and
saves its figures in `--work` when it ends, so that a failed stage costs its own table only. Prints Markdown; exits
with 1 if a stage failed.

    python benchmarks/gpu.py --work /tmp/yiwen-gpu [--python PYTHON_WITH_TORCH] [--only STAGE ...] [--budget SECONDS]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it runs as a script, too

from benchmarks.gpu_stages import tables  # noqa: E402

YIWEN = (sys.executable, "-m", "cli")
PRECISIONS = ("float16", "int8")
RANDOM_WEIGHTS = ("--calibration-tokens", "128", "--calibration-answers", "1", "--no-gate")
"""Options of int8 plans: random weights need few calibration texts, and their answers have no quality to gate."""
CHECKPOINT = ROOT / "examples" / "demo_model" / "checkpoint"
HELDOUT = CHECKPOINT.parent / "heldout.tsv"


def main() -> int:
    """Run the stages in turn, or, as a child process, one stage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="directory for releases and figures")
    parser.add_argument("--python", default="", help="command of an interpreter with torch and transformers")
    parser.add_argument("--only", nargs="+", choices=list(STAGES), help="stages to run")
    parser.add_argument("--budget", type=float, default=3600.0, help="seconds after which no stage is begun")
    parser.add_argument("--stage", choices=list(STAGES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        figures = STAGES[options.stage](options)
        (options.work / f"{options.stage}.json").write_text(json.dumps(figures, indent=2) + "\n")
        return 0
    options.work.mkdir(parents=True, exist_ok=True)
    failed = run_stages(options)
    print(tables.render(read_figures(options.work), command=shlex.join(["python", *sys.argv])))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def run_stages(options: argparse.Namespace) -> list[str]:
    """Run the stages; returns the names of those that failed or were not started."""
    deadline = time.monotonic() + options.budget
    failed = []
    for name in options.only or STAGES:
        if time.monotonic() > deadline:
            failed.append(f"{name} (no time left)")
            continue
        started = time.monotonic()
        command = [sys.executable, __file__, "--work", str(options.work), "--stage", name]
        left = max(30.0, deadline - time.monotonic())
        try:
            code = subprocess.run(
                [*command, "--python", options.python], cwd=ROOT, check=False, timeout=left
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
        if code:
            failed.append(name)
        print(f"{name}: {time.monotonic() - started:.0f} s, exit {code}", file=sys.stderr, flush=True)
    return failed


def read_figures(work: Path) -> dict[str, Any]:
    """Read the figures that the stages saved."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(work.glob("*.json"))}


def yiwen(*arguments: str) -> float:
    """Run a `yiwen` command; returns its duration in seconds."""
    started = time.perf_counter()
    subprocess.run([*YIWEN, *arguments], check=True, cwd=ROOT)
    return time.perf_counter() - started


def stage_machine(options: argparse.Namespace) -> dict[str, Any]:
    """GPU, driver and versions."""
    from benchmarks.gpu_stages.decode import copy_bandwidth
    from predictor.runners.tensorrt.cuda_api import device_properties
    from predictor.tensorrt_api import load_api

    gpu = device_properties()
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "gpu": gpu.name,
        "sm_count": gpu.sm_count,
        "memory_bytes": gpu.total_bytes,
        "driver": str(gpu.driver_version),
        "tensorrt": load_api().version,
        "python": platform.python_version(),
        "cpu_cores": os.cpu_count(),
        "copy_bytes_per_s": copy_bandwidth(),
    }


def stage_demo(options: argparse.Namespace) -> dict[str, Any]:
    """Build the demo model's release and plans."""
    target = options.work / "demo"
    seconds = {
        "build": yiwen(
            "release", "build", str(CHECKPOINT), "--output", str(target), "--name", "demo", "--force"
        )
    }
    for precision in PRECISIONS:
        seconds[precision] = yiwen("release", "plan", str(target), "--precision", precision, "--force")
    return {"seconds": seconds}


def stage_parity(options: argparse.Namespace) -> dict[str, Any]:
    """Compare the demo model on TensorRT with float32 on ONNX Runtime."""
    from benchmarks.gpu_stages import parity

    return parity.measure(options.work / "demo", PRECISIONS)


def stage_service(options: argparse.Namespace) -> dict[str, Any]:
    """Test both services on the GPU."""
    from benchmarks.gpu_stages import service

    return service.measure(options.work / "demo", HELDOUT)


def stage_release(options: argparse.Namespace) -> dict[str, Any]:
    """Write the 7B checkpoint and build its release."""
    from benchmarks.gpu_stages import shapes

    started = time.perf_counter()
    checkpoint = shapes.write_checkpoint(options.work / "checkpoint-7b")
    seconds = {"checkpoint": time.perf_counter() - started}
    release = options.work / "release-7b"
    seconds["release"] = yiwen(
        "release", "build", str(checkpoint), "--output", str(release), "--name", "random-7b", "--force",
        "--precision", "float16", "--max-tokens", str(shapes.SEQUENCE_TOKENS),
    )  # fmt: skip
    for path in checkpoint.iterdir():
        path.unlink()  # free disk space for the plans
    endless(release)
    return {"seconds": seconds}


def stage_plan(options: argparse.Namespace) -> dict[str, Any]:
    """Build the 7B release's float16 plan."""
    return plan_of(options, "float16")


def stage_plan_int8(options: argparse.Namespace) -> dict[str, Any]:
    """Build the 7B release's int8 plan; a separate stage, so that float16 can be measured first."""
    return plan_of(options, "int8", *RANDOM_WEIGHTS)


def plan_of(options: argparse.Namespace, precision: str, *more: str) -> dict[str, Any]:
    """Build one plan of the 7B release; returns its figures."""
    from predictor.plan import find_plans

    release = options.work / "release-7b"
    seconds = yiwen("release", "plan", str(release), "--precision", precision, *more)
    nbytes = {plan.key.precision: plan.nbytes for plan in find_plans(release)}
    return {"seconds": {precision: seconds}, "plan_bytes": {precision: nbytes[precision]}}


def endless(release: Path) -> None:
    """Remove the stop tokens from release.json, so that every answer has the requested length."""
    path = release / "release.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "stop_token_ids": []}))


def stage_decode(options: argparse.Namespace) -> dict[str, Any]:
    """Measure decode steps and their lower bounds."""
    from benchmarks.gpu_stages import decode

    return {precision: decode.measure(options.work / "release-7b", precision) for precision in PRECISIONS}


def stage_overlap(options: argparse.Namespace) -> dict[str, Any]:
    """Measure decode steps with and without overlapping launches, of the 7B release, if built, and the demo's."""
    from benchmarks.gpu_stages import overlap

    releases = [name for name in ("demo", "release-7b") if (options.work / name / "release.json").exists()]
    if not releases:
        raise SystemExit(
            f"{options.work} holds no release: run with `--only demo` or `--only release plan` first"
        )
    return {name: overlap.measure(options.work / name) for name in releases}


def stage_load(options: argparse.Namespace) -> dict[str, Any]:
    """Measure tokens/s in float16, offline and over HTTP."""
    from benchmarks.gpu_stages import load

    return load.measure(options.work / "release-7b", "float16")


def stage_load_int8(options: argparse.Namespace) -> dict[str, Any]:
    """Measure tokens/s in int8; a separate stage, so that a failure of one keeps the other's figures."""
    from benchmarks.gpu_stages import load

    return load.measure(options.work / "release-7b", "int8")


def stage_curve(options: argparse.Namespace) -> dict[str, Any]:
    """Measure tokens/s with few and many slots."""
    from benchmarks.gpu_stages import load

    return load.curve(options.work / "release-7b", PRECISIONS[0])


def stage_profile(options: argparse.Namespace) -> dict[str, Any]:
    """Measure PROFILE.json in float16."""
    return profile_of(options, "float16")


def stage_profile_int8(options: argparse.Namespace) -> dict[str, Any]:
    """Measure PROFILE.json in int8."""
    return profile_of(options, "int8")


def profile_of(options: argparse.Namespace, precision: str) -> dict[str, Any]:
    """Figures of a precision's profile; writes the profile to ``profiles/`` in ``--work``."""
    from benchmarks.gpu_stages import profile

    figures = profile.measure_profile(options.work / "release-7b", precision)
    profile.write_profile(figures["profile"], options.work / "profiles")
    return figures


def stage_huggingface(options: argparse.Namespace) -> dict[str, Any]:
    """Measure Hugging Face transformers on the same GPU, with the interpreter that has it."""
    from benchmarks.gpu_stages import shapes

    script = ROOT / "benchmarks" / "gpu_stages" / "huggingface.py"
    sizes = {
        name: value for name, value in shapes.CONFIG.items() if name not in ("architectures", "model_type")
    }
    rows = "[1, 8, 32, 64, 128]"
    output = subprocess.run(
        [*shlex.split(options.python or sys.executable), str(script), json.dumps(sizes), rows, rows, "220"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


STAGES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "machine": stage_machine,
    "demo": stage_demo,
    "parity": stage_parity,
    "service": stage_service,
    "release": stage_release,
    "plan": stage_plan,
    "plan-int8": stage_plan_int8,
    "load": stage_load,
    "load-int8": stage_load_int8,
    "decode": stage_decode,
    "overlap": stage_overlap,
    "huggingface": stage_huggingface,
    "curve": stage_curve,
    "profile": stage_profile,
    "profile-int8": stage_profile_int8,
}


if __name__ == "__main__":
    sys.exit(main())
