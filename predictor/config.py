"""The predictor's settings: one frozen value, read once at the start.

The docstring of each field has its unit, its effect and the reason for its default. ``serving.settings`` fills the
fields from the environment; nothing else reads the environment.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from protocol.integrity import STAMPS_DIR
from serving.settings import SETTINGS, CommaSeparated

PlanPrecision = Literal["", "float16", "fp8", "int8"]


@dataclass(frozen=True, slots=True, config=SETTINGS)
class PredictorConfig:
    """Settings of :mod:`predictor`."""

    release: Path
    """Directory of the release to serve. No default: there is nothing sensible to guess."""

    backend: Literal["auto", "onnxruntime", "tensorrt"] = "auto"
    """Backend that runs the decoder. ``auto`` takes TensorRT where there is a GPU and a plan for it, else ONNX
    Runtime, and says what it chose and why in the log and in the metric ``yiwen_predictor_runner_info``; a named
    backend that cannot run is a failed start, never a silent fallback."""

    slots: int = Field(default=16, ge=1, le=1024)
    """The most sequences that decode together. More slots raise throughput until a step gets slower than the slots
    gain; on two CPU cores that is near 16 (docs/benchmarks/README.md). On a GPU it is the number that fits into its
    memory if that is less; 64 to 256 suit one."""

    prefill_tokens: int = Field(default=512, ge=1)
    """Prompt tokens that one step may take in beside the running decodes. Smaller keeps the gaps between the
    tokens of running sequences short, larger fills free slots sooner. One prompt is always let in, however long."""

    queue_tokens: int = Field(default=131072, ge=1)
    """Tokens (prompt plus the longest answer allowed) that may wait for a slot. Beyond it requests get 429: a queue
    longer than the callers' patience only burns work. 131072 lets one request bring 1024 short titles."""

    bulk_slowdown: float = Field(default=1.25, ge=1.1)
    """How many times as long bulk may make the steps of others, together. Bulk are requests with `Priority: u=4` to
    `u=7`: the transformer marks so what a caller has in flight beyond its share. Bulk sits steps out to keep to it.
    Larger gives bulk more of the time, smaller answers others sooner. On a GPU, whose steps take as long with few
    rows, bulk hardly ever waits."""

    threads: int = Field(default=0, ge=0)
    """CPU threads of ONNX Runtime. 0 takes what the container may use (affinity and cgroup quota)."""

    spin: bool = False
    """Whether ONNX Runtime's threads spin between operators. Faster steps where the predictor has its cores for
    itself; harmful where it shares them with the transformer, hence off."""

    ort_providers: CommaSeparated = ("CPUExecutionProvider",)
    """Execution providers of ONNX Runtime, preferred first, separated by commas; the CPU's takes what they leave. One
    that the installed ONNX Runtime lacks is a failed start. docs/hardware.md says which were run."""

    gpu_memory_fraction: float = Field(default=0.92, ge=0.05, le=1.0)
    """Fraction of the GPU's (or MIG slice's) memory that may be in use after TensorRT has started, by all processes.
    Memory that the weights leave is used for slots. The rest is left for allocations of CUDA and TensorRT."""

    plan_precision: PlanPrecision = ""
    """Precision of the TensorRT plan to run. Empty: float16 if the release has such a plan for this GPU, else
    the precision that it has. To use a smaller precision, build only its plan, or set it here."""

    cache_dir: Path = Path("~/.cache/yiwen")
    """Folder for CUDA kernels compiled for this GPU (a few megabytes; without them each start compiles anew) and for
    the stamps of files that were found intact."""

    verify_release: bool = True
    """Whether the files that are loaded are compared with their digests at the start; one that differs ends it. They
    are hashed while they are loaded, and again only if they changed since. Off: for tests of a broken release."""

    @property
    def stamp_dirs(self) -> tuple[Path, Path]:
        """Folders with the stamps of intact files (:mod:`protocol.integrity`): the release's and our own."""
        return self.release / STAMPS_DIR, self.cache_dir.expanduser() / STAMPS_DIR

    def cpu_threads(self) -> int:
        """``threads``, with 0 resolved to the cores this process may use."""
        return self.threads or usable_cores()


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """CPU cores this process may use: its affinity, cut by a cgroup v2 quota (rounded up)."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = cgroup.read_text().split()
        cores = min(cores, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no cgroup v2, or "max": no quota
    return max(1, cores)
