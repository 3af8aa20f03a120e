"""The host's share of a pod: CPUs and memory of nodes beside their GPUs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from knative.planner.errors import PlanError
from knative.planner.hardware.gpus import FULL, GIB, GpuSlice

SLICE_CPUS, WHOLE_CPUS = 4.0, 8.0
"""CPUs that the manifests' components request for a pod on a MIG slice, and on a whole GPU."""
PROCESS_BYTES = 6 * GIB
"""Assumed memory of a pod beside its weights: Python, CUDA, staging buffers, compiled kernels."""


@dataclass(frozen=True, slots=True)
class HostNode:
    """What pods can use of a node (``allocatable``)."""

    cpus: float
    memory_bytes: float
    gpus: int

    def __post_init__(self) -> None:
        """Check the numbers (PlanError)."""
        sizes = (self.cpus, self.memory_bytes, self.gpus)
        if not all(0 < size < math.inf for size in sizes):
            raise PlanError(
                "a node has CPUs, memory and GPUs above 0: give --node CPUS,GIB,GPUS, such as 96,1152,8"
            )


@dataclass(frozen=True, slots=True)
class PodRequest:
    """What a predictor's pod asks of its host."""

    cpus: float
    memory_bytes: float

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs and {self.memory_bytes / GIB:,.0f} GiB"


def pod_request(
    gpu_slice: GpuSlice, weight_bytes: int, cpus: float | None = None, memory_bytes: float | None = None
) -> PodRequest:
    """What a pod asks for: as the manifests do, and memory that its weights are read through.

    Args:
        gpu_slice: that it runs on.
        weight_bytes: of its plan.
        cpus: None for what the manifests say.
        memory_bytes: None for weights and process.
    """
    usual = WHOLE_CPUS if gpu_slice.name == FULL else SLICE_CPUS
    needed = math.ceil((weight_bytes + PROCESS_BYTES) / GIB) * GIB
    return PodRequest(cpus or usual, memory_bytes or needed)


def pods_per_gpu(gpu_slice: GpuSlice, pod: PodRequest, node: HostNode | None) -> float:
    """Pods for each GPU that a node is given; 0 if not one pod fits on it.

    Where CPUs or memory run out first, GPUs or slices stay idle, and the result may be a fraction.
    """
    if node is None:
        return float(gpu_slice.max_per_gpu)
    by_host = min(node.cpus // pod.cpus, node.memory_bytes // pod.memory_bytes)
    return min(node.gpus * gpu_slice.max_per_gpu, by_host) / node.gpus
