"""GPUs and their MIG profiles: units, memory, bandwidth.

A GPU has 7 compute slices and 8 memory slices. Names and counts of the profiles are those of NVIDIA's ``mig-parted``
and GPU operator; bandwidth and arithmetic are the vendor's data sheets' (dense, without sparsity). Total memory is
what CUDA calls total: measured on the H200 and the H100, elsewhere from published ``nvidia-smi`` output or from the
nominal size; rounded down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

COMPUTE_SLICES = 7
MEMORY_SLICES = 8
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
    """Compute slices it takes, of 7."""
    memory: int
    """Memory slices it takes, of 8."""
    max_per_gpu: int
    """Instances that fit on one GPU."""

    @property
    def compute_share(self) -> float:
        """Of the GPU's multiprocessors."""
        return self.compute / COMPUTE_SLICES

    @property
    def memory_share(self) -> float:
        """Of the GPU's memory and bandwidth."""
        return self.memory / MEMORY_SLICES

    @property
    def idle_compute(self) -> int:
        """Compute slices that nobody can use when a GPU is cut into these alone."""
        return COMPUTE_SLICES - self.max_per_gpu * self.compute

    @property
    def resource(self) -> str:
        """The extended resource of a pod, with the device plugin's mixed strategy."""
        return "nvidia.com/gpu" if self.name == "full" else f"nvidia.com/mig-{self.name}"


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

    def is_product(self, label: str) -> bool:
        """Whether a node's ``nvidia.com/gpu.product`` is this GPU."""
        return re.fullmatch(f"(NVIDIA-)?{self.product}(-.*)?", label) is not None

    def slice_bytes(self, gpu_slice: GpuSlice) -> int:
        """Memory that CUDA calls total on a slice."""
        ratio = 1.0 if gpu_slice.name == "full" else gpu_slice.memory_share * MIG_MEMORY
        return int(self.memory_gib * ratio * GIB)


def _slices(single: int, double: int, half: int, whole: int) -> tuple[GpuSlice, ...]:
    return (
        GpuSlice(f"1g.{single}gb", 1, 1, 7),
        GpuSlice(f"1g.{double}gb", 1, 2, 4),
        GpuSlice(f"2g.{double}gb", 2, 2, 3),
        GpuSlice(f"3g.{half}gb", 3, 4, 2),
        GpuSlice(f"4g.{half}gb", 4, 4, 1),
        GpuSlice(f"7g.{whole}gb", 7, 8, 1),
        GpuSlice("full", 7, 8, 1),
    )


def _gpu(
    key: str,
    name: str,
    memory_gib: float,
    tb_per_s: float,
    tflops: float,
    price: float,
    sizes: tuple[int, ...],
    product: str,
) -> GpuModel:
    return GpuModel(key, name, memory_gib, tb_per_s * 1e12, tflops * 1e12, _slices(*sizes), price, product)


GPUS = {
    gpu.key: gpu
    for gpu in (
        _gpu("a100-40", "NVIDIA A100 40GB", 39.4, 1.555, 312, 1.3, (5, 10, 20, 40), r"A100-(.*-)?40GB"),
        _gpu("a100-80", "NVIDIA A100 80GB", 79.1, 2.039, 312, 1.8, (10, 20, 40, 80), r"A100-(.*-)?80GB"),
        _gpu("h100", "NVIDIA H100 80GB", 79.1, 3.35, 989, 2.9, (10, 20, 40, 80), "H100-80GB"),
        _gpu("h100-nvl", "NVIDIA H100 NVL 94GB", 93.0, 3.94, 835, 2.9, (12, 24, 47, 94), "H100-NVL"),
        _gpu("gh200-96", "NVIDIA GH200 96GB", 94.5, 4.0, 989, 2.5, (12, 24, 48, 96), "GH200-(96|480)GB?"),
        _gpu("gh200-144", "NVIDIA GH200 144GB", 139.0, 4.9, 989, 3.2, (18, 36, 72, 144), "GH200-144GB?"),
        _gpu("h200", "NVIDIA H200", 139.0, 4.8, 989, 3.6, (18, 35, 71, 141), "H200"),
        _gpu("b200", "NVIDIA B200 180GB", 178.0, 7.7, 2250, 5.5, (23, 45, 90, 180), "B200"),
        _gpu("gb200", "NVIDIA GB200 186GB", 184.0, 8.0, 2500, 6.5, (23, 47, 93, 186), "GB200"),
    )
}
"""By key."""
