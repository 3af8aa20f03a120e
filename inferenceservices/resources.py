"""Extended resources: GPUs and MIG slices as device plugins and KServe name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.kubernetes.pods import limits, requests

GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu", "habana.ai/gaudi")
"""Resources that KServe knows as GPUs by their whole name (``pkg/constants``)."""
MIG_PREFIX = "nvidia.com/mig"


def is_extended(resource: str) -> bool:
    """Whether a resource comes from a device plugin: its name has a domain."""
    return "/" in resource


def is_gpu(resource: str) -> bool:
    """Whether KServe takes a resource for a GPU on a single node: by its whole name, or as a MIG slice."""
    return resource in GPU_RESOURCES or resource.startswith(MIG_PREFIX)


def gpu_resources(container: Mapping[str, Any]) -> tuple[str, ...]:
    """The GPU resources in a container's requests or limits, sorted."""
    return tuple(sorted(name for name in {*limits(container), *requests(container)} if is_gpu(name)))
