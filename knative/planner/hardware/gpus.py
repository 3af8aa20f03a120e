"""A GPU and its MIG profiles: units, memory, bandwidth."""

from __future__ import annotations

import re
from dataclasses import dataclass

FULL = "full"
"""Name of a whole GPU among the slices."""
GIB = 2**30
MIG_MEMORY = 0.92
"""Real memory of a slice, of its share of the GPU's: the least ratio that we know reported, an H100 NVL's 1g.12gb
with 11008 MiB (NVIDIA/dcgm-exporter issue 397). Others have up to 0.99."""


@dataclass(frozen=True, slots=True)
class GpuSlice:
    """A MIG profile, or a whole GPU."""

    name: str
    """e.g. ``1g.18gb``; ``full`` is the GPU without MIG."""
    compute: int
    """Compute slices it takes."""
    memory: int
    """Memory slices it takes."""
    max_per_gpu: int
    """Instances that fit on one GPU."""
    compute_slices: int = 7
    """Compute slices of the GPU; 1 where it cannot be cut."""
    memory_slices: int = 8
    """Memory slices of the GPU; 1 where it cannot be cut."""

    @property
    def compute_share(self) -> float:
        """Of the GPU's multiprocessors."""
        return self.compute / self.compute_slices

    @property
    def memory_share(self) -> float:
        """Of the GPU's memory and bandwidth."""
        return self.memory / self.memory_slices

    @property
    def idle_compute(self) -> int:
        """Compute slices that nobody can use when a GPU is cut into these alone."""
        return self.compute_slices - self.max_per_gpu * self.compute

    @property
    def most_units(self) -> float:
        """Share of the scarcer units that as many instances as may fit on one GPU take; at most 1."""
        return self.max_per_gpu * max(self.compute_share, self.memory_share)

    @property
    def resource(self) -> str:
        """The extended resource of a pod, with the device plugin's mixed strategy."""
        return "nvidia.com/gpu" if self.name == FULL else f"nvidia.com/mig-{self.name}"


@dataclass(frozen=True, slots=True)
class GpuModel:
    """One GPU."""

    key: str
    """As ``--gpu`` takes it."""
    name: str
    memory_gib: float
    bandwidth: float
    """Bytes per second."""
    flops: float
    """Dense 16-bit operations per second."""
    slices: tuple[GpuSlice, ...]
    price: float
    """Per hour in USD: an assumption, near what clouds asked on demand in 2025. ``--price`` says yours."""
    product: str
    """Pattern of its nodes' labels ``nvidia.com/gpu.product``."""
    source: str
    """Where memory, bandwidth and arithmetic are published."""

    def is_product(self, label: str) -> bool:
        """Whether a node's ``nvidia.com/gpu.product`` is this GPU."""
        return re.fullmatch(f"(NVIDIA-)?{self.product}(-.*)?", label) is not None

    def slice_bytes(self, gpu_slice: GpuSlice) -> int:
        """Memory that CUDA calls total on a slice."""
        ratio = 1.0 if gpu_slice.name == FULL else gpu_slice.memory_share * MIG_MEMORY
        return int(self.memory_gib * ratio * GIB)
