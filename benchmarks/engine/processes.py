"""Runs one system's process and measures the processor time that other processes took meanwhile."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine.catalogue import YIWEN, Variant
from benchmarks.engine.harness import Config

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 3600
KEPT_STDERR_LINES = 20


@dataclass(frozen=True)
class Launcher:
    """Starts systems: ours with this interpreter, rivals with the interpreter that has their packages."""

    rivals_python: str
    threads: int

    def run(self, variant: Variant, config: Config) -> dict[str, Any]:
        """Run one process; returns its JSON line, or `unavailable` with the reason if it fails."""
        python = sys.executable if variant.system == YIWEN else self.rivals_python
        module = f"benchmarks.engine.systems.{variant.system}"
        before, started = ResourceUsage.now(), time.monotonic()
        try:
            done = subprocess.run(
                [python, "-m", module, "--config", config.to_json()],
                cwd=ROOT,
                env=self._environment(variant),
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return {"unavailable": f"{type(error).__name__}: {error}"}
        others = ResourceUsage.now().others_since(before) / max(time.monotonic() - started, 1e-9)
        result = _result(done)
        if why := result.get("unavailable"):
            # Paths of this machine mean nothing to a reader.
            result["unavailable"] = why.replace(f"{Path(config.checkpoint).parent}{os.sep}", "")
        return {**result, "others_busy_cores": round(max(0.0, others), 2)}

    def _environment(self, variant: Variant) -> dict[str, str]:
        threads = str(self.threads)
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        limits = dict.fromkeys(names, threads)
        return {**os.environ, **limits, "HF_HUB_OFFLINE": "1", **variant.environment}


def _result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 0 and lines:
        result: dict[str, Any] = json.loads(lines[-1])
        return result
    errors = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    why = errors[-1] if errors else "no message"
    return {"unavailable": f"exit status {done.returncode}: {why}", "stderr": errors[-KEPT_STDERR_LINES:]}


@dataclass(frozen=True)
class ResourceUsage:
    """Seconds of processor time so far: the whole machine's (with what the hypervisor took), and our children's."""

    machine_s: float
    children_s: float

    @classmethod
    def now(cls) -> ResourceUsage:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(_machine_busy_s(), children.ru_utime + children.ru_stime)

    def others_since(self, before: ResourceUsage) -> float:
        machine = self.machine_s - before.machine_s
        return machine - (self.children_s - before.children_s) if machine > 0 else 0.0


def _machine_busy_s() -> float:
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    except OSError:
        return 0.0  # not Linux: other processes' time is unknown
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(value) for value in fields)
    return float(user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
