"""The GPUs that plans choose from.

Bandwidth and arithmetic are those of the vendor's data sheets (dense, without sparsity). Total memory is what CUDA
calls total: measured on the H200 and the H100, elsewhere from published output of programs or from the nominal size,
with ECC on; rounded down. Names and counts of MIG profiles are those of NVIDIA's ``mig-parted`` and of its MIG user
guide (docs.nvidia.com/datacenter/tesla/mig-user-guide/supported-mig-profiles.html).
"""

from __future__ import annotations

from knative.planner.hardware.gpus import FULL, GpuModel, GpuSlice

MEASURED = ("h200", "h100")
"""Keys of those that Yiwen ran on."""
WHOLE = (GpuSlice(FULL, 1, 1, 1, 1, 1),)
"""Of a GPU without MIG."""


def _sevenths(single: int, double: int, half: int, whole: int) -> tuple[GpuSlice, ...]:
    """Slices of a GPU with seven compute and eight memory slices, by the GB in their names."""
    return (
        GpuSlice(f"1g.{single}gb", 1, 1, 7),
        GpuSlice(f"1g.{double}gb", 1, 2, 4),
        GpuSlice(f"2g.{double}gb", 2, 2, 3),
        GpuSlice(f"3g.{half}gb", 3, 4, 2),
        GpuSlice(f"4g.{half}gb", 4, 4, 1),
        GpuSlice(f"7g.{whole}gb", 7, 8, 1),
        GpuSlice(FULL, 7, 8, 1),
    )


def _quarters(single: int) -> tuple[GpuSlice, ...]:
    """Slices of a GPU with four compute and four memory slices, by the GB in the name of the smallest."""
    named = [GpuSlice(f"{units}g.{units * single}gb", units, units, 4 // units, 4, 4) for units in (1, 2, 4)]
    return (*named, GpuSlice(FULL, 4, 4, 1, 4, 4))


def _gpu(
    key: str,
    name: str,
    memory_gib: float,
    tb_per_s: float,
    tflops: float,
    price: float,
    slices: tuple[GpuSlice, ...],
    product: str,
    source: str,
) -> GpuModel:
    return GpuModel(key, name, memory_gib, tb_per_s * 1e12, tflops * 1e12, slices, price, product, source)


def _sheet(name: str, memory: str = "") -> str:
    """The source of figures: NVIDIA's data sheet, and where the memory was seen."""
    return f"data sheet of the NVIDIA {name}{f'; memory: {memory}' if memory else ''}"


_A100, _GH200 = _sheet("A100"), _sheet("GH200")
GPUS = {
    gpu.key: gpu
    for gpu in (
        _gpu("a10", "NVIDIA A10", 22.0, 0.6, 125, 0.75, WHOLE, "A10",
             _sheet("A10", "23,028 MiB in nvidia-smi, less what the driver takes")),
        _gpu("a30", "NVIDIA A30", 23.5, 0.933, 165, 0.8, _quarters(6), "A30",
             _sheet("A30", "23.53 GiB, google/RB-Modulation issue 5")),
        _gpu("a100-40", "NVIDIA A100 40GB", 39.4, 1.555, 312, 1.3, _sevenths(5, 10, 20, 40), r"A100-(.*-)?40GB",
             _A100),
        _gpu("a100-80", "NVIDIA A100 80GB", 79.1, 2.039, 312, 1.8, _sevenths(10, 20, 40, 80), r"A100-(.*-)?80GB",
             _A100),
        _gpu("l4", "NVIDIA L4", 22.0, 0.3, 121, 0.7, WHOLE, "L4",
             _sheet("L4", "23,034 MiB in nvidia-smi, less what the driver takes")),
        _gpu("l40s", "NVIDIA L40S", 44.3, 0.864, 362, 1.5, WHOLE, "L40S",
             _sheet("L40S", "44.39 GiB, as programs report it")),
        _gpu("rtx-6000-ada", "NVIDIA RTX 6000 Ada", 44.3, 0.96, 364, 1.0, WHOLE, "RTX-6000-Ada-Generation",
             _sheet("RTX 6000 Ada Generation", "44.43 GiB, DINGYANB/MTVCrafter issue 21")),
        _gpu("h100", "NVIDIA H100 80GB", 79.1, 3.35, 989, 2.9, _sevenths(10, 20, 40, 80), "H100-80GB",
             _sheet("H100", "measured")),
        _gpu("h100-nvl", "NVIDIA H100 NVL 94GB", 93.0, 3.94, 835, 2.9, _sevenths(12, 24, 47, 94), "H100-NVL",
             _sheet("H100")),
        _gpu("gh200-96", "NVIDIA GH200 96GB", 94.5, 4.0, 989, 2.5, _sevenths(12, 24, 48, 96),
             "GH200-(96|480)GB?", _GH200),
        _gpu("gh200-144", "NVIDIA GH200 144GB", 139.0, 4.9, 989, 3.2, _sevenths(18, 36, 72, 144),
             "GH200-144GB?", _GH200),
        _gpu("h200", "NVIDIA H200", 139.0, 4.8, 989, 3.6, _sevenths(18, 35, 71, 141), "H200",
             _sheet("H200", "measured")),
        _gpu("b200", "NVIDIA B200 180GB", 178.0, 7.7, 2250, 5.5, _sevenths(23, 45, 90, 180), "B200",
             _sheet("B200")),
        _gpu("gb200", "NVIDIA GB200 186GB", 184.0, 8.0, 2500, 6.5, _sevenths(23, 47, 93, 186), "GB200",
             _sheet("GB200")),
        _gpu("rtx-pro-6000", "NVIDIA RTX PRO 6000 Blackwell Server", 94.9, 1.597, 500, 1.9, _quarters(24),
             "RTX-PRO-6000-Blackwell-Server-Edition",
             _sheet("RTX PRO 6000 Blackwell Server Edition", "94.97 GiB, antirez/ds4 issue 431")),
    )
}  # fmt: skip
"""By key, by generation."""
