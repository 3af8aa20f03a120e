"""Reads GPUs of one's own from a YAML or JSON file: a list of :class:`GpuEntry`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, field_validator

from knative.planner.errors import PlanError
from knative.planner.hardware.gpus import FULL, GpuModel, GpuSlice
from protocol.validation import StrictModel, validate

_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1)]


class SliceEntry(StrictModel):
    """A MIG profile in the file."""

    compute: _Count
    """Compute slices it takes."""
    memory: _Count
    """Memory slices it takes."""
    most: _Count
    """Instances that fit on one GPU."""


class GpuEntry(StrictModel):
    """A GPU in the file."""

    key: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    """As ``--gpu`` takes it."""
    name: str
    """As ``yiwen profile --hardware`` and the profiles have it."""
    memory_gib: _Positive
    """What CUDA calls total."""
    bandwidth_gb_per_s: _Positive
    fp16_tflops: _Positive
    """Dense, without sparsity."""
    price: Annotated[float, Field(ge=0)] = 0.0
    """Of a GPU per hour."""
    product: str = ""
    """Pattern of its nodes' labels ``nvidia.com/gpu.product``, without ``NVIDIA-``; empty for the name."""
    source: str = "--gpu-file"
    """Where the figures are from."""
    compute_slices: _Count = 7
    memory_slices: _Count = 8
    slices: Mapping[str, SliceEntry] = {}
    """MIG profiles by name, such as 1g.18gb; the whole GPU is always there."""

    @field_validator("product")
    @classmethod
    def _is_pattern(cls, product: str) -> str:
        try:
            re.compile(product)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return product

    @field_validator("slices")
    @classmethod
    def _are_profiles(cls, slices: Mapping[str, SliceEntry]) -> Mapping[str, SliceEntry]:
        for name in slices:
            if not re.fullmatch(r"[1-9]\d*g\.[1-9]\d*gb(\+[a-z.]+)?", name):
                raise ValueError(f"has {name!r}, which is no name of a MIG profile, such as 1g.18gb")
        return slices

    def model(self) -> GpuModel:
        """The GPU.

        Raises:
            PlanError: more instances of a slice are said to fit than the GPU has units for.
        """
        units = (self.compute_slices, self.memory_slices) if self.slices else (1, 1)
        cut = [GpuSlice(name, s.compute, s.memory, s.most, *units) for name, s in self.slices.items()]
        for each in cut:
            if each.most_units > 1:
                raise PlanError(
                    f"{self.key}: {each.max_per_gpu} of {each.name} do not fit on a GPU with {units[0]} compute "
                    f"slices and {units[1]} memory slices: correct most, compute or memory"
                )
        return GpuModel(
            key=self.key,
            name=self.name,
            memory_gib=self.memory_gib,
            bandwidth=self.bandwidth_gb_per_s * 1e9,
            flops=self.fp16_tflops * 1e12,
            slices=(*cut, GpuSlice(FULL, *units, 1, *units)),
            price=self.price,
            product=self.product or re.escape(self.name.removeprefix("NVIDIA ").replace(" ", "-")),
            source=self.source,
        )


def read_gpu_file(path: Path) -> dict[str, GpuModel]:
    """The GPUs of a file by key.

    Raises:
        PlanError: it cannot be read, or is not a list of GPUs; the message names what is wrong.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PlanError(f"--gpu-file {path} cannot be read: {error}") from error
    entries = validate(tuple[GpuEntry, ...], document, place=path.name, error=PlanError)
    gpus = [entry.model() for entry in entries]
    repeated = [gpu.key for number, gpu in enumerate(gpus) if gpu.key in {each.key for each in gpus[:number]}]
    if repeated or not gpus:
        what = f"has two GPUs with the key {repeated[0]}" if repeated else "has no GPU: give a list of them"
        raise PlanError(f"--gpu-file {path} {what}")
    return {gpu.key: gpu for gpu in gpus}
