"""`python -m benchmarks.engine --checkpoint DIR --out DIR`: measures all systems, one process at a time.

Systems take turns (A B C A B C), so that a temporary slowdown of the machine affects all of them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.engine import report
from benchmarks.engine.catalogue import REFERENCE, Variant, select
from benchmarks.engine.checkpoint import converted, fingerprint, read_config
from benchmarks.engine.harness import Config
from benchmarks.engine.processes import ROOT, Launcher
from benchmarks.engine.workloads import NAMES, SCALES, make_checkpoint

# Strategies of a system that are measured after the first round; the slow ones are dropped.
STRATEGIES_KEPT = 2
WORK_DIR = ROOT / "var" / "benchmarks"


@dataclass
class Bench:
    """One run of the benchmark: its options and its results so far."""

    options: argparse.Namespace
    variants: tuple[Variant, ...]
    launcher: Launcher
    reference: str = ""
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    rounds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def config(
        self, variant: Variant, phase: str, strategies: dict[str, tuple[str, ...]] | None = None
    ) -> Config:
        options = self.options
        release = options.releases / variant.setting if options.releases else ""
        return Config(
            phase=phase,
            variant=variant.setting,
            checkpoint=str(options.checkpoint),
            cache=str(options.cache),
            vocab_size=read_config(options.checkpoint).vocab,
            threads=options.threads,
            scale=options.scale,
            workloads=options.workloads,
            strategies=strategies or {},
            reference=self.reference,
            release=str(release),
        )

    def run(self) -> None:
        """Make the reference, check all systems, then run the rounds; rewrites the report after each."""
        self._make_reference()
        for variant in self.variants:
            _say(f"check {variant.name}")
            self.checks[variant.name] = self.launcher.run(variant, self.config(variant, "check"))
        for number in range(self.options.repeats):
            for variant in self.variants:
                if not self._failure(variant):
                    _say(f"round {number + 1} of {self.options.repeats}: {variant.name}")
                    self._time(variant)
            self.write()

    def _make_reference(self) -> None:
        path = converted(self.options.checkpoint, self.options.cache, f"reference-{self.options.scale}")
        path = path.with_suffix(".json")
        if not path.exists():
            _say("reference tokens")
            result = self.launcher.run(REFERENCE, self.config(REFERENCE, "reference"))
            if why := result.get("unavailable"):
                _say(f"no reference, so tokens are not compared: {why}")
                return
            result["eos_ids"] = read_config(self.options.checkpoint).eos_ids
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result), encoding="utf-8")
        self.reference = str(path)

    def _time(self, variant: Variant) -> None:
        earlier = self.rounds.setdefault(variant.name, [])
        first = earlier[0]["samples"] if earlier else []
        strategies = report.best_strategies(first, STRATEGIES_KEPT)
        earlier.append(self.launcher.run(variant, self.config(variant, "time", strategies)))

    def _failure(self, variant: Variant) -> str | None:
        runs = [self.checks[variant.name], *self.rounds.get(variant.name, [])]
        return next((run["unavailable"] for run in runs if run.get("unavailable")), None)

    def write(self) -> None:
        """Write results.json, results.md and, if matplotlib is installed, results.png."""
        results, out = self._results(), self.options.out
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        (out / "results.md").write_text(report.markdown(results), encoding="utf-8")
        command = [
            self.options.python,
            "-m",
            "benchmarks.engine.plot",
            out / "results.json",
            out / "results.png",
        ]
        drawn = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if drawn.returncode:
            _say(f"no picture: {(drawn.stderr.strip().splitlines() or ['no message'])[-1]}")

    def _results(self) -> dict[str, Any]:
        measured = {variant.name: self._measured(variant) for variant in self.variants}
        return {
            "date": datetime.datetime.now(tz=datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "command": _command(sys.argv[1:]),
            "machine": machine(),
            "checkpoint": {
                "name": self.options.checkpoint.name,
                "fingerprint": fingerprint(self.options.checkpoint),
            },
            "threads": self.options.threads,
            "repeats": self.options.repeats,
            "scale": self.options.scale,
            "workloads": list(self.options.workloads),
            "variants": measured,
            "ratios": report.ratios(self.variants, measured),
        }

    def _measured(self, variant: Variant) -> dict[str, Any]:
        runs = self.rounds.get(variant.name, [])
        samples = [sample for run in runs for sample in run.get("samples", [])]
        why = self._failure(variant)
        return {
            "system": variant.system,
            "setting": variant.setting,
            "bits": variant.bits,
            "environment": variant.environment,
            "unavailable": why,
            "check": self.checks[variant.name],
            "others_busy_cores": max(
                (run["others_busy_cores"] for run in runs if "samples" in run), default=0.0
            ),
            "figures": report.figures(samples) if samples and not why else None,
            "samples": samples,
        }


def _command(arguments: list[str]) -> str:
    # Paths of this machine mean nothing to a reader.
    return " ".join(["python -m benchmarks.engine", *(Path(a).name if "/" in a else a for a in arguments)])


def machine() -> dict[str, Any]:
    """Processor, cores, memory and Python of this machine."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass  # not Linux: keep the platform's name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cpu": cpu, "cores": cores, "memory_gib": round(memory), "python": platform.python_version()}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=WORK_DIR / "random-135m",
        help="Hugging Face Llama directory; where there is none, a random one of the 135 M shape is made",
    )
    parser.add_argument(
        "--out", type=Path, default=WORK_DIR / "engine", help="for results.json, .md and .png"
    )
    parser.add_argument("--cache", type=Path, help="for converted weights (default: OUT/cache)")
    parser.add_argument(
        "--releases", type=Path, help="folder with releases float32, int8, int4 (default: built)"
    )
    parser.add_argument("--systems", type=_names, default=(), help="systems or their variants (default: all)")
    parser.add_argument(
        "--workloads", type=_names, default=NAMES, help=f"of {', '.join(NAMES)} (default: all)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--threads", type=int, default=2, help="for each system (default: 2)")
    parser.add_argument("--scale", choices=sorted(SCALES), default="full", help="smoke: shows that all runs")
    parser.add_argument(
        "--python",
        default=os.environ.get("YIWEN_BENCH_PYTHON", sys.executable),
        help="interpreter with the rivals' packages (default: $YIWEN_BENCH_PYTHON, else this one)",
    )
    options = parser.parse_args()
    unknown = [name for name in options.workloads if name not in NAMES]
    if unknown:
        parser.error(f"unknown workload {', '.join(unknown)}: choose from {', '.join(NAMES)}")
    # Each process runs in the repository's root, so relative paths would mean something else there. The interpreter
    # is not resolved: a virtual environment's is a link.
    for name in ("checkpoint", "out", "cache", "releases"):
        if path := getattr(options, name):
            setattr(options, name, path.resolve())
    options.cache = options.cache or options.out / "cache"
    return options


def main() -> int:
    """Make the weights if they are missing, measure, write the report, print the tables."""
    options = _options()
    try:
        variants = select(options.systems)
    except ValueError as error:
        _say(str(error))
        return 2
    make_checkpoint(options.checkpoint)
    bench = Bench(options, variants, Launcher(options.python, options.threads))
    bench.run()
    print((options.out / "results.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
